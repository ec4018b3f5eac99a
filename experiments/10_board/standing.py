"""How routers stand to one another over many tables: differences by Holm, ranks, critical differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from erp.metrics.significance import bootstrap_p

if TYPE_CHECKING:
    from results import Panel

REFERENCES = {"category_mean": "given", "category_mean, predicted": "predicted"}
SINGLE = "best single"
LEVEL = 0.95


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values: the k-th smallest of n times n - k + 1, at least that of any smaller one, at most 1.

    Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1)
    return adjusted


def critical_difference(routers: int, tables: int, level: float = LEVEL) -> float:
    """How far two mean ranks have to be apart to be told apart (Nemenyi's test; Demsar, JMLR 7, 2006)."""
    quantile = studentized_range.ppf(level, routers, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(routers * (routers + 1) / (6 * tables)))


def differences(panel: Panel) -> Iterator[dict[str, Any]]:
    """Of each router its gain less those of category mean, on the splits that both have; p by Holm over all routers."""
    found: dict[str, dict[str, Any]] = {name: {} for name in panel.routers}
    for reference, short in REFERENCES.items():
        others = panel.routers.get(reference, [])
        pairs = {name: paired(runs, others) for name, runs in panel.routers.items() if name != reference}
        for name, columns in against(panel, pairs, short).items():
            found[name] |= columns
    table, reward_model = panel.name
    for name, columns in found.items():
        yield {"table": table, "reward_model": reward_model, "router": name, **columns}


def against(panel: Panel, pairs: Mapping[str, list[Any]], short: str) -> dict[str, dict[str, Any]]:
    """Of each router its mean difference to another, with interval, ``less_<short>``, and p by Holm over those given.

    Args:
        panel: of the runs.
        pairs: what ``paired`` gives of each router; one with no run in common is left out.
        short: what the other is called.
    """
    pairs = {name: own for name, own in pairs.items() if own}
    if not pairs:
        return {}
    intervals, draws = panel.intervals(list(pairs.values())), panel.drawn(list(pairs.values()))[1:]
    corrected = holm([bootstrap_p(column, panel.bootstrap.resampled) for column in draws.T])
    keys = (f"less_{short}", f"less_{short}_low", f"less_{short}_high", f"p_{short}")
    return {
        name: dict(zip(keys, (interval.mean, interval.low, interval.high, p), strict=True))
        for name, interval, p in zip(pairs, intervals, corrected, strict=True)
    }


def paired(runs: Sequence[Any], others: Sequence[Any]) -> list[tuple[Any, np.ndarray]]:
    """The runs that have a like on the same split, with the differences in reward prompt by prompt."""
    by_split = {run.split: run for run in others}
    both = [(run, by_split[run.split]) for run in runs if run.split in by_split]
    assert all((run.ids == other.ids).all() for run, other in both)
    return [(run, run.reward - other.reward) for run, other in both]


def over_tables(panels: Sequence[Panel], headrooms: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """A row for each router: its mean rank, and the mean share of the headroom that it gains, over all panels.

    The interval of a mean rank is over prompts: ranks are made anew on every draw, on which noise is there twice, so
    that they lie nearer to the middle. Ranks are of the routers that every panel has. Tables are taken as they are.
    """
    drawn = [gains(panel) for panel in panels]
    sizes = [headrooms[panel.name] for panel in panels]
    shares = [{name: draw / size for name, draw in own.items()} for own, size in zip(drawn, sizes, strict=True)]
    names = list(dict.fromkeys(name for own in drawn for name in own))
    everywhere = [name for name in names if all(name in own for own in drawn)]
    placed = np.mean([rankdata(-np.array([own[name] for name in everywhere]), axis=0) for own in drawn], axis=0)
    ranks = dict(zip(everywhere, placed, strict=True))
    _, p_of_all = friedmanchisquare(*np.array([[own[name][0] for own in drawn] for name in everywhere]))
    frame = pd.DataFrame(
        {"router": name, "tables": sum(name in own for own in drawn)}
        | ends("rank", ranks.get(name))
        | ends("share", np.mean([own[name] for own in shares if name in own], axis=0))
        | beside(name, shares)
        for name in names
    )
    for short in REFERENCES.values():
        known = frame[f"p_{short}"].notna()
        frame.loc[known, f"p_{short}"] = holm(frame.loc[known, f"p_{short}"])
    frame["critical_difference"] = critical_difference(len(everywhere), len(panels))
    frame["p_friedman"] = p_of_all
    return frame.sort_values(["rank", "share"], ascending=[True, False], ignore_index=True)


def gains(panel: Panel) -> dict[str, np.ndarray]:
    """Of each router (B + 1,) gains over the best single member, its own too: the sample's, then those of the draws."""
    drawn = panel.drawn([[(run, run.reward - run.alone) for run in runs] for runs in panel.routers.values()])
    return dict(zip(panel.routers, drawn.T, strict=True)) | {SINGLE: np.zeros(len(drawn))}


def beside(name: str, shares: Sequence[Mapping[str, np.ndarray]]) -> dict[str, float]:
    """Mean share of the headroom less that of category mean, over the panels that both have; p not corrected."""
    found = {f"p_{short}": np.nan for short in REFERENCES.values()}
    for reference, short in REFERENCES.items():
        less = [own[name] - own[reference] for own in shares if name in own and reference in own]
        if less and name != reference:
            draws = np.mean(less, axis=0)
            found |= ends(f"less_{short}", draws) | {f"p_{short}": bootstrap_p(draws[1:], len(draws))}
    return found


def ends(name: str, draws: np.ndarray | None) -> dict[str, float]:
    """A number and the ends of its interval, as columns."""
    if draws is None:
        return {}
    low, high = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {name: draws[0], f"{name}_low": low, f"{name}_high": high}
