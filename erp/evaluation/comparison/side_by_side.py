"""Two contenders side by side: their rows in common, how sure the difference is, and what it says among many."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.evaluation.comparison.contenders import TestedRun
from erp.metrics.draws import bags
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.significance import max_t, mcnemar

Floats = NDArray[np.float64]
COLUMNS_AT_ONCE = 256  # differences resampled together: bounds memory, whatever the number of pairs


@dataclass(frozen=True, eq=False)
class Contender:
    """Runs that differ in split and seed alone; prompts and groups are codes within the panel."""

    name: str
    runs: list[TestedRun]

    @property
    def gain(self) -> float:
        """Mean reward above the best single, over all rows."""
        return float(np.concatenate([run.gain for run in self.runs]).mean())


@dataclass(frozen=True, eq=False)
class Rows:
    """Rewards (R,) of two contenders side by side; ``prompts`` and ``groups`` are codes within the panel."""

    first: Floats
    second: Floats
    prompts: NDArray[np.int64]
    groups: NDArray[np.int64]


def rows_of(first: Contender, second: Contender | None) -> Rows:
    """The rows that two contenders share; for None the rows of the first beside the best single of its own runs."""
    ordered = sorted(first.runs, key=lambda run: (run.split, run.seed))
    rivals = [] if second is None else sorted(second.runs, key=lambda run: (run.split, run.seed))
    parts = [(run.reward, run.single, run.ids, run.groups) for run in ordered if second is None]
    for run in ordered:
        there = [rival for rival in rivals if rival.split == run.split]
        alone = len(there) == 1 or sum(other.split == run.split for other in ordered) == 1
        for rival in (rival for rival in there if alone or rival.seed == run.seed):
            ids, own, its = np.intersect1d(run.ids, rival.ids, assume_unique=True, return_indices=True)
            parts.append((run.reward[own], rival.reward[its], ids, run.groups[own]))
    if not parts:
        parts = [(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]
    return Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def resampled(rows: Sequence[Rows], bootstrap: Mapping[str, Any]) -> tuple[list[Interval], Floats]:
    """Interval and p-value of every mean difference; NaN without rows. Equal rows are resampled in one go."""
    intervals = [Interval(math.nan, math.nan, math.nan)] * len(rows)
    p_values = np.full(len(rows), math.nan)
    alike: dict[bytes, list[int]] = defaultdict(list)
    for k, one in enumerate(rows):
        if len(one.groups):
            alike[one.groups.tobytes()].append(k)
    for positions in alike.values():
        resampling = GroupBootstrap(rows[positions[0]].groups, **bootstrap)
        for start in range(0, len(positions), COLUMNS_AT_ONCE):
            some = positions[start : start + COLUMNS_AT_ONCE]
            values = np.stack([rows[k].first - rows[k].second for k in some], axis=1)
            for k, interval in zip(some, resampling.intervals(values), strict=True):
                intervals[k] = interval
            p_values[some] = resampling.p_values(values)
    return intervals, p_values


def adjusted(sides: Sequence[tuple[Contender, Contender | None]], bootstrap: Mapping[str, Any]) -> Floats:
    """p-values of all differences of a panel that hold for all of them at once (`max_t`); NaN where there is none."""
    bag = bags(1 + max(int(run.groups.max()) for first, _ in sides for run in first.runs), bootstrap["seed"])
    influence = np.zeros((int(bag.max()) + 1, len(sides)))
    means, counts = np.zeros(len(sides)), np.zeros(len(sides), dtype=np.int64)
    for k, side in enumerate(sides):
        rows = rows_of(*side)
        if not len(rows.groups):
            continue
        difference, groups = rows.first - rows.second, bag[rows.groups]
        means[k], counts[k] = difference.mean(), len(np.unique(groups))
        influence[:, k] = np.bincount(groups, difference - means[k], len(influence)) / len(groups)
    known = counts >= 2
    found = np.full(len(sides), math.nan)
    found[known] = max_t(
        means[known], influence[:, known], counts[known], draws=bootstrap["draws"], seed=bootstrap["seed"]
    )
    return found


def mcnemar_of(rows: Rows) -> tuple[float, str | None]:
    """The exact p-value, or NaN and why there is none."""
    if not len(rows.groups):
        return math.nan, "no test prompt, split and seed in common"
    if not (np.isin(rows.first, (0, 1)).all() and np.isin(rows.second, (0, 1)).all()):
        return math.nan, "rewards are not all 0 or 1"
    if len(np.unique(rows.prompts)) < len(rows.prompts):
        return math.nan, "prompts occur several times: more than one split or seed"
    if len(np.unique(rows.groups)) < len(rows.groups):
        return math.nan, "groups of several prompts"
    return mcnemar(rows.first, rows.second), None
