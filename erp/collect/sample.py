"""The first step: K responses of every member to every prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import Any

from erp.build import build
from erp.collect.growth import sampled_members
from erp.collect.prompts.base import MESSAGES, asked
from erp.collect.sampled import SampledUnit
from erp.collect.stopping import rest
from erp.collect.store import Store
from erp.collect.units import Blocks, Clock, Report, Unit, request_seed, rounds
from erp.config import Member
from erp.engines.base import Engine, Request


class Sampler:
    """Samples units into the store; see ``SampledUnit`` for its files.

    Args:
        url: of the store.
        engine: plug-point node.
        members: of the pool.
        k: samples per prompt.
        seed: of the collection.
        blocks: of its prompts.
        weights_dir: where weights may lie.
        refused_too: whether prompts are asked again that would be refused again.
        retries: further rounds for prompts that failed.
    """

    title = "sampling"
    ticks = True

    def __init__(
        self, url: str, engine: dict[str, Any], members: list[Member], k: int, seed: int, blocks: Blocks,
        weights_dir: str | None, refused_too: bool = False, retries: int = 0,
    ) -> None:  # fmt: skip
        self.url, self.node, self.k, self.seed, self.blocks, self.weights_dir = (
            url,
            engine,
            k,
            seed,
            blocks,
            weights_dir,
        )
        self.refused_too, self.retries = refused_too, retries
        self.members = {member.name: member for member in members}
        self.tick: Callable[[int], object] | None = None
        self._engine: tuple[dict[str, Any], Engine] | None = None
        self._stopped = False

    def stop(self) -> bool:
        """Ask for nothing any more, and leave what is under way; False where the engine cannot be stopped."""
        self._stopped = True
        return self._engine is not None and self._engine[1].stop()

    def loads(self, unit: Unit) -> str:
        """The member's weights."""
        assert unit.member is not None
        member = self.members[unit.member]
        return f"{member.weights} {member.file} {member.revision} {member.chat_template} {member.engine}"

    def resources(self, unit: Unit) -> dict[str, float]:
        """The member's."""
        assert unit.member is not None
        return self.members[unit.member].resources

    def run(self, units: Sequence[Unit]) -> Iterator[Report]:
        """Sample what the units lack: those of a member as one stream, each written as soon as it is whole."""
        for _, own in groupby(units, key=self.loads):
            yield from rounds(list(own), self.retries, self._once)

    def _once(self, units: Sequence[Unit]) -> Iterator[Report]:
        for name, own in groupby(units, key=lambda unit: unit.member):
            assert name is not None
            if self._stopped:
                return
            yield from self._stream(list(own), self.members[name])

    def _stream(self, units: Sequence[Unit], member: Member) -> Iterator[Report]:
        store, waiting = Store(self.url), list[SampledUnit]()
        going: dict[int, tuple[SampledUnit, Request, str]] = {}  # by position, while samples are to come
        answers = self._opened(member).generate(self._requests(store, units, member, waiting, going), member)
        clock, left = Clock(), dict[int, int]()
        came = False

        def answered() -> bool:
            return came or member.name in sampled_members(store)

        try:
            for position, sample, answer in answers:
                unit, request, prompt_id = going[position]
                count = unit.take(prompt_id, sample, answer)
                came = came or count > 0
                if self.tick is not None and count:
                    self.tick(count)
                left[position] = left.get(position, len(request.samples)) - 1
                if not left[position]:
                    del left[position], going[position]
                for whole in [unit for unit in waiting if unit.whole]:
                    report = whole.written(clock.lap(), answered)
                    waiting.remove(whole)
                    yield report
            for last in [] if self._stopped else list(waiting):
                report = last.written(clock.lap(), answered)
                waiting.remove(last)
                yield report
        except BaseException:
            for position, sample, answer in rest(answers, self.stop):
                unit, _, prompt_id = going[position]
                unit.take(prompt_id, sample, answer)
            raise
        finally:
            with ExitStack() as all_of_them:  # though one cannot be written
                for unit in waiting:
                    all_of_them.callback(unit.leave)

    def _requests(
        self, store: Store, units: Sequence[Unit], member: Member, waiting: list[SampledUnit],
        going: dict[int, tuple[SampledUnit, Request, str]],
    ) -> Iterator[Request]:  # fmt: skip
        """What the engine is asked, unit by unit, as it has room: it may be more than fits in memory."""
        greedy, position = member.decoding.temperature == 0, 0  # the likeliest response is asked for once
        for unit in units:
            if self._stopped:
                return
            rows = self.blocks.rows[unit.block]
            prompts = store.read_rows("prompts.parquet", rows, ["prompt_id", "prompt"], [MESSAGES])
            said = dict(zip(prompts["prompt_id"].tolist(), asked(prompts), strict=True))
            seeds = {identity: request_seed(self.seed, member.name, identity) for identity in said}
            made = SampledUnit(store, unit, seeds, self.k, greedy, self.refused_too)
            waiting.append(made)
            for prompt_id, samples in made.lacking.items():
                request = Request(member.messages(said[prompt_id]), seeds[prompt_id], samples)
                going[position] = made, request, prompt_id
                position += 1
                yield request

    def _opened(self, member: Member) -> Engine:
        node = member.engine_in(self.node)
        if self._engine is None or self._engine[0] != node:
            self.close()
            engine = build(node, Engine, key="engine")
            engine.look_in(self.weights_dir)
            self._engine = node, engine
        return self._engine[1]

    def close(self) -> None:
        """Let the engine go."""
        if self._engine is not None:
            self._engine[1].close()
            self._engine = None
