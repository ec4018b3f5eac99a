"""The second step: a reward model's score of every response."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from erp.build import build
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.store import Store
from erp.collect.units import Report, Unit
from erp.engines.base import Failure
from erp.files import whole_text

KEYS = ["prompt_id", "model", "sample"]


def rewards_folder(reward_model: str) -> str:
    """Where a reward model's scores lie, as the table's reader expects them."""
    return f"rewards/{quote(reward_model, safe='')}"


def adapter_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's own part of a reward model's config; ``resources`` is for the runner."""
    return {key: value for key, value in node.items() if key != "resources"}


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
        self._prompts: dict[Any, dict[Any, Any]] = {}  # prompt_id -> its row

    def loads(self, unit: Unit) -> str:  # noqa: ARG002
        """The one reward model."""
        return self.name

    def resources(self, unit: Unit) -> dict[str, float]:  # noqa: ARG002
        """The reward model's, under ``resources`` of its config."""
        return dict(self.node.get("resources") or {})

    def pending_counts(self, units: Sequence[Unit]) -> dict[Unit, int]:
        """How many responses of each unit have no score yet. Reads keys only, and only where some scores are there."""
        store = Store(self.url)
        there, begun = store.names("samples"), store.names(rewards_folder(self.name))
        return {unit: len(self._pending(store, unit, there, unit.part in begun)) for unit in units}

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
        merged = samples.merge(scored, on=KEYS, how="left", indicator=True)
        return merged[merged["_merge"] == "left_only"].drop(columns="_merge").reset_index(drop=True)

    def run(self, unit: Unit) -> Report:
        """Score what has no score; identical (prompt, response) pairs once. Writes them beside those that have one."""
        store, started = Store(self.url), time.monotonic()
        part = f"{rewards_folder(self.name)}/{unit.part}"
        begun = store.exists(part)
        rows = self._pending(store, unit, store.names("samples"), begun, ["response"])
        scores, failed = self._scores(store, rows)
        done = rows.merge(scores, on=["prompt_id", "response"], how="inner", validate="many_to_one")[[*KEYS, "reward"]]
        report = Report(unit, len(done), failed, 0, time.monotonic() - started)
        self._write(store, unit, pd.concat([store.read_frame(part), done]) if begun else done, report)
        return report

    def _scores(self, store: Store, rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
        """prompt_id, response, reward of the distinct pairs that were scored; prompt_id -> why of those that failed."""
        if not self._prompts:
            self._prompts = store.read_frame("prompts.parquet").set_index("prompt_id").to_dict("index")
        if self._adapter is None:
            self._adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
            self._adapter.look_in(self.weights_dir)
        pairs = rows[["prompt_id", "response"]].drop_duplicates().sort_values("prompt_id", kind="stable")
        self._adapter.counts.clear()
        scores = (
            self._adapter.score(
                [as_pair(self._prompts[identity], text) for identity, text in pairs.itertuples(index=False)]
            )
            if len(pairs)
            else []
        )
        failed = {
            identity: whole_text(score.error)
            for identity, score in zip(pairs["prompt_id"], scores, strict=True)
            if isinstance(score, Failure)
        }
        had = [not isinstance(score, Failure) for score in scores]
        pairs["reward"] = pd.Series([None if isinstance(s, Failure) else s for s in scores], pairs.index, "float64")
        return pairs.loc[had], failed

    def _write(self, store: Store, unit: Unit, rows: pd.DataFrame, report: Report) -> None:
        """Failures first, as in sampling."""
        assert self._adapter is not None
        folder = rewards_folder(self.name)
        failures, log = f"failures/{folder}/{unit.file}", f"log/{folder}/{unit.file}"
        if report.failed:
            store.write_json(failures, report.failed)
        before: dict[str, Any] = store.read_json(log) if store.exists(log) else {"seconds": 0.0, "counts": {}}
        counts = Counter(before["counts"]) + self._adapter.counts
        store.write_json(log, {"seconds": before["seconds"] + report.seconds, "counts": counts})
        if len(rows):
            rows = rows.sort_values(KEYS).astype({"prompt_id": "str", "model": "str", "sample": "int64"})
            store.write_frame(f"{folder}/{unit.part}", rows)
        if not report.failed:
            store.remove(failures)

    def outcome(self, units: Sequence[Unit]) -> list[str]:
        """Mean score of every member, and how many are missing: what one wants to see first."""
        store, folder = Store(self.url), rewards_folder(self.name)
        there = store.names(folder)
        frames = [store.read_frame(f"{folder}/{u.part}", ["model", "reward"]) for u in units if u.part in there]
        if not frames:
            return []
        of_member = pd.concat(frames).groupby("model", sort=False)["reward"]
        means, sizes, had = of_member.mean(), of_member.size(), of_member.count()
        width = max(len(name) for name in means.index)
        return [
            f"  {name:<{width}}  mean {means[name]:.4f}"
            + (f", {sizes[name] - had[name]:,} of {sizes[name]:,} missing" if sizes[name] > had[name] else "")
            for name in means.sort_values(ascending=False).index
        ]

    def about(self) -> dict[str, Any]:
        """What the adapter says of its scores."""
        adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
        said = {"_target_": self.node["_target_"], "higher_is_better": adapter.higher_is_better}
        return {**said, **adapter.about()}

    def close(self) -> None:
        """Let the reward model go."""
        self._adapter = None


def as_pair(prompt: Mapping[Any, Any], response: str) -> Pair:
    """A row of prompts.parquet with a response to it."""
    category: str | None = None if pd.isna(prompt["category"]) else str(prompt["category"])
    return Pair(str(prompt["prompt"]), response, category, read_reference(prompt["reference"]))


def read_reference(text: Any) -> dict[str, Any] | None:
    """A prompt's reference: a JSON object, or anything else as ``{answer: ...}``."""
    if pd.isna(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"answer": value}
