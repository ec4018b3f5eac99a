"""The second step: a reward model's score of every response."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pandas as pd

from erp.build import build
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.store import Store
from erp.collect.units import Report, Unit
from erp.engines.base import Failure

KEYS = ["prompt_id", "model", "sample"]


def rewards_folder(reward_model: str) -> str:
    """Where a reward model's scores lie, as the table's reader expects them."""
    return f"rewards/{quote(reward_model, safe='')}"


def failures(reward_model: str, unit: Unit) -> str:
    """File that says which prompts of a unit failed and why; it is not there where none did."""
    return f"failures/{rewards_folder(reward_model)}/{unit.name}.json"


def adapter_node(node: Mapping[str, Any]) -> dict[str, Any]:
    """The adapter's own part of a reward model's config; ``resources`` is for the runner."""
    return {key: value for key, value in node.items() if key != "resources"}


class Scorer:
    """Scores units of the store.

    Args:
        url: of the store.
        reward_model: plug-point node, with its name.
        members: whose responses are scored.
        resources: of a worker on a cluster.
        weights_dir: where weights may lie.
    """

    def __init__(self, url: str, reward_model: dict[str, Any], members: list[str], weights_dir: str | None) -> None:
        self.url, self.node, self.members, self.weights_dir = url, reward_model, members, weights_dir
        self.name = str(reward_model["name"])
        self._adapter: RewardAdapter | None = None
        self._prompts: pd.DataFrame | None = None

    def loads(self, unit: Unit) -> str:  # noqa: ARG002
        """The one reward model."""
        return self.name

    def resources(self, unit: Unit) -> dict[str, float]:  # noqa: ARG002
        """The reward model's, under ``resources`` of its config."""
        return dict(self.node.get("resources") or {})

    def pending(self, unit: Unit, columns: Sequence[str] = ()) -> pd.DataFrame:
        """The unit's responses that have no score yet, in order of members and prompts: their keys, and columns."""
        store = Store(self.url)
        wanted = [f"part-{Unit(unit.block, member).name}.parquet" for member in self.members]
        there = store.names("samples")
        frames = [store.read_frame(f"samples/{name}", [*KEYS, *columns]) for name in wanted if name in there]
        if not frames:
            return pd.DataFrame(columns=[*KEYS, *columns])
        samples, folder = pd.concat(frames, ignore_index=True), rewards_folder(self.name)
        parts = [name for name in store.names(folder) if name.startswith(f"part-{unit.name}-")]
        if not parts:
            return samples
        scored = pd.concat([store.read_frame(f"{folder}/{name}", KEYS) for name in parts])
        merged = samples.merge(scored, on=KEYS, how="left", indicator=True)
        return merged[merged["_merge"] == "left_only"].drop(columns="_merge").reset_index(drop=True)

    def run(self, unit: Unit) -> Report:
        """Score what has no score; identical (prompt, response) pairs once."""
        store, started, folder = Store(self.url), time.monotonic(), rewards_folder(self.name)
        rows = self.pending(unit, ["response"])
        if self._prompts is None:
            self._prompts = store.read_frame("prompts.parquet").set_index("prompt_id")
        pairs = rows[["prompt_id", "response"]].drop_duplicates().sort_values("prompt_id", kind="stable")
        if self._adapter is None:
            self._adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
            self._adapter.look_in(self.weights_dir)
        self._adapter.counts.clear()
        scores = self._adapter.score([self._pair(*row) for row in pairs.itertuples(index=False)])
        failed = {
            identity: score.error
            for identity, score in zip(pairs["prompt_id"], scores, strict=True)
            if isinstance(score, Failure)
        }
        pairs["reward"] = pd.Series([None if isinstance(s, Failure) else s for s in scores], pairs.index, "float64")
        pairs = pairs[[not isinstance(s, Failure) for s in scores]]
        done = rows.merge(pairs, on=["prompt_id", "response"], how="inner", validate="many_to_one")[[*KEYS, "reward"]]
        if failed:
            store.write_json(failures(self.name, unit), failed)
        report = Report(unit, len(done), failed, 0, time.monotonic() - started)
        number = sum(name.startswith(f"part-{unit.name}-") for name in store.names(folder))
        said = {"done": len(done), "pairs": len(pairs), "seconds": report.seconds, "counts": self._adapter.counts}
        store.write_json(f"log/{folder}/{unit.name}-{number}.json", said)
        if len(done):
            done = done.sort_values(KEYS).astype({"prompt_id": "str", "model": "str", "sample": "int64"})
            store.write_frame(f"{folder}/part-{unit.name}-{number}.parquet", done)
        if not failed:
            store.remove(failures(self.name, unit))
        return report

    def _pair(self, prompt_id: str, response: str) -> Pair:
        assert self._prompts is not None
        row = self._prompts.loc[prompt_id]
        category: str | None = None if pd.isna(row["category"]) else str(row["category"])
        return Pair(str(row["prompt"]), response, category, read_reference(row["reference"]))

    def about(self) -> dict[str, Any]:
        """What the adapter says of its scores."""
        adapter = build(adapter_node(self.node), RewardAdapter, key="reward_model")
        return {"higher_is_better": adapter.higher_is_better, **adapter.about()}

    def close(self) -> None:
        """Let the reward model go."""
        self._adapter = None


def read_reference(text: Any) -> dict[str, Any] | None:
    """A prompt's reference: a JSON object, or anything else as ``{answer: ...}``."""
    if pd.isna(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"answer": value}
