"""Which router is better, and can it be told: paired differences between contenders, at lambda = 0.

Contenders of a panel are compared on the test prompts they share, row by row, on the same draws of a bootstrap over
groups of prompts; p-values are corrected over all differences of the panel at once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, stdtrit

from erp.evaluation.comparison.contenders import KnownRun, TestedRun, panel_facts, part_contenders, part_panels
from erp.evaluation.comparison.side_by_side import Contender, adjusted, mcnemar_of, resampled, rows_of
from erp.findings import MOST_ALL_PAIRS, NOT_COMPARED, PANEL, SINGLE, UNTOLD, Pairs, Place

MOST_DRAWS = 1_000_000  # more are never advised
CONTENDERS = [
    *PANEL, "contender", "router", "backbone", "runs", "splits", "seeds", "prompts", "reward", "cost", "best_single",
    "gain", "gain_low", "gain_high", "sd_over_splits", "sd_over_seeds", "vs_best", "p_vs_best", "vs_single",
    "p_vs_single",
]  # fmt: skip
PAIRS = [
    *PANEL, "first", "second", "rows", "prompts", "groups", "difference", "low", "high", "p_value", "p_adjusted",
    "verdict", "mcnemar_p", "mcnemar_why_not",
]  # fmt: skip


def pair_up(runs: Sequence[KnownRun], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> Pairs:
    """Compare all runs that can be compared.

    Two contenders are compared row by row: the rows of equal prompt, split and seed. Where one of them has a
    single seed on a split (a router that has no use for seeds), that one stands beside every seed of the other.

    Args:
        runs: in any order; of equal settings, split and seed, the first ones belong together, then the second ones.
            Those that are not tested have a place, and no row.
        draws: of the paired bootstrap over groups of prompts.
        seed: of the draws.
        level: of the intervals; a difference is significant where its corrected p is at most 1 - level.

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
        tested = [Contender(name, [coded[id(run)] for run in own if id(run) in coded]) for name, own in named.items()]
        ranked = sorted((one for one in tested if one.runs), key=lambda one: (-one.gain, one.name))
        if not ranked:
            continue
        found = _differences(ranked, {"draws": draws, "seed": seed, "level": level})
        contenders += [facts | _describe(one, found, ranked[0].name) for one in ranked]
        pairs += [facts | row for row in found]
        notes += [f"{facts['table']}, {facts['reward_model']}: {line}" for line in _cannot_tell(found, draws, level)]
    frames = pd.DataFrame(contenders, columns=CONTENDERS), pd.DataFrame(pairs, columns=PAIRS)
    return Pairs(*frames, _ranked(places, contenders), notes, draws, level)


def _ranked(places: Mapping[Path, Place], contenders: Sequence[Mapping[str, Any]]) -> dict[Path, Place]:
    """The places panel by panel, in each the contenders in their order, then those that are not tested."""
    order = {(row["panel"], row["contender"]): rank for rank, row in enumerate(contenders)}

    def rank(item: tuple[Path, Place]) -> tuple[int, int]:
        panel = item[1].facts["panel"]
        return panel, order.get((panel, item[1].contender), len(order))

    return dict(sorted(places.items(), key=rank))


def _cannot_tell(found: Sequence[Mapping[str, Any]], draws: int, level: float) -> list[str]:
    """A line where no difference can be significant, however large: for want of draws, or else of groups.

    No p is below that of draws that all lie on one side of 0. It falls with their number, and the fewer the groups, the
    slower: what takes more than `MOST_DRAWS` to tell takes more prompts instead.
    """
    groups = max(row["groups"] for row in found)
    if groups < 2:
        return ["all test prompts are one group: no difference can be significant; test on more prompts"]
    needed = _draws_needed(groups, 1 - level)
    if draws + 1 >= needed:
        return []
    if needed <= MOST_DRAWS:
        none = f"with {draws:,} draws no difference can be significant, however large it is"
        return [f"{none}; give bootstrap.draws={math.ceil(needed)} or more"]
    return [
        f"with {groups} groups of test prompts no difference can be significant, however large it is; test on more "
        "prompts"
    ]


def _draws_needed(groups: int, alpha: float) -> float:
    """B + 1 of the fewest draws whose smallest p, as `erp.metrics.significance.bootstrap_p` has it, is alpha."""
    freedom = groups - 1
    tail = float(ndtr(math.sqrt(1 + 1 / freedom) * stdtrit(freedom, alpha / 2)))
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


def _describe(contender: Contender, found: Sequence[Mapping[str, Any]], best: str) -> dict[str, Any]:
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
        "p_vs_best": math.nan if to_best is None else to_best["p_adjusted"],
        "vs_single": gain["verdict"], "p_vs_single": gain["p_adjusted"],
    }  # fmt: skip


def _sd(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _differences(ranked: Sequence[Contender], bootstrap: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for every difference that is shown, all of the same rows on the same draws.

    The best was picked on these very rows. So p is corrected over the differences between all contenders, also where
    only those to the best are shown.
    """
    sides: list[tuple[Contender, Contender | None]] = list(combinations(ranked, 2))
    sides += [(contender, None) for contender in ranked]
    every = len(ranked) <= MOST_ALL_PAIRS
    shown = [k for k, (first, second) in enumerate(sides) if every or first is ranked[0] or second is None]
    rows = [rows_of(*sides[k]) for k in shown]
    intervals, p_values = resampled(rows, bootstrap)
    p_adjusted = np.fmax(adjusted(sides, bootstrap)[shown], p_values)  # never surer than alone
    found = []
    for k, at in enumerate(shown):
        first, second = sides[at]
        p_mcnemar, why_not = mcnemar_of(rows[k])
        found.append({
            "first": first.name, "second": SINGLE if second is None else second.name, "rows": len(rows[k].groups),
            "prompts": len(np.unique(rows[k].prompts)), "groups": len(np.unique(rows[k].groups)),
            "difference": intervals[k].mean, "low": intervals[k].low, "high": intervals[k].high,
            "p_value": p_values[k], "p_adjusted": p_adjusted[k],
            "verdict": _verdict(len(rows[k].groups), intervals[k].mean, p_adjusted[k], bootstrap["level"]),
            "mcnemar_p": p_mcnemar, "mcnemar_why_not": why_not,
        })  # fmt: skip
    return found


def _verdict(rows: int, difference: float, p: float, level: float) -> str:
    if not rows:
        return NOT_COMPARED
    if not p <= 1 - level:  # NaN too
        return UNTOLD
    return "better" if difference > 0 else "worse"
