"""The second step: a reward model's score of every response."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from erp.build import build
from erp.collect.failures import write_failures
from erp.collect.journal import Journal
from erp.collect.pairs import as_pair
from erp.collect.prompts.base import MESSAGES
from erp.collect.rewards.base import RewardAdapter
from erp.collect.store import Store
from erp.collect.units import Clock, Report, Unit
from erp.engines.base import Failure
from erp.errors import ErpError
from erp.files import whole_text
from erp.table.belonging import RESPONSE_HASH, of_other_texts

KEYS = ["prompt_id", "model", "sample"]
FIRST = 64  # responses of which some must have a usable score, or the rest is not paid for


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


class Scores:
    """Scores of a unit's distinct (prompt, response) pairs as they come, kept in a journal until the unit is written.

    Attributes:
        had: key of a pair -> its score, None where none can be had.
        failed: prompt_id -> why.
        counts: what the adapter counted.
    """

    def __init__(self, store: Store, journal: str) -> None:
        self.journal = Journal(store, journal)
        self.had: dict[tuple[str, str], float | None] = {}
        self.failed: dict[str, Failure] = {}
        self.counts: Counter[str] = Counter()
        for prompt_id, digest, score, counts in self.journal.read():
            self.had[prompt_id, digest] = score
            self.counts.update(counts)

    @staticmethod
    def key(prompt_id: str, response: str) -> tuple[str, str]:
        """Of a pair: a response may be long."""
        return prompt_id, hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()

    def take(self, prompt_id: str, response: str, score: float | Failure | None, counts: Counter[str]) -> None:
        """What came of a pair, and what was counted meanwhile."""
        self.counts.update(counts)
        if isinstance(score, Failure):
            self.failed[prompt_id] = Failure(whole_text(score.error), score.final)
            return
        key = self.key(prompt_id, response)
        self.had[key] = score
        self.journal.add([*key, score, dict(counts)])


class Scorer:
    """Scores units of the store.

    Files, under the reward model's folder: ``rewards/<name>/part-*`` (rows), ``failures/...`` (which prompts failed and
    why), ``log/...``.

    Args:
        url: of the store.
        reward_model: plug-point node, with its name.
        members: whose responses are scored.
        weights_dir: where weights may lie.
    """

    def __init__(self, url: str, reward_model: dict[str, Any], members: list[str], weights_dir: str | None) -> None:
        self.url, self.node, self.members, self.weights_dir = url, reward_model, members, weights_dir
        self.name = str(reward_model["name"])
        self.title = f"scoring by {self.name}"
        self.ticks = False
        self.tick: Callable[[int], object] | None = None
        self._adapter: RewardAdapter | None = None
        self._prompts: pd.DataFrame | None = None  # by prompt_id
        self._sampled: set[str] | None = None  # names of the parts with responses
        self.outdated = 0  # scores of texts that are not there any more
        self._seen = self._usable = 0  # responses that were scored, and those of which a score came
        self._counted: Counter[str] = Counter()

    def loads(self, unit: Unit) -> str:  # noqa: ARG002
        """The one reward model."""
        return self.name

    def resources(self, unit: Unit) -> dict[str, float]:  # noqa: ARG002
        """The reward model's, under ``resources`` of its config."""
        return dict(self.node.get("resources") or {})

    def pending_counts(self, units: Sequence[Unit], finished: bool = False) -> dict[Unit, int]:
        """How many responses of each unit have no score yet; of a ``finished`` scoring, such as have changed since.

        Reads keys only, and only where some scores are there; the responses of parts that are younger than the scores.
        """
        store, counts = Store(self.url), dict[Unit, int]()
        there, begun = store.names("samples"), store.names(rewards_folder(self.name))
        for unit in units:
            outdated = self._outdated(store, unit, there) if unit.part in begun else None
            self.outdated += 0 if outdated is None else len(outdated)
            if not finished or (outdated is not None and len(outdated)):
                counts[unit] = len(self._pending(store, unit, there, unit.part in begun))
        return counts

    def _outdated(self, store: Store, unit: Unit, there: set[str]) -> pd.DataFrame:
        """Keys of the unit's scores that are of other texts than its samples, which are younger, now have."""
        part = f"{rewards_folder(self.name)}/{unit.part}"
        since, none = store.changed(part), pd.DataFrame(columns=KEYS)
        sampled = [f"samples/{name}" for member in self.members if (name := Unit(unit.block, member).part) in there]
        younger = [name for name in sampled if store.changed(name) >= since]
        scored = store.read_frame(part, KEYS, [RESPONSE_HASH]) if younger else none
        if RESPONSE_HASH not in scored:
            return none
        return pd.concat([of_other_texts(scored, store.read_frame(name, [*KEYS, "response"])) for name in younger])

    def _pending(
        self, store: Store, unit: Unit, there: set[str], begun: bool, columns: Sequence[str] = ()
    ) -> pd.DataFrame:
        """The unit's responses that have no score yet, in order of members and prompts: their keys, and columns."""
        wanted = [Unit(unit.block, member).part for member in self.members]
        frames = [store.read_frame(f"samples/{name}", [*KEYS, *columns]) for name in wanted if name in there]
        if not frames:
            return pd.DataFrame(columns=[*KEYS, *columns])
        samples = pd.concat(frames, ignore_index=True)
        if not begun:
            return samples
        scored = store.read_frame(f"{rewards_folder(self.name)}/{unit.part}", KEYS)
        return _without(samples, _without(scored, self._outdated(store, unit, there)))

    def run(self, units: Sequence[Unit]) -> Iterator[Report]:
        """Score what has no score; identical (prompt, response) pairs once. Writes them beside those that have one."""
        store = Store(self.url)
        for unit in units:
            yield self._run(store, unit)

    def _run(self, store: Store, unit: Unit) -> Report:
        folder, clock = rewards_folder(self.name), Clock()
        part = f"{folder}/{unit.part}"
        begun = store.exists(part)
        if self._sampled is None:
            self._sampled = store.names("samples")  # all there, before scoring begins
        rows = self._pending(store, unit, self._sampled, begun, ["response"])
        pairs = rows[["prompt_id", "response"]].drop_duplicates().sort_values("prompt_id", kind="stable")
        scores = Scores(store, f"journal/{folder}/{unit.name}.jsonl")

        def write() -> Report:
            keys = [scores.key(*pair) for pair in zip(*_columns(pairs), strict=True)]
            found = pairs[np.array([key in scores.had for key in keys], bool)]
            had = [key for key in keys if key in scores.had]
            rewards, hashes = np.array([scores.had[key] for key in had], np.float64), [key[1][:16] for key in had]
            found = found.assign(reward=rewards, **{RESPONSE_HASH: pd.array(hashes, "str")})
            done = rows.merge(found, on=["prompt_id", "response"], how="inner", validate="many_to_one")
            done = done[[*KEYS, "reward", RESPONSE_HASH]]
            report = Report(unit, len(done), scores.failed, 0, clock.lap())
            whole = pd.concat([_without(store.read_frame(part), rows), done]) if begun else done
            self._write(store, unit, whole, report, scores.counts)
            return report

        try:
            self._score(store, pairs, scores)
        except BaseException:
            if not scores.journal.kept and scores.had:
                left = set(pairs["prompt_id"]) - set(scores.failed)
                scores.failed.update(dict.fromkeys(left, Failure("not scored yet: the collection was stopped")))
                write()
            raise
        finally:
            scores.journal.close()
        report = write()
        scores.journal.remove()
        return report

    def _score(self, store: Store, pairs: pd.DataFrame, scores: Scores) -> None:
        """Score the pairs that have no score yet."""
        if self._prompts is None:
            columns = ["prompt_id", "prompt", "category", "reference"]
            self._prompts = store.read_frame("prompts.parquet", columns, [MESSAGES]).set_index("prompt_id")
        if self._adapter is None:
            self._adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
            self._adapter.look_in(self.weights_dir)
        todo = [pair for pair in zip(*_columns(pairs), strict=True) if scores.key(*pair) not in scores.had]
        adapter, prompts = self._adapter, self._prompts.loc[list(dict.fromkeys(p for p, _ in todo))].to_dict("index")
        adapter.counts.clear()
        for index, score in adapter.each([as_pair(prompts[p], text) for p, text in todo]) if todo else ():
            scores.take(*todo[index], score, adapter.counts)
            self._counted.update(adapter.counts)
            adapter.counts.clear()
            self._seen += not isinstance(score, Failure)
            self._usable += score is not None and not isinstance(score, Failure)
            if self._seen >= FIRST and not self._usable:
                why = ", ".join(f"{count} {what}" for what, count in sorted(self._counted.items())) or "nothing counted"
                raise ErpError(
                    f"reward_model.name = {self.name}: none of the first {self._seen} responses has a usable score "
                    f"({why}); look at what it answers, then mend the reward model's options"
                )

    def _write(self, store: Store, unit: Unit, rows: pd.DataFrame, report: Report, counts: Counter[str]) -> None:
        """Failures first, as in sampling."""
        folder = rewards_folder(self.name)
        failures, log = f"failures/{folder}/{unit.file}", f"log/{folder}/{unit.file}"
        if report.failed:
            write_failures(store, failures, report.failed)
        before: dict[str, Any] = store.read_json(log) if store.exists(log) else {"seconds": 0.0, "counts": {}}
        counted = Counter(before["counts"]) + counts
        store.write_json(log, {"seconds": before["seconds"] + report.seconds, "counts": counted})
        if len(rows):
            rows = rows.sort_values(KEYS).astype({"prompt_id": "str", "model": "str", "sample": "int64"})
            store.write_frame(f"{folder}/{unit.part}", rows)
        if not report.failed:
            store.remove(failures)

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

    @property
    def reads_references(self) -> bool:
        """Whether scores depend on what prompts have for verifiers."""
        return build(adapter_node(self.node), RewardAdapter, key="reward_model").reads_references

    def close(self) -> None:
        """Let the reward model go."""
        self._adapter = None


def _without(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Rows whose keys are not among those of the others."""
    if others.empty:
        return rows
    merged = rows.merge(others[KEYS], on=KEYS, how="left", indicator=True)
    return merged[merged["_merge"] == "left_only"].drop(columns="_merge").reset_index(drop=True)


def _columns(pairs: pd.DataFrame) -> tuple[list[str], list[str]]:
    return pairs["prompt_id"].tolist(), pairs["response"].tolist()
