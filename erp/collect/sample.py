"""The first step: K responses of every member to every prompt."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd

from erp.build import build
from erp.collect.store import Store
from erp.collect.units import Report, Unit, request_seed
from erp.config import Member
from erp.engines.base import Engine, Failure, Request, Response
from erp.files import whole_text
from erp.values import token_count

COLUMNS = [
    *("prompt_id", "model", "sample", "response"),
    *("prompt_tokens", "completion_tokens", "finish_reason", "seed"),
]


class Sampler:
    """Samples units into the store.

    Files: ``samples/part-*`` (rows), ``failures/samples/*`` (which prompts failed and why), ``log/samples/*``.

    Args:
        url: of the store.
        engine: plug-point node.
        members: of the pool.
        k: samples per prompt.
        seed: of the collection.
        block: prompts per unit.
        weights_dir: where weights may lie.
    """

    title = "sampling"
    ticks = True

    def __init__(
        self, url: str, engine: dict[str, Any], members: list[Member], k: int, seed: int, block: int,
        weights_dir: str | None,
    ) -> None:  # fmt: skip
        self.url, self.node, self.k, self.seed, self.block, self.weights_dir = url, engine, k, seed, block, weights_dir
        self.members = {member.name: member for member in members}
        self.tick: Callable[[int], object] | None = None
        self._engine: Engine | None = None
        self._prompts: pd.DataFrame | None = None

    def loads(self, unit: Unit) -> str:
        """The member's weights."""
        assert unit.member is not None
        member = self.members[unit.member]
        return f"{member.weights} {member.file} {member.revision} {member.chat_template}"

    def resources(self, unit: Unit) -> dict[str, float]:
        """The member's."""
        assert unit.member is not None
        return self.members[unit.member].resources

    def run(self, unit: Unit) -> Report:
        """Sample the unit's prompts that have no responses yet; write them beside those that have."""
        assert unit.member is not None
        store, member, started = Store(self.url), self.members[unit.member], time.monotonic()
        if self._prompts is None:
            self._prompts = store.read_frame("prompts.parquet", ["prompt_id", "prompt"])
        prompts = self._prompts.iloc[unit.block * self.block : (unit.block + 1) * self.block]
        part = f"samples/{unit.part}"
        before = store.read_frame(part) if store.exists(part) else pd.DataFrame(columns=COLUMNS)
        todo = prompts[~prompts["prompt_id"].isin(before["prompt_id"])]
        rows, failed = self._sample(todo, member)
        after = pd.DataFrame(rows, columns=COLUMNS)
        if len(before):
            order = {identity: i for i, identity in enumerate(prompts["prompt_id"])}
            after = pd.concat([before, after], ignore_index=True)
            after = after.sort_values("sample", kind="stable")
            after = after.sort_values("prompt_id", kind="stable", key=lambda ids: ids.map(order))
        report = Report(unit, len(rows), failed, _tokens(rows), time.monotonic() - started)
        _write(store, unit, after, report)
        return report

    def _sample(self, todo: pd.DataFrame, member: Member) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
        if self._engine is None:
            self._engine = build(self.node, Engine, key="engine")
            self._engine.look_in(self.weights_dir)
        ids = todo["prompt_id"].tolist()
        seeds = [request_seed(self.seed, member.name, identity) for identity in ids]
        requests = [Request(member.messages(p), s) for p, s in zip(todo["prompt"], seeds, strict=True)]
        answers: dict[int, list[Response] | Failure] = {}
        for i, answer in self._engine.generate(requests, member, self.k):
            answers[i] = answer
            if self.tick is not None and not isinstance(answer, Failure):
                self.tick(len(answer))
        rows, failed = [], {}
        for i, identity in enumerate(ids):
            answer = answers.get(i, Failure("the engine gave no answer"))
            if isinstance(answer, Failure):
                failed[identity] = whole_text(answer.error)
                continue
            for j, r in enumerate(answer):
                tokens = token_count(r.prompt_tokens, "a prompt"), token_count(r.completion_tokens, r.text)
                counted = (*tokens, r.finish_reason, seeds[i] + j)
                rows.append((identity, member.name, j, whole_text(r.text), *counted))
        return rows, failed

    def close(self) -> None:
        """Let the engine go."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _tokens(rows: list[tuple[Any, ...]]) -> int:
    return sum(row[COLUMNS.index("completion_tokens")] or 0 for row in rows)


def _write(store: Store, unit: Unit, rows: pd.DataFrame, report: Report) -> None:
    """Failures first: a process killed in between leaves a unit that is done again, never one that only looks done."""
    rows = rows.astype({"prompt_tokens": "Int64", "completion_tokens": "Int64", "sample": "int64", "seed": "int64"})
    rows = rows.astype({"prompt_id": "str", "model": "str", "response": "str", "finish_reason": "str"})
    failures, log = f"failures/samples/{unit.file}", f"log/samples/{unit.file}"
    if report.failed:
        store.write_json(failures, report.failed)
    store.write_json(
        log, added_up(store, log, {"done": report.done, "tokens": report.tokens, "seconds": report.seconds})
    )
    if len(rows):
        store.write_frame(f"samples/{unit.part}", rows)
    if not report.failed:
        store.remove(failures)


def added_up(store: Store, log: str, said: dict[str, Any]) -> dict[str, Any]:
    """A unit's log with what another round of it took."""
    before = store.read_json(log) if store.exists(log) else {}
    return {key: value + before.get(key, 0) for key, value in said.items()}
