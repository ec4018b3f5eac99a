"""The second step: a reward model's score of every response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pandas as pd

from erp.build import build
from erp.collect.pairs import as_pair, spread
from erp.collect.prompts.base import MESSAGES
from erp.collect.rewards.base import RewardAdapter
from erp.collect.scored import KEYS, ScoredUnit, to_score, without
from erp.collect.stopping import rest
from erp.collect.store import Store
from erp.collect.units import Blocks, Clock, Report, Unit, rounds
from erp.engines.base import Failure
from erp.errors import ErpError
from erp.table.belonging import RESPONSE_HASH, of_other_texts

FIRST = 64  # responses of which some must have a usable score, or the rest is not paid for
SOON, FEW = 8, 4  # so many responses are enough if they are to so many prompts: not to one that a judge cannot grade


def rewards_folder(reward_model: str) -> str:
    """Where a reward model's scores lie, as the table's reader expects them."""
    return f"rewards/{quote(reward_model, safe='')}"


def adapter_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's own part of a reward model's config.

    ``resources`` is for the runner; ``note`` and ``higher_is_better`` are for who reads the scores.

    Raises:
        ErpError: ``higher_is_better`` is neither true nor false.
    """
    if not isinstance(higher := node.get("higher_is_better", True), bool):
        raise ErpError(f"reward_model.higher_is_better = {higher}: allowed are true and false; false for a cost")
    return {key: value for key, value in node.items() if key not in ("resources", "note", "higher_is_better")}


class Scorer:
    """Scores units of the store.

    Files: those of a ``ScoredUnit``, under the reward model's folder, ``rewards/<name>``.

    Args:
        url: of the store.
        reward_model: plug-point node, with its name.
        members: whose responses are scored.
        blocks: of their prompts.
        weights_dir: where weights may lie.
        refused_too: whether responses are scored again that would be refused again.
        retries: further rounds for prompts that failed.
    """

    def __init__(
        self, url: str, reward_model: dict[str, Any], members: list[str], blocks: Blocks,
        weights_dir: str | None, refused_too: bool = False, retries: int = 0,
    ) -> None:  # fmt: skip
        self.url, self.node, self.members, self.blocks = url, reward_model, members, blocks
        self.weights_dir = weights_dir
        self.refused_too, self.retries = refused_too, retries
        self.name = str(reward_model["name"])
        self.title = f"scoring by {self.name}"
        self.ticks = False
        self.tick: Callable[[int], object] | None = None
        self._adapter: RewardAdapter | None = None
        self._sampled: set[str] | None = None  # names of the parts with responses
        self.outdated = 0  # scores of texts that are not there any more
        self.failed = set[Unit]()  # that had failures before
        self._seen = self._usable = 0  # responses that were scored, and those of which a score came
        self._asked_of = set[str]()  # prompts that they answer
        self._untried: bool | None = None  # whether no usable score of the reward model was here before
        self._unasked = set[int]()  # pairs of which a score comes without a question
        self._counted: Counter[str] = Counter()
        self._example: str | None = None
        self._stopped = False

    def stop(self) -> bool:
        """Ask for nothing any more, and leave what is under way; False where the reward model cannot be stopped."""
        self._stopped = True
        return self._adapter is not None and self._adapter.stop()

    def loads(self, unit: Unit) -> str:  # noqa: ARG002
        """The one reward model."""
        return self.name

    def resources(self, unit: Unit) -> dict[str, float]:  # noqa: ARG002
        """The reward model's, under ``resources`` of its config."""
        return dict(self.node.get("resources") or {})

    def pending_counts(self, units: Sequence[Unit], finished: bool = False) -> dict[Unit, int]:
        """Units in which something is to be done, and how many of their responses are to be scored.

        Of a ``finished`` scoring, those whose responses have changed since, and those that failed where they are to be
        tried again. Reads how long files are, and the responses of parts that are younger than the scores, and of
        units with failures.
        """
        store, folder, counts = Store(self.url), rewards_folder(self.name), dict[Unit, int]()
        there, begun, failed = store.names("samples"), store.names(folder), store.names(f"failures/{folder}")
        kept = store.names(f"journal/{folder}")
        self._sampled = there
        for unit in units:
            younger = self._younger(store, unit, there) if unit.part in begun else []
            outdated = len(self._outdated(store, unit, younger)) if younger else 0
            self.outdated += outdated
            fails = unit.file in failed
            self.failed |= {unit} if fails else set()
            if finished and not outdated and not (fails and self.refused_too):
                continue
            if fails and not self.refused_too and f"{unit.name}.jsonl" not in kept:
                rows = self._pending(store, unit, there, unit.part in begun, ["response"])
                count = to_score(store, f"failures/{folder}/{unit.file}", rows)
            elif fails or younger:
                count = len(self._pending(store, unit, there, unit.part in begun)) or (0 if fails else None)
            else:  # what has scores are responses that are there
                sampled = sum(store.count_rows(f"samples/{name}") for name in self._parts(unit, there))
                scored = store.count_rows(f"{folder}/{unit.part}") if unit.part in begun else 0
                count = max(0, sampled - scored) or None
            if count is not None:
                counts[unit] = count
        return counts

    def _parts(self, unit: Unit, there: set[str]) -> list[str]:
        """Files that are there of the unit's responses, in order of members."""
        return [name for member in self.members if (name := Unit(unit.block, member).part) in there]

    def _younger(self, store: Store, unit: Unit, there: set[str]) -> list[str]:
        """Those of them that are younger than its scores."""
        since = store.changed(f"{rewards_folder(self.name)}/{unit.part}")
        return [name for name in self._parts(unit, there) if store.changed(f"samples/{name}") >= since]

    def _outdated(self, store: Store, unit: Unit, younger: Sequence[str]) -> pd.DataFrame:
        """Keys of the unit's scores that are of other texts than its samples, which are younger, now have."""
        part, none = f"{rewards_folder(self.name)}/{unit.part}", pd.DataFrame(columns=KEYS)
        scored = store.read_frame(part, KEYS, [RESPONSE_HASH]) if younger else none
        if RESPONSE_HASH not in scored:
            return none
        texts = (store.read_frame(f"samples/{name}", [*KEYS, "response"]) for name in younger)
        return pd.concat([of_other_texts(scored, of_part) for of_part in texts])

    def _pending(
        self, store: Store, unit: Unit, there: set[str], begun: bool, columns: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The unit's responses that have no score yet, in order of members and prompts: their keys, and columns."""
        frames = [store.read_frame(f"samples/{name}", [*KEYS, *columns]) for name in self._parts(unit, there)]
        if not frames:
            return pd.DataFrame(columns=[*KEYS, *columns])
        samples = pd.concat(frames, ignore_index=True)
        if not begun:
            return samples
        scored = store.read_frame(f"{rewards_folder(self.name)}/{unit.part}", KEYS)
        return without(samples, without(scored, self._outdated(store, unit, self._younger(store, unit, there))))

    def run(self, units: Sequence[Unit]) -> Iterator[Report]:
        """Score what has no score; identical (prompt, response) pairs once. Writes them beside those that have one."""
        yield from rounds(units, self.retries, self._once)

    def _once(self, units: Sequence[Unit]) -> Iterator[Report]:
        store = Store(self.url)
        for unit in units:
            if self._stopped or (report := self._run(store, unit)) is None:
                return
            yield report

    def _run(self, store: Store, unit: Unit) -> Report | None:
        """None where it was stopped."""
        folder, clock = rewards_folder(self.name), Clock()
        if self._sampled is None:
            self._sampled = store.names("samples")  # all there, before scoring begins
        rows = self._pending(store, unit, self._sampled, store.exists(f"{folder}/{unit.part}"), ["response"])
        scores = ScoredUnit(store, folder, unit, rows, self.refused_too)
        with closing(scores):
            try:
                self._score(store, unit, scores)
            except BaseException:
                scores.leave(clock.lap())
                raise
            if self._stopped:
                scores.leave(clock.lap())
                return None
            device = None if self._adapter is None else self._adapter.about().get("device")
            return scores.written(clock.lap(), self._answered(store), device)

    def _answered(self, store: Store) -> bool:
        """Whether the reward model ever answered anything but that it does not."""
        return self._seen > 0 or any(True for _ in self._scored_parts(store))

    def _scored_parts(self, store: Store) -> Iterator[str]:
        folder = rewards_folder(self.name)
        return (f"{folder}/{name}" for name in sorted(store.names(folder)) if name.startswith("part-"))

    def _ever_usable(self, store: Store) -> bool:
        return any(store.read_frame(part, ["reward"])["reward"].notna().any() for part in self._scored_parts(store))

    def _score(self, store: Store, unit: Unit, scores: ScoredUnit) -> None:
        """Score the pairs that have no score yet."""
        if self._adapter is None:
            self._adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
            self._adapter.look_in(self.weights_dir)
        if self._untried is None:
            self._untried = not (scores.usable or self._ever_usable(store))
        if self._untried and not self._usable:
            scores.lacking = spread(scores.lacking, SOON)
        adapter, todo = self._adapter, scores.lacking
        columns, rows = ["prompt_id", "prompt", "category", "reference"], self.blocks.rows[unit.block]
        prompts = store.read_rows("prompts.parquet", rows, columns, [MESSAGES]).set_index("prompt_id").to_dict("index")
        adapter.counts.clear()
        rivals = self._rivals(store, unit, adapter)
        self._unasked = {index for index, (p, text) in enumerate(todo) if {text} == {*rivals.get(p, ())}}
        answers = iter(adapter.each([as_pair(prompts[p], text, rivals.get(p, ())) for p, text in todo]) if todo else ())
        try:
            for index, score in answers:
                self._take(scores, index, score)
                self._check_usable()
        except BaseException:
            for index, score in rest(answers, self.stop):
                self._take(scores, index, score)
            raise

    def _rivals(self, store: Store, unit: Unit, adapter: RewardAdapter) -> dict[str, tuple[str, ...]]:
        """By prompt, the first responses of the member that others are compared with."""
        if adapter.against is None:
            return {}
        assert self._sampled is not None
        if (part := Unit(unit.block, adapter.against).part) not in self._sampled:
            return {}
        own = store.read_frame(f"samples/{part}", ["prompt_id", "sample", "response"]).sort_values("sample")
        texts = own[own["sample"] < adapter.rivals].groupby("prompt_id")["response"]
        return {str(prompt_id): tuple(said) for prompt_id, said in texts}

    def _take(self, scores: ScoredUnit, index: int, score: float | Failure | None) -> None:
        assert self._adapter is not None
        counts = self._adapter.counts
        scores.take(*scores.lacking[index], score, counts)
        self._counted.update(counts)
        counts.clear()
        self._example = self._adapter.example
        if not isinstance(score, Failure) and index not in self._unasked:
            self._seen += 1
            self._asked_of.add(scores.lacking[index][0])
            self._usable += score is not None

    def _check_usable(self) -> None:
        """Raise ErpError where nothing usable came of the first scores that a reward model ever gave here."""
        soon = self._seen >= SOON and len(self._asked_of) >= FEW
        if self._untried and not self._usable and (soon or self._seen >= FIRST):
            why = ", ".join(f"{count} {what}" for what, count in sorted(self._counted.items())) or "nothing counted"
            raise ErpError(
                f"reward_model.name = {self.name}: none of the first {self._seen} responses has a usable score "
                f"({why}){self.example}; mend the reward model's options"
            )

    @property
    def example(self) -> str:
        """What was answered last without a usable score, for an error's line; empty where that is not known."""
        said = " ".join((self._example or "").split())
        return f", but for example {said[:160]!r}" if said else ""

    def outcome(self, units: Sequence[Unit]) -> pd.DataFrame:
        """By member, the best first: ``mean`` score, responses that ``had`` one, and their number (``size``)."""
        store, folder = Store(self.url), rewards_folder(self.name)
        there, sums = store.names(folder), pd.DataFrame()
        for unit in units:  # one by one: all scores may be more than fits in memory
            if unit.part in there:
                of_member = store.read_frame(f"{folder}/{unit.part}", ["model", "reward"]).groupby("model")["reward"]
                part = pd.DataFrame({"sum": of_member.sum(), "had": of_member.count(), "size": of_member.size()})
                sums = part if sums.empty else sums.add(part, fill_value=0)
        if sums.empty:
            return pd.DataFrame(columns=["mean", "had", "size"])
        sums["mean"] = sums["sum"] / sums["had"]
        best_last = not self.about()["higher_is_better"]  # a cost
        return sums.sort_values("mean", ascending=best_last, kind="stable").astype({"had": "int64", "size": "int64"})

    def about(self) -> dict[str, Any]:
        """What the adapter, and the config's ``note``, say of the scores."""
        adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
        higher = self.node.get("higher_is_better", adapter.higher_is_better)
        said = {"_target_": self.node["_target_"], "higher_is_better": higher}
        note = {"note": self.node["note"]} if self.node.get("note") else {}
        return {**said, **adapter.about(), **note}

    def notes(self, counts: Mapping[str, int], scored: int | None) -> list[str]:
        """What the adapter says of all that was counted; ``scored``: of how many distinct texts, None where unknown."""
        return build(adapter_node(self.node), RewardAdapter, key="reward_model").notes(counts, scored)

    @property
    def reads_references(self) -> bool:
        """Whether scores depend on what prompts have for verifiers."""
        return build(adapter_node(self.node), RewardAdapter, key="reward_model").reads_references

    def close(self) -> None:
        """Let the reward model go."""
        self._adapter = None
