"""Contenders of a sweep beside what needs no router: python results.py <sweep.json> results.csv curves.csv.

results.csv is `erp compare table=contenders` with the difference to the best constant of equal cost, what the point
chosen on validation to keep the best single's reward costs and gains, and rows for the oracles; curves.csv is what the
figure shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.mean_curves import curve_panels
from erp.evaluation.comparison.pairs import pair_up
from erp.evaluation.comparison.tested import read_tested
from erp.files import read_json
from erp.findings import Pairs
from erp.metrics.intervals import GroupBootstrap
from erp.results import look_up, value_of
from erp.runs import RunFolder

KEPT = ["table", "reward_model", "members", "contender", "splits", "prompts", "reward", "cost", "best_single"]
EVERY = 4  # of a curve's points, one is kept


def main(sweep: str, results: str, curves: str) -> None:
    """Write both tables."""
    runs = [(Path(path), read_json(RunFolder(Path(path)).results)) for path in read_json(Path(sweep))["runs"]]
    known, untested = read_tested(runs)
    for line in untested:
        print(line, file=sys.stderr)
    pairs = pair_up(known)
    tested = [run for run in known if isinstance(run, TestedRun)]
    frame = pd.DataFrame(rows(dict(runs), tested, pairs))
    frame.round(6).to_csv(results, index=False)
    drawn = pd.DataFrame(points(runs, pairs), columns=["panel", "reward_model", "kind", "name", "unit", "cost", "gain"])
    halves = frame[frame["contender"] == "split-half oracle"]
    marks = halves.rename(columns={"contender": "name"}).assign(kind="level")
    drawn = pd.concat([drawn, marks[["panel", "reward_model", "kind", "name", "gain"]]])
    drawn.round({"cost": 0, "gain": 5}).to_csv(curves, index=False)


def rows(results: dict[Path, Any], tested: Sequence[TestedRun], pairs: Pairs) -> Iterator[dict[str, Any]]:
    """Every contender, then the oracles of its panel."""
    for number, contenders in pairs.contenders.groupby("panel"):
        facts: dict[str, Any] = {}
        for _, contender in contenders.iterrows():
            own = [
                run for run in tested
                if pairs.places[run.folder].facts["panel"] == number
                and pairs.places[run.folder].contender == contender["contender"]
            ]  # fmt: skip
            facts = {"panel": number, **contender[KEPT], "best_single_cost": single_cost(results, own)}
            gains = {name: contender[name] for name in ("gain", "gain_low", "gain_high")}
            yield {**facts, **gains, **at_equal_cost(results, own), **at_same_reward(results, own)}
        first = list({run.split_seed: run for run in own}.values())  # references are the same for every contender
        facts |= {"reward": np.nan, "cost": np.nan}
        for name in ("oracle", "random"):
            values = [(run.observed.max if name == "oracle" else run.observed.mean)(axis=1) for run in first]
            gained = np.concatenate([value - run.single for value, run in zip(values, first, strict=True)])
            spent = np.mean([value_of(results[run.folder], "routing", name, "cost") for run in first])
            known = {"reward": np.concatenate(values).mean(), "cost": spent}
            yield {**facts, "contender": name, **known, **interval("gain", gained, first)}
        halves = [value_of(results[run.folder], "oracle_split_half", "reward") for run in first]
        singles = [value_of(results[run.folder], "routing", "best_single", "reward") for run in first]
        yield {
            **facts, "contender": "split-half oracle", "reward": np.mean(halves),
            "gain": np.mean(np.subtract(halves, singles)),
        }  # fmt: skip


def interval(name: str, values: np.ndarray, runs: Sequence[TestedRun]) -> dict[str, float]:
    """The mean of per-prompt values of several splits, with an interval over groups of prompts."""
    groups, _ = pd.factorize(np.concatenate([run.groups for run in runs]))
    found = GroupBootstrap(groups).interval(values)
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def single_cost(results: dict[Path, Any], runs: Sequence[TestedRun]) -> float:
    """What the best single member costs, a mean over splits."""
    return float(np.mean([value_of(results[run.folder], "routing", "best_single", "cost") for run in runs]))


def at_equal_cost(results: dict[Path, Any], runs: Sequence[TestedRun]) -> dict[str, float]:
    """Reward less that of the best mixture of members that costs as much, chosen on train."""
    values = []
    for run in runs:
        constant = look_up(results[run.folder], "equal_cost", "lambda_0", "constant")
        weights = np.array([constant.get(member, 0.0) for member in run.panel[2]])
        values.append(run.reward - run.observed @ weights)
    return interval("equal_cost", np.concatenate(values), runs)


def at_same_reward(results: dict[Path, Any], runs: Sequence[TestedRun]) -> dict[str, float]:
    """Cost and gain on test at the lambda that kept the best single's reward on validation at the least cost.

    Means over the splits that have one; of the interval, the means of its ends.
    """
    found = [point for run in runs if (point := look_up(results[run.folder], "cost_save")) is not None]
    gains = [[value_of(point, "reward_gain", end) for end in ("mean", "low", "high")] for point in found]
    means = np.mean(gains, axis=0) if found else np.full(3, np.nan)
    names = ("same_reward_gain", "same_reward_gain_low", "same_reward_gain_high")
    cost = float(np.mean([value_of(point, "cost") for point in found])) if found else np.nan
    return {"same_reward_splits": len(found), "same_reward_cost": cost, **dict(zip(names, means, strict=True))}


def points(runs: Sequence[tuple[Path, Any]], pairs: Pairs) -> Iterator[tuple[Any, ...]]:
    """Points of the mean curves, of the members and of the best single; none where costs are not known."""
    for panel in curve_panels(runs, pairs.places):
        facts = panel.facts["panel"], panel.facts["reward_model"]
        unit = panel.facts["cost_unit"]
        curves = [("router", curve) for curve in panel.curves]
        for kind, curve in [*curves, *([] if panel.oracle is None else [("oracle", panel.oracle)])]:
            kept = np.unique([*range(0, len(curve.share), EVERY), len(curve.share) - 1])
            for cost, gain in zip(panel.costs(curve.share[kept]), curve.gain[kept], strict=True):
                yield *facts, kind, curve.name, unit, cost, gain
        for name, (share, gain) in panel.members.items():
            yield *facts, "member", name, unit, float(panel.costs(share)), gain
        yield *facts, "best single", "best single", unit, float(panel.costs(np.array(panel.single))), 0.0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python results.py <sweep.json> results.csv curves.csv")
    main(*sys.argv[1:])
