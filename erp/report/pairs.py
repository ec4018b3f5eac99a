"""Which router is better, and can it be told: paired differences between many runs.

Runs of one *panel* have table, reward model, members and cost unit in common. Runs of a panel that differ in their
seeds alone are one *contender*. Contenders are compared on the test prompts they share, at lambda = 0.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.significance import holm, mcnemar
from erp.report.facts import shortened

Floats = NDArray[np.float64]
SINGLE = "best single"
MOST_ALL_PAIRS = 8  # contenders; of more, all are compared with the best of them and the best single only
COLUMNS_AT_ONCE = 256  # differences resampled together: bounds memory, whatever the number of pairs
PANEL = ["panel", "table", "reward_model", "members", "cost_unit"]
CONTENDERS = [
    *PANEL, "contender", "router", "backbone", "runs", "splits", "seeds", "prompts", "reward", "cost", "best_single",
    "gain", "gain_low", "gain_high", "sd_over_splits", "sd_over_seeds",
]  # fmt: skip
PAIRS = [
    *PANEL, "first", "second", "rows", "prompts", "groups", "difference", "low", "high", "p_value", "p_holm",
    "verdict", "mcnemar_p", "mcnemar_why_not",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class TestedRun:
    """One run on its N test prompts whose cells are all present, at lambda = 0.

    Attributes:
        folder: of the run.
        panel: table, reward model, members, cost unit: what runs have in common that can be compared.
        router, backbone: names.
        settings: all else that makes it another contender than another run: dotted key -> value as JSON.
        split_seed, seed: which prompts are test; initialisation.
        ids: (N,) prompt ids, unique.
        groups: (N,) group of every prompt; prompts of a group are resampled together.
        observed: (N, M) rewards.
        reward, cost: (N,) of the member that the router sends the prompt to.
        single: (N,) reward of the best single member, chosen on train.
    """

    __test__ = False  # pytest takes every class called Test... for one of its own

    folder: Path
    panel: tuple[str, str, tuple[str, ...], str]
    router: str
    backbone: str
    settings: Mapping[str, str]
    split_seed: int
    seed: int
    ids: NDArray[Any]
    groups: NDArray[Any]
    observed: Floats
    reward: Floats
    cost: Floats
    single: Floats

    @property
    def gain(self) -> Floats:
        """Reward above the best single (N,)."""
        return self.reward - self.single


@dataclass(frozen=True)
class Pairs:
    """What is known of the contenders and of the differences between them; missing values are NaN or None.

    Attributes:
        contenders: one row each (`CONTENDERS`), of every panel the largest gain over the best single first.
        pairs: one row per difference (`PAIRS`): ``first`` less ``second``, the contender of the larger gain first.
            ``p_holm`` is corrected over the differences of the panel.
        notes: what else a reader has to know, a line each.
        draws: of the bootstrap.
        level: of the intervals; a difference can be told where ``p_holm <= 1 - level``.
    """

    contenders: pd.DataFrame
    pairs: pd.DataFrame
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


def pair_up(runs: Sequence[TestedRun], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Pairs:
    """Compare all runs that can be compared.

    Two contenders are compared row by row: the rows of equal prompt, split seed and seed. Where one of them has a
    single seed on a split (a router that has no use for seeds), that one stands beside every seed of the other.

    Args:
        runs: in any order; of equal settings and seeds, the first ones belong together, then the second ones.
        draws: of the paired bootstrap over groups of prompts.
        seed: of the draws.
        level: of the intervals; a difference can be told where its corrected p is at most 1 - level.

    Returns:
        Frames without a row, but with all their columns, where there is no run.
    """
    notes: list[str] = []
    contenders: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    for position, panel in enumerate(_panels(runs, notes), start=1):
        table, reward_model, members, unit = panel[0].panel
        facts = dict(zip(PANEL, (position, table, reward_model, len(members), unit), strict=True))
        ranked = sorted(_contenders(_coded(panel)), key=lambda contender: (-contender.gain, contender.name))
        found = _differences(ranked, {"draws": draws, "seed": seed, "level": level})
        gains = {row["first"]: row for row in found if row["second"] == SINGLE}
        contenders += [facts | _describe(contender, gains[contender.name]) for contender in ranked]
        pairs += [facts | row for row in found]
        needed = math.ceil(2 * len(found) / (1 - level))  # the smallest p of B draws is 2 / (B + 1)
        if draws + 1 < needed:
            notes.append(
                f"{table}, {reward_model}: with {draws:,} draws none of {len(found)} differences can be told, however "
                f"large it is; give bootstrap.draws={needed} or more"
            )
    return Pairs(pd.DataFrame(contenders, columns=CONTENDERS), pd.DataFrame(pairs, columns=PAIRS), notes, draws, level)


def _panels(runs: Sequence[TestedRun], notes: list[str]) -> list[list[TestedRun]]:
    """Runs that can be compared, together; equal names of two tables do not make them one."""
    panels: list[list[TestedRun]] = []
    for run in sorted(runs, key=lambda run: str(run.panel)):  # stable: within a panel as given
        rivals = [panel for panel in panels if panel[0].panel == run.panel]
        same = next((panel for panel in rivals if _agree(panel[0], run)), None)
        if same is not None:
            same.append(run)
            continue
        panels.append([run])
        if rivals:
            notes.append(
                f"{run.folder}: compared apart from {rivals[0][0].folder}: on the same prompts of {run.panel[0]} the "
                "observed rewards are others"
            )
    return panels


def _agree(first: TestedRun, second: TestedRun) -> bool:
    """Whether the same rewards were observed on the prompts that both have."""
    at = pd.Index(first.ids).get_indexer(pd.Index(second.ids))
    return np.allclose(first.observed[at[at >= 0]], second.observed[at >= 0], rtol=1e-9, atol=1e-12)


def _coded(panel: Sequence[TestedRun]) -> list[TestedRun]:
    """The runs with codes for prompts and groups that hold throughout the panel, sorted by prompt."""
    ids = pd.Index(np.concatenate([run.ids for run in panel])).drop_duplicates()
    named = pd.Series(np.concatenate([run.groups for run in panel]), np.concatenate([run.ids for run in panel]))
    codes, _ = pd.factorize(named[~named.index.duplicated()].reindex(ids))
    coded = []
    for run in panel:
        at = ids.get_indexer(pd.Index(run.ids))
        order = np.argsort(at)
        parts = {name: getattr(run, name)[order] for name in ("reward", "cost", "single")}
        coded.append(replace(run, ids=at[order], groups=codes[at[order]], **parts))
    return coded


def _contenders(panel: Sequence[TestedRun]) -> list[_Contender]:
    """Runs that differ in their seeds alone, together; the second of equal settings and seeds opens another one."""
    parted: dict[tuple[str, int], list[TestedRun]] = defaultdict(list)
    seen: Counter[tuple[str, int, int]] = Counter()
    for run in panel:
        settings = json.dumps([run.router, run.backbone, sorted(run.settings.items())])
        seeds = (settings, run.split_seed, run.seed)
        parted[settings, seen[seeds]].append(run)
        seen[seeds] += 1
    groups = list(parted.values())
    several = len({run.backbone for run in panel}) > 1
    heads = [f"{runs[0].router} {runs[0].backbone}" if several else runs[0].router for runs in groups]
    names: dict[int, str] = {}
    for head in set(heads):
        own = [i for i, other in enumerate(heads) if other == head]
        names |= dict(zip(own, _named(head, [groups[i] for i in own]), strict=True))
    return [_Contender(names[i], runs) for i, runs in enumerate(groups)]


def _named(head: str, groups: Sequence[list[TestedRun]]) -> list[str]:
    """Names of contenders with one router and backbone: what their settings differ in, then where they lie."""
    settings = [runs[0].settings for runs in groups]
    keys = sorted({key for one in settings for key in one if any(other.get(key) != one[key] for other in settings)})
    last = Counter(key.rsplit(".", 1)[-1] for key in keys)
    short = {key: key.rsplit(".", 1)[-1] if last[key.rsplit(".", 1)[-1]] == 1 else key for key in keys}
    names = [
        ", ".join([head, *(f"{short[key]}={shortened(one.get(key, 'unset').strip(chr(34)), 24)}" for key in keys)])
        for one in settings
    ]
    folders = [{run.folder.resolve().parent.name for run in runs} for runs in groups]
    for name in [name for name, times in Counter(names).items() if times > 1]:
        alike = [i for i, other in enumerate(names) if other == name]
        places = ["".join(folders[i]) if len(folders[i]) == 1 else "" for i in alike]
        apart = len(set(places)) == len(alike) and all(places)
        for k, i in enumerate(alike):
            names[i] = f"{name} ({places[k] if apart else k + 1})"
    return names


def _describe(contender: _Contender, gain: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the contenders' table: the interval over prompts, and beside it the spread over splits and seeds."""
    runs = contender.runs
    by_split: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        by_split[run.split_seed].append(float(run.gain.mean()))
    within = [np.array(gains) for gains in by_split.values() if len(gains) > 1]
    freedom = sum(len(gains) - 1 for gains in within)
    squares = sum(float(((gains - gains.mean()) ** 2).sum()) for gains in within)
    return {
        "contender": contender.name, "router": runs[0].router, "backbone": runs[0].backbone, "runs": len(runs),
        "splits": len(by_split), "seeds": len({run.seed for run in runs}), "prompts": gain["prompts"],
        "reward": np.concatenate([run.reward for run in runs]).mean(),
        "cost": np.concatenate([run.cost for run in runs]).mean(),
        "best_single": np.concatenate([run.single for run in runs]).mean(),
        "gain": gain["difference"], "gain_low": gain["low"], "gain_high": gain["high"],
        "sd_over_splits": _sd([float(np.mean(gains)) for gains in by_split.values()]),
        "sd_over_seeds": math.sqrt(squares / freedom) if freedom else math.nan,
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
            "verdict": _verdict(intervals[k].mean, adjusted[k], bootstrap["level"]),
            "mcnemar_p": p_mcnemar, "mcnemar_why_not": why_not,
        })  # fmt: skip
    return found


def _rows(first: _Contender, second: _Contender | None) -> _Rows:
    """The rows that two contenders share; for None the rows of the first beside the best single of its own runs."""
    ordered = sorted(first.runs, key=lambda run: (run.split_seed, run.seed))
    rivals = [] if second is None else sorted(second.runs, key=lambda run: (run.split_seed, run.seed))
    parts = [(run.reward, run.single, run.ids, run.groups) for run in ordered if second is None]
    for run in ordered:
        there = [rival for rival in rivals if rival.split_seed == run.split_seed]
        alone = len(there) == 1 or sum(other.split_seed == run.split_seed for other in ordered) == 1
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


def _verdict(difference: float, p: float, level: float) -> str:
    if not p <= 1 - level:  # NaN too
        return "cannot be told"
    return "better" if difference > 0 else "worse"


def _mcnemar(rows: _Rows) -> tuple[float, str | None]:
    """The exact p-value, or NaN and why there is none."""
    if not len(rows.groups):
        return math.nan, "no test prompt, split seed and seed in common"
    if not (np.isin(rows.first, (0, 1)).all() and np.isin(rows.second, (0, 1)).all()):
        return math.nan, "rewards are not all 0 or 1"
    if len(np.unique(rows.prompts)) < len(rows.prompts):
        return math.nan, "prompts occur several times: more than one split or seed"
    if len(np.unique(rows.groups)) < len(rows.groups):
        return math.nan, "groups of several prompts"
    return mcnemar(rows.first, rows.second), None
