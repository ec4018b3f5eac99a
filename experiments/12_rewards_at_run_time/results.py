"""Policies that look at rewards beside others at equal cost: python results.py <sweep.json>... results.csv curves.csv.

results.csv has a row for each table, reward model, policy and cost: means over the splits, of the intervals' ends too.
curves.csv is what the figure shows: the curves of the first split and the first router.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.files import read_json
from erp.runs import RunFolder

AT = ("own", "0.1", "0.25", "0.5", "0.75", "1")
KEYS = ["table", "reward_model", "router", "policy", "at"]


def main(sweeps: list[str], results: str, curves: str) -> None:
    """Write both tables."""
    folders = [RunFolder(Path(path)) for sweep in sweeps for path in read_json(Path(sweep))["runs"]]
    runs = [{**read_json(folder.results), "asked": folder.load_config()["policy"]} for folder in folders]
    runs = [run for run in runs if run.get("rewards_at_run_time")]
    frame = pd.DataFrame(row for run in runs for row in rows(run))
    means = frame.groupby(KEYS, sort=False).agg(["mean"]).droplevel(1, axis=1)
    means.insert(0, "splits", frame.groupby(KEYS, sort=False)["cost"].count())
    means.reset_index().round(6).to_csv(results, index=False)
    first = min(run["run"]["split_seed"] for run in runs)
    one = [run for run in runs if (run["run"]["split_seed"], run["run"]["router"]) == (first, runs[0]["run"]["router"])]
    drawn = pd.DataFrame(row for run in one for row in points(run))
    drawn.drop_duplicates().round({"cost": 4, "reward": 5}).to_csv(curves, index=False)


def named(run: dict[str, Any]) -> dict[str, str]:
    """What tells a curve from others."""
    said, asked = run["run"], run["asked"]
    policy = said["policy"]
    if policy == "cascade":
        policy += f", {asked['bar']} bar" + (", keeps the best" if asked["returns_best"] else "")
    return {**{key: said[key] for key in ("table", "reward_model", "router")}, "policy": policy}


def rows(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The policy at its own cost and along its curve."""
    found, size = run["rewards_at_run_time"], run["cost"]["shown_size"]
    for at, point in zip(AT, found["beside"], strict=True):
        row = {**named(run), "at": at, "cost": point["cost"] / size, "reward": point["reward"]}
        row["calls"] = found["calls"] if at == "own" else np.nan
        for other in ("router", "constant", "cascade"):
            row |= ends(f"less_{other}", point[f"less_{other}"])
        everyone = found["less_sample_all"] if at == "own" else None
        yield (
            row
            | ends("less_sample_all", everyone)
            | {"share_of_sample_all": point["cost"] / found["cost_of_sample_all"]}
        )


def ends(name: str, interval: dict[str, float] | None) -> dict[str, float]:
    """A difference and the ends of its interval, as columns."""
    keys = (("", "mean"), ("_low", "low"), ("_high", "high"))
    return {f"{name}{suffix}": np.nan if interval is None else interval[key] for suffix, key in keys}


def points(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Curves: of the policy, the plain cascade, the router; the members and sampling all as dots."""
    size, found, routing = run["cost"]["shown_size"], run["rewards_at_run_time"], run["routing"]
    unit = run["cost"]["shown_unit"]
    curves = {"policy": found["curve"], "plain cascade": found["cascades"], "router": run["curves"]["router"]}
    curves["members"] = {key: [m[key] for m in routing["members"].values()] for key in ("cost", "reward")}
    curves["sample all"] = {key: [routing["sample_all"][key]] for key in ("cost", "reward")}
    for kind, curve in curves.items():
        name = named(run)["policy"] if kind == "policy" else kind
        for cost, reward in sorted(zip(curve["cost"], curve["reward"], strict=True)):
            yield {**named(run), "policy": "", "name": name, "unit": unit, "cost": cost / size, "reward": reward}


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python results.py <sweep.json>... results.csv curves.csv")
    main(sys.argv[1:-2], *sys.argv[-2:])
