"""Results as rows: what becomes a ``wandb.Table``. A table has at most ``MOST_ROWS`` rows, as many as W&B draws."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MOST_ROWS = 10_000
Rows = dict[str, Any]  # columns, data


def routing_rows(results: Mapping[str, Any]) -> Rows:
    """The rows at lambda = 0, members included."""
    rows: list[tuple[str, Any]] = [
        (k, v) for k, v in (results["routing"] or {}).items() if isinstance(v, dict) and "reward" in v
    ]
    rows += [(f"member: {name}", row) for name, row in _members(results).items()]
    gains = [row["gain_vs_best_single"] for _, row in rows]
    data = [
        [name, row["reward"], row["cost"], gain["mean"], gain["low"], gain["high"], row.get("headroom_recovered")]
        for (name, row), gain in zip(rows, gains, strict=True)
    ]
    return {"columns": ["row", "reward", "cost", "gain", "gain_low", "gain_high", "headroom_recovered"], "data": data}


def _members(results: Mapping[str, Any]) -> dict[str, Any]:
    """The members' rows; none where no test prompt has a reward of every member."""
    return dict(results["routing"]["members"]) if results["routing"] is not None else {}


def curve_rows(results: Mapping[str, Any]) -> Rows:
    """Every reward-cost curve as one long table; lambda is None at infinity.

    ``line`` tells the curves of several runs apart: the router's are called by their run, and references, which runs of
    equal test prompts share, by what they are of and a hash of their points: another target or category left out is
    another line. A curve of very many points is thinned evenly, its ends kept.
    """
    run, most = results["run"], MOST_ROWS // max(len(results["curves"] or {}), 1)
    of = f"{run['table']}, {run['reward_model']}, {len(run['members'])} members, split {run['split_seed']}"
    data = []
    for name, curve in (results["curves"] or {}).items():
        points = list(zip(curve["lambda"], curve["cost"], curve["reward"], strict=True))
        kept = np.unique(np.linspace(0, len(points) - 1, min(most, len(points))).round().astype(int))
        line = run["name"] if name == "router" else f"{name} ({of}, {_digest(points)})"
        data += [[name, *points[k], line] for k in kept]
    return {"columns": ["curve", "lambda", "cost", "reward", "line"], "data": data}


def _digest(points: Sequence[tuple[Any, Any, Any]]) -> str:
    """Six hex digits that tell a curve by its costs and rewards; the last digits of a float may differ by machine."""
    text = ";".join(f"{cost:.8g},{reward:.8g}" for _, cost, reward in points)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def member_rows(results: Mapping[str, Any]) -> Rows:
    """What every pool member earns and costs alone, how often it is chosen at lambda = 0, how well it is predicted."""
    columns = [
        *("member", "reward", "cost", "share", "gain", "gain_low", "gain_high"),
        *("r2", "r2_ceiling", "r2_corrected", "r2_corrected_low", "r2_corrected_high"),
    ]
    data = []
    for name, row in _members(results).items():
        gain, predicted = row["gain_vs_best_single"], results["prediction"]["members"][name]
        corrected = predicted["r2_corrected"] or {}
        data.append(
            [name, row["reward"], row["cost"], row["share"], gain["mean"], gain["low"], gain["high"],
             predicted["r2"], predicted["r2_ceiling"], *(corrected.get(end) for end in ("mean", "low", "high"))]
        )  # fmt: skip
    return {"columns": columns, "data": data}


def prediction_rows(file: Path) -> Rows:
    """Predicted and observed reward of test prompts by member: the first whole prompts, up to ``MOST_ROWS`` rows.

    All of them, and those of validation, stay in the run folder.
    """
    frame = pd.read_parquet(file, filters=[("split", "==", "test")]).drop(columns="split")
    members = max(int(frame.groupby("prompt_id").size().max()), 1) if len(frame) else 1
    shown = frame.head(MOST_ROWS // members * members).astype(object)
    return {"columns": list(shown.columns), "data": shown.where(shown.notna(), None).to_numpy().tolist()}
