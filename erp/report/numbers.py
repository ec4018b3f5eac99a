"""The numbers behind each figure of a run, as tables: what a reader of the page would else have to read off an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from erp.errors import one_line
from erp.findings import Bins
from erp.report.facts import (
    cost_scale,
    lambda_header,
    level_of,
    percent,
    policy_sign,
    predicted_members,
    routing_members,
)
from erp.report.text import significant
from erp.report.variance import PARTS, variance_rows
from erp.results import Results, numbers
from erp.results.base import Interval
from erp.results.curves import Curve, IntervalsAlong
from erp.results.policy import PolicyOutcome
from erp.results.routing import RoutedMember, Row

MOST_ROWS = 40  # of one curve


class NumberTable(NamedTuple):
    """One table of numbers; cells are plain text, escaped by whoever writes them into a page.

    Attributes:
        caption: what the numbers are, one line.
        header: (C,) a name for every column.
        rows: C cells each, the first of which names the row.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def figure_numbers(results: Results, bins: Mapping[str, Bins]) -> dict[str, list[NumberTable]]:
    """Tables of numbers by the stem of the figure's file; a figure without an entry has none.

    Args:
        results: the content of ``results.json``.
        bins: of the members' predictions.
    """
    tables: dict[str, list[NumberTable]] = {}
    if results.routing is not None:
        tables = {"reward_cost": [_marks(results), *_curves(results)], "route_shares": [_shares(results)]}
    if results.run.scale == "reward":
        tables["predicted_vs_observed"] = [_binned(results, bins)]
    if variance_rows(results):
        tables["variance_shares"] = [_variance(results)]
    return tables


def _marks(results: Results) -> NumberTable:
    """Everything that is one point: references, router and members at lambda = 0, and the run's policy."""
    routing, policy = results.decided.routing, results.decided.policy
    base, single = routing.best_single.reward, routing.best_single.member
    rows: list[tuple[str, Row | RoutedMember | PolicyOutcome, Interval]] = []
    names = {"oracle": "oracle", "router": one_line(results.run.router), "category_mean": "category mean",
             "best_single": f"best single ({one_line(single)})", "random": "random"}  # fmt: skip
    for key, name in names.items():
        # A router that is the category mean would stand here twice.
        if key in routing.rows and not (key == "category_mean" == results.run.router):
            rows.append((name, routing.rows[key], routing.rows[key].gain_vs_best_single))
    # Its interval is to the best single at its own lambda, which is another row.
    gain = Interval(mean=policy.reward - base, low=None, high=None)
    rows.insert(2, (f"the run's policy, {policy_sign(results)}", policy, gain))
    rows += [(one_line(m), row, row.gain_vs_best_single) for m, row in routing_members(results) if m != single]
    factor, _ = cost_scale(results)
    return NumberTable(
        f"Points, and gains in reward over best single with {level_of(results)} intervals; at λ = 0 except the policy",
        ["Row", "Reward", *_cost_column(results, "Cost"), "Gain", "from", "to"],
        [
            [name, significant(row.reward), *_cost_cell(results, row.cost * factor),
             *map(significant, (gain.mean, gain.low, gain.high))]
            for name, row, gain in rows
        ],
    )  # fmt: skip


def _curves(results: Results) -> list[NumberTable]:
    """A table per curve; the router's has the interval of its reward at every point. None without a cost axis."""
    if not results.cost.differ:
        return []
    router, count = one_line(results.run.router), len(results.decided.curves.router.cost)
    ends = f"the mean reward with its {level_of(results)} interval"
    tables = [_curve(results, f"Curve of {router}, {ends}", results.decided.interval, count)]
    for key, name in (("category_mean", "category mean"), ("oracle", "the oracle")):
        curve = results.decided.curves.named.get(key)
        if curve is not None and key != results.run.router:
            tables.append(_curve(results, f"Curve of {name}", curve, len(curve.cost)))
    return tables


def _curve(results: Results, caption: str, curve: Curve | IntervalsAlong, count: int) -> NumberTable:
    kept = _thinned(len(curve.cost))
    costs = numbers(curve.cost) * cost_scale(results)[0]
    ends = {"from": curve.low, "to": curve.high} if isinstance(curve, IntervalsAlong) else {}
    return NumberTable(
        f"{caption}{_how_many(len(kept), count)}",
        [lambda_header(results), *_cost_column(results, "Cost"), "Reward", *ends],
        [
            [_lambda(curve.lambda_[i]), significant(costs[i]), significant(curve.reward[i]),
             *(significant(end[i]) for end in ends.values())]
            for i in kept
        ],
    )  # fmt: skip


def _shares(results: Results) -> NumberTable:
    """Shares of the members that are chosen at all, the cheapest first; one column without a cost axis."""
    members, along = results.decided.routing.members, results.decided.shares
    if not results.cost.differ:
        chosen = [(one_line(name), row.share) for name, row in routing_members(results)]
        rows = [[name, percent(share, 1)] for name, share in sorted(chosen, key=lambda pair: -pair[1]) if share > 0]
        return NumberTable("Share of prompts sent to each member at λ = 0", ["Member", "Share"], rows)
    used = [name for name, shares in along.members.items() if numbers(shares).max() > 0]
    used.sort(key=lambda name: members[name].cost)
    kept = _thinned(len(along.cost))
    costs = numbers(along.cost) * cost_scale(results)[0]
    return NumberTable(
        "Share of prompts sent to each member that is ever chosen, along the router's curve"
        + _how_many(len(kept), len(results.decided.curves.router.cost)),
        [lambda_header(results), *_cost_column(results, "Cost"), *map(one_line, used)],
        [
            [_lambda(along.lambda_[i]), significant(costs[i]),
             *(percent(along.members[name][i], 1) for name in used)]
            for i in kept
        ],
    )  # fmt: skip


def _binned(results: Results, bins: Mapping[str, Bins]) -> NumberTable:
    """The same bins as in the figure, member by member."""
    drawn = [(name, bins[name]) for name in predicted_members(results)[0]]
    return NumberTable(
        "Test prompts of each member in bins of equal size",
        ["Member", "Mean predicted", "Mean observed", "Standard error"],
        [
            [one_line(name), *map(significant, values)]
            for name, b in drawn
            for values in zip(b.predicted, b.observed, b.error, strict=True)
        ],
    )


def _variance(results: Results) -> NumberTable:
    """The shares as they are: estimates below 0 are drawn as 0."""
    return NumberTable(
        "Shares of the variance of a sampled reward",
        ["Prompts", *(name for _, name, _ in PARTS)],
        [[one_line(name), *(percent(shares[key], 1) for key, *_ in PARTS)] for name, shares in variance_rows(results)],
    )


def _thinned(count: int) -> NDArray[np.intp]:
    """Positions of at most ``MOST_ROWS`` of ``count`` points, evenly spread, both ends kept."""
    spread = np.linspace(0, count - 1, min(count, MOST_ROWS)) if count else np.zeros(0)
    return np.unique(spread.round().astype(np.intp))


def _how_many(kept: int, count: int) -> str:
    return f" ({kept} of its {count:,} points)" if kept < count else ""


def _lambda(value: float | None) -> str:
    return "infinity" if value is None else f"{value:.4g}"


def _cost_column(results: Results, name: str) -> list[str]:
    return [f"{name} ({cost_scale(results)[1]})"] if results.cost.kind != "none" else []


def _cost_cell(results: Results, cost: float) -> list[str]:
    return [significant(cost)] if results.cost.kind != "none" else []
