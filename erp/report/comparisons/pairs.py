"""Which router is better, and can it be told: paired differences between contenders, at lambda = 0.

Contenders of a panel are compared on the test prompts they share, row by row, on the same draws of a bootstrap over
groups of prompts; p-values are corrected over all differences of the panel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.significance import holm, mcnemar
from erp.report.comparisons.contenders import (
    PANEL,
    KnownRun,
    Place,
    TestedRun,
    panel_facts,
    part_contenders,
    part_panels,
)

Floats = NDArray[np.float64]
SINGLE = "best single"
UNTOLD = "cannot be told"
NOT_COMPARED = "not compared"  # for want of a row in common
MOST_ALL_PAIRS = 8  # contenders; of more, all are compared with the best of them and the best single only
MOST_DRAWS = 1_000_000  # more are never advised
COLUMNS_AT_ONCE = 256  # differences resampled together: bounds memory, whatever the number of pairs
CONTENDERS = [
    *PANEL, "contender", "router", "backbone", "runs", "splits", "seeds", "prompts", "reward", "cost", "best_single",
    "gain", "gain_low", "gain_high", "sd_over_splits", "sd_over_seeds", "vs_best", "p_vs_best", "vs_single",
    "p_vs_single",
]  # fmt: skip
PAIRS = [
    *PANEL, "first", "second", "rows", "prompts", "groups", "difference", "low", "high", "p_value", "p_holm",
    "verdict", "mcnemar_p", "mcnemar_why_not",
]  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """What is known of the contenders and of the differences between them; missing values are NaN or None.

    Attributes:
        contenders: one row each (`CONTENDERS`), of every panel the largest gain over the best single first.
            ``vs_best`` says what the corrected difference to that first one says: ``best`` (it is the first itself),
            ``worse``, ``cannot be told``, ``not compared`` (no row in common), or ``better``, which is rare: its gain
            is smaller over all its runs, and its reward larger on the rows that both have. ``vs_single`` is ``better``,
            ``worse`` or ``cannot be told``.
        pairs: one row per difference (`PAIRS`): ``first`` less ``second``, the contender of the larger gain first.
            ``p_holm`` is corrected over the differences of the panel that have rows.
        places: panel, contender and split of every run, also of those that are not tested.
        notes: what else a reader has to know, a line each.
        draws: of the bootstrap.
        level: of the intervals; a difference can be told where ``p_holm <= 1 - level``.
    """

    contenders: pd.DataFrame
    pairs: pd.DataFrame
    places: Mapping[Path, Place]
    notes: list[str]
    draws: int
    level: float


@dataclass(frozen=True, eq=False)
class _Contender:
    name: str
    runs: list[TestedRun]

    @property
    def gain(self) -> float:
        return float(np.concatenate([run.gain for run in self.runs]).mean())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rewards (R,) of two contenders side by side; ``prompts`` and ``groups`` are codes within the panel."""

    first: Floats
    second: Floats
    prompts: NDArray[np.int64]
    groups: NDArray[np.int64]


def pair_up(runs: Sequence[KnownRun], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Pairs:
    """Compare all runs that can be compared.

    Two contenders are compared row by row: the rows of equal prompt, split and seed. Where one of them has a
    single seed on a split (a router that has no use for seeds), that one stands beside every seed of the other.

    Args:
        runs: in any order; of equal settings, split and seed, the first ones belong together, then the second ones.
            Those that are not tested have a place, and no row.
        draws: of the paired bootstrap over groups of prompts.
        seed: of the draws.
        level: of the intervals; a difference can be told where its corrected p is at most 1 - level.

    Returns:
        Frames without a row, but with all their columns, where there is no run.
    """
    notes: list[str] = []
    contenders: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    places: dict[Path, Place] = {}
    for position, panel in enumerate(part_panels(runs, notes), start=1):
        facts = panel_facts(position, panel[0].panel)
        named = part_contenders(panel)
        places |= {run.folder: Place(facts, name, run.split) for name, own in named.items() for run in own}
        coded = _coded([run for run in panel if isinstance(run, TestedRun)])
        tested = [_Contender(name, [coded[id(run)] for run in own if id(run) in coded]) for name, own in named.items()]
        ranked = sorted((one for one in tested if one.runs), key=lambda one: (-one.gain, one.name))
        if not ranked:
            continue
        found = _differences(ranked, {"draws": draws, "seed": seed, "level": level})
        contenders += [facts | _describe(one, found, ranked[0].name) for one in ranked]
        pairs += [facts | row for row in found]
        notes += [f"{facts['table']}, {facts['reward_model']}: {line}" for line in _cannot_tell(found, draws, level)]
    frames = pd.DataFrame(contenders, columns=CONTENDERS), pd.DataFrame(pairs, columns=PAIRS)
    return Pairs(*frames, places, notes, draws, level)


def _cannot_tell(found: Sequence[Mapping[str, Any]], draws: int, level: float) -> list[str]:
    """A line where none of the differences can be told, however large: for want of draws, or else of groups.

    Holm's correction asks p <= alpha / D of the smallest of D, and no p is below that of draws that all lie on one side
    of 0. It falls with their number, and the fewer the groups, the slower: what takes more than `MOST_DRAWS` to tell
    takes more prompts instead.
    """
    groups = max(row["groups"] for row in found)
    differences = sum(not math.isnan(row["p_value"]) for row in found)
    if groups < 2:
        return ["all test prompts are one group: no difference can be told; test on more prompts"]
    needed = _draws_needed(groups, differences, 1 - level)
    if draws + 1 >= needed:
        return []
    none = f"none of {differences} differences can be told, however large it is"
    if needed <= MOST_DRAWS:
        return [f"with {draws:,} draws {none}; give bootstrap.draws={math.ceil(needed)} or more"]
    return [f"with {groups} groups of test prompts {none}; test on more prompts, or compare fewer contenders"]


def _draws_needed(groups: int, differences: int, alpha: float) -> float:
    """B + 1 of the fewest draws whose smallest p, as `erp.metrics.significance.bootstrap_p` has it, is alpha / D."""
    freedom = groups - 1
    tail = float(ndtr(math.sqrt(1 + 1 / freedom) * stdtrit(freedom, alpha / (2 * differences))))
    return 1 / tail if tail > 0 else math.inf


def _coded(panel: Sequence[TestedRun]) -> dict[int, TestedRun]:
    """By id of the run: the same with codes for prompts and groups that hold throughout the panel, sorted by prompt."""
    if not panel:
        return {}
    ids = pd.Index(np.concatenate([run.ids for run in panel])).drop_duplicates()
    named = pd.Series(np.concatenate([run.groups for run in panel]), np.concatenate([run.ids for run in panel]))
    codes, _ = pd.factorize(named[~named.index.duplicated()].reindex(ids))
    coded = {}
    for run in panel:
        at = ids.get_indexer(pd.Index(run.ids))
        order = np.argsort(at)
        parts = {name: getattr(run, name)[order] for name in ("reward", "cost", "single")}
        coded[id(run)] = replace(run, ids=at[order], groups=codes[at[order]], **parts)
    return coded


def _describe(contender: _Contender, found: Sequence[Mapping[str, Any]], best: str) -> dict[str, Any]:
    """A row of the contenders' table: the interval over prompts, the spread over splits and seeds, and the verdicts."""
    runs, name = contender.runs, contender.name
    gain = next(row for row in found if row["first"] == name and row["second"] == SINGLE)
    to_best = next((row for row in found if row["first"] == best and row["second"] == name), None)
    turned = {"better": "worse", "worse": "better"}
    by_split: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        by_split[run.split].append(float(run.gain.mean()))
    within = [np.array(gains) for gains in by_split.values() if len(gains) > 1]
    freedom = sum(len(gains) - 1 for gains in within)
    squares = sum(float(((gains - gains.mean()) ** 2).sum()) for gains in within)
    return {
        "contender": name, "router": runs[0].router, "backbone": runs[0].backbone, "runs": len(runs),
        "splits": len(by_split), "seeds": len({run.seed for run in runs}), "prompts": gain["prompts"],
        "reward": np.concatenate([run.reward for run in runs]).mean(),
        "cost": np.concatenate([run.cost for run in runs]).mean(),
        "best_single": np.concatenate([run.single for run in runs]).mean(),
        "gain": gain["difference"], "gain_low": gain["low"], "gain_high": gain["high"],
        "sd_over_splits": _sd([float(np.mean(gains)) for gains in by_split.values()]),
        "sd_over_seeds": math.sqrt(squares / freedom) if freedom else math.nan,
        "vs_best": "best" if to_best is None else turned.get(to_best["verdict"], to_best["verdict"]),
        "p_vs_best": math.nan if to_best is None else to_best["p_holm"],
        "vs_single": gain["verdict"], "p_vs_single": gain["p_holm"],
    }  # fmt: skip


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _differences(ranked: Sequence[_Contender], bootstrap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for every difference of a panel, all of the same rows on the same draws."""
    firsts = ranked if len(ranked) <= MOST_ALL_PAIRS else ranked[:1]
    sides: list[tuple[_Contender, _Contender | None]] = [
        (first, second) for i, first in enumerate(firsts) for second in ranked[i + 1 :]
    ]
    sides += [(contender, None) for contender in ranked]
    rows = [_rows(*pair) for pair in sides]
    intervals, p_values = _resampled(rows, bootstrap)
    known = ~np.isnan(p_values)
    adjusted = np.full(len(rows), math.nan)
    adjusted[known] = holm(p_values[known])
    found = []
    for k, (first, second) in enumerate(sides):
        p_mcnemar, why_not = _mcnemar(rows[k])
        found.append({
            "first": first.name, "second": SINGLE if second is None else second.name, "rows": len(rows[k].groups),
            "prompts": len(np.unique(rows[k].prompts)), "groups": len(np.unique(rows[k].groups)),
            "difference": intervals[k].mean, "low": intervals[k].low, "high": intervals[k].high,
            "p_value": p_values[k], "p_holm": adjusted[k],
            "verdict": _verdict(len(rows[k].groups), intervals[k].mean, adjusted[k], bootstrap["level"]),
            "mcnemar_p": p_mcnemar, "mcnemar_why_not": why_not,
        })  # fmt: skip
    return found


def _rows(first: _Contender, second: _Contender | None) -> _Rows:
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
    return _Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _resampled(rows: Sequence[_Rows], bootstrap: Mapping[str, Any]) -> tuple[list[Interval], Floats]:
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


def _verdict(rows: int, difference: float, p: float, level: float) -> str:
    if not rows:
        return NOT_COMPARED
    if not p <= 1 - level:  # NaN too
        return UNTOLD
    return "better" if difference > 0 else "worse"


def _mcnemar(rows: _Rows) -> tuple[float, str | None]:
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
