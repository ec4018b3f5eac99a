"""A contender's curve over all its runs: gain over best single against cost, averaged where runs can be averaged.

Runs on different splits have different test prompts, so neither their rewards nor their costs are on one scale. Rewards
are taken less that of each run's own best single member. Costs are taken as shares of the pool's range on the same
prompts, from its cheapest to its dearest member's mean cost; at equal shares gains are averaged, those of several seeds
on a split first. Between two points of a curve lies a mixture of both, which is a straight line. Nothing is spent
beyond lambda = 0: from there on a curve is held.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.evaluation.comparison.contenders import Runs
from erp.findings import CurvePanel, MeanCurve, Place
from erp.results import Content, costs_differ, look_up, numbers, value_of
from erp.units import LOG_FROM

Floats = NDArray[np.float64]
SplitResults = tuple[str, Content]  # of a run, and what its split is
POINTS = 160  # of a mean curve


@dataclass(frozen=True, eq=False)
class _Scale:
    """The cost range of one run, and its best single's reward."""

    low: float
    high: float
    base: float
    logarithmic: bool

    def share(self, cost: Floats) -> Floats:
        if self.logarithmic:
            shares: Floats = np.log(np.maximum(cost, self.low * 1e-9) / self.low) / np.log(self.high / self.low)
        else:
            shares = (cost - self.low) / (self.high - self.low)
        return shares


FAR = 1e3  # a router's mean cost lies about between its cheapest and its dearest member's


def curve_panels(runs: Runs, places: Mapping[Path, Place]) -> list[CurvePanel]:
    """Every panel whose members differ in cost, in the order of the places; runs without a curve are left out."""
    panels: dict[int, dict[str, list[SplitResults]]] = defaultdict(lambda: defaultdict(list))
    results = dict(runs)
    facts = {}
    for folder, place in places.items():
        if _has_curve(results[folder]):
            panels[place.facts["panel"]][place.contender].append((place.split, results[folder]))
            facts[place.facts["panel"]] = place.facts
    return [_panel(facts[position], contenders) for position, contenders in panels.items()]


def _has_curve(results: Content) -> bool:
    known = all(look_up(results, "cost", key) is not None for key in ("kind", "range"))
    single = value_of(results, "routing", "best_single", "reward")
    curve = look_up(results, "curves", "router")
    return bool(known and curve and np.isfinite(single) and costs_differ(results) and _on_the_axis(results, curve))


def _on_the_axis(results: Content, curve: Content) -> bool:
    """Whether a curve's costs are of the size of its pool's; in an edited file they need not be."""
    (low, high), costs = numbers(results["cost"]["range"]), numbers(curve["cost"])
    return bool((costs >= low / FAR).all() and (costs <= high * FAR).all())


def _panel(facts: Mapping[str, Any], contenders: Mapping[str, list[SplitResults]]) -> CurvePanel:
    # What is not the router's is the same in all runs of a split.
    by_split = dict(run for runs in contenders.values() for run in runs)
    first = list(by_split.values())
    ranges = np.array([numbers(run["cost"]["range"]) for run in first])
    logarithmic = bool(ranges[:, 0].min() > 0 and (ranges[:, 1] / ranges[:, 0]).mean() >= LOG_FROM)
    ends = np.exp(np.log(ranges).mean(axis=0)) if logarithmic else ranges.mean(axis=0)
    marks = np.mean([_marks(run, logarithmic) for run in first], axis=0)
    oracles = [(split, run) for split, run in by_split.items() if look_up(run, "curves", "oracle")]
    return CurvePanel(
        facts,
        [_mean(name, "router", runs, logarithmic) for name, runs in contenders.items()],
        _mean("oracle", "oracle", oracles, logarithmic) if oracles else None,
        dict(zip(first[0]["run"]["members"], marks[:-1], strict=True)),
        float(marks[-1, 0]), (float(ends[0]), float(ends[1])), logarithmic, len(by_split),
    )  # fmt: skip


def _scale(run: Content, logarithmic: bool) -> _Scale:
    low, high = numbers(run["cost"]["range"])
    return _Scale(float(low), float(high), value_of(run, "routing", "best_single", "reward"), logarithmic)


def _marks(run: Content, logarithmic: bool) -> Floats:
    """(M + 1, 2) share and gain of every member, and of the best single last."""
    scale, members = _scale(run, logarithmic), [("members", name) for name in run["run"]["members"]]
    points = np.array(
        [
            [value_of(run, "routing", *keys, axis) for axis in ("cost", "reward")]
            for keys in (*members, ("best_single",))
        ]
    )
    return np.stack([scale.share(points[:, 0]), points[:, 1] - scale.base], axis=1)


def _mean(name: str, curve: str, runs: Sequence[SplitResults], logarithmic: bool) -> MeanCurve:
    """The mean of some runs' curves."""
    points = [_points(run, curve, logarithmic) for _, run in runs]
    splits = [split for split, _ in runs]
    start, end = max(share[0] for share, _, _ in points), _over_splits(np.array([at for _, _, at in points]), splits)
    grid = np.linspace(start, max(start, float(end[0])), POINTS)
    gains = np.stack([np.interp(grid, share, gain) for share, gain, _ in points])
    # The last point is lambda = 0 itself: not each run reaches that cost, and some would spend more.
    grid, gains = np.append(grid, grid[-1]), np.concatenate([gains, [[at[1]] for _, _, at in points]], axis=1)
    return MeanCurve(name, len(runs), grid, _over_splits(gains, splits), gains.min(axis=0), gains.max(axis=0))


def _points(run: Content, curve: str, logarithmic: bool) -> tuple[Floats, Floats, Floats]:
    """Shares (ascending) and gains of a run's curve, and share and gain of its first point, lambda = 0."""
    scale, found = _scale(run, logarithmic), run["curves"][curve]
    share, gain = scale.share(numbers(found["cost"])), numbers(found["reward"]) - scale.base
    order = np.argsort(share, kind="stable")
    return share[order], gain[order], np.array([share[0], gain[0]])


def _over_splits(values: Floats, splits: Sequence[str]) -> Floats:
    """The mean over splits (P,) of the means over their runs (R, P)."""
    means = [values[np.array(splits) == split].mean(axis=0) for split in dict.fromkeys(splits)]
    return np.asarray(np.mean(means, axis=0))
