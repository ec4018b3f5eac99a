"""The reward-cost curve of a run over its references, with everything that is needed to read it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.report.facts import cost_scale, level_of, policy_sign, routing_members, short_names
from erp.report.gains import gain_label, gain_rows, gain_strip
from erp.report.style import (
    BLACK,
    BLUE,
    COLOURS,
    GREY,
    PINK,
    Label,
    canvas,
    cost_axis,
    freeze,
    nice_ticks,
    place_labels,
    title,
)
from erp.report.summary import headline
from erp.results import Results, number, numbers
from erp.results.policy import PolicyOutcome
from erp.results.routing import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
ALL_NAMED = 12  # a pool up to this size has every member named in the curve's figure


def reward_cost(results: Results, path: Path) -> Path:
    """Curves over members and references, and below them the gains at lambda = 0 on a scale of their own.

    The second panel is there because the oracle and the cheapest member can lie so far off that, on a common axis,
    router and best single are one dot.
    """
    if not results.cost.differ:
        rows = gain_rows(results, members=5)
        with canvas(path, 1.2 + 0.3 * len(rows)) as figure:
            gain_strip(figure.subplots(), rows, gain_label(results))
        return path
    rows = [row for row in gain_rows(results, members=0) if row.name not in ("random", "best single")]
    with canvas(path, 5.3 + 0.27 * len(rows)) as figure:
        upper, lower = figure.subplots(2, 1, height_ratios=[4.2, 0.4 + 0.27 * len(rows)])
        gain_strip(lower, rows, gain_label(results))
        _curve_panel(figure, upper, results)
    return path


def curve_points(results: Results, name: str) -> Floats:
    """(P, 2) cost and reward along a curve, lambda ascending; empty where the run has no such curve."""
    curve = results.decided.curves.named.get(name)
    if curve is None:
        return np.zeros((0, 2))
    return np.stack([numbers(curve.cost), numbers(curve.reward)], axis=1)


def _curve_panel(figure: Figure, axes: Axes, results: Results) -> None:
    routing, run = results.decided.routing, results.run
    members = routing_members(results)
    factor, unit = cost_scale(results)
    scale = np.array([factor, 1.0])
    names = ["oracle", "router"] if run.router == "category_mean" else ["oracle", "category_mean", "router"]
    curves = {name: curve_points(results, name) * scale for name in names if name in results.decided.curves.named}
    dots = np.array([[number(row.cost), number(row.reward)] for _, row in members]) * scale
    marks = {name: _point(routing.rows[name]) * scale for name in ("random", "best_single")}
    policy = _point(results.decided.policy) * scale
    band = results.decided.interval

    core = [curves["router"], curves.get("category_mean", np.zeros((0, 2))), *(m[None] for m in marks.values())]
    rewards = np.concatenate([*(points[:, 1] for points in core), numbers(band.low), numbers(band.high)])
    low, high = y_limits(rewards, np.concatenate([curves["oracle"][:, 1], dots[:, 1]]))
    axes.set_ylim(low, high)
    everything = np.concatenate([dots, *curves.values()])[:, 0]
    cost_axis(axes, float(np.nanmin(everything)), float(np.nanmax(everything)), f"Mean cost ({unit})")
    axes.set_ylabel("Mean reward")
    axes.yaxis.set_major_locator(nice_ticks(6))

    order = np.argsort(numbers(band.cost), kind="stable")
    axes.fill_between(
        numbers(band.cost)[order] * factor, numbers(band.low)[order], numbers(band.high)[order],
        color=BLUE, alpha=0.18, lw=0, zorder=1,
    )  # fmt: skip
    for name, points in curves.items():
        main = name == "router"
        axes.plot(*points.T, color=COLOURS[name], lw=2.2 if main else 1.5, ls="-" if main else "--", zorder=3)
    axes.plot(*dots.T, "o", color=GREY, ms=5 if len(dots) <= ALL_NAMED else 3.5, alpha=0.85, zorder=4, mew=0)
    axes.plot(*marks["random"], "x", color=GREY, ms=8, mew=2, zorder=4)
    axes.plot(*marks["best_single"], "o", color=BLACK, ms=8, zorder=5)
    axes.plot(*policy, "D", color=PINK, mec="white", mew=0.8, ms=8, zorder=6)

    notes = _off_range(results, low, high)
    if len(members) > ALL_NAMED:
        notes.append(f"{len(members)} members; named: the best for their cost")
    shown = f"Reward against cost on test prompts; band and brackets: {level_of(results)} CI"
    title(figure, headline(results), shown, *notes)
    freeze(figure)
    labels = _labels(results, curves, dots, marks, policy)
    visible = [label for label in labels if len(label.anchors)]
    place_labels(figure, axes, visible, list(curves.values()), np.concatenate([dots, [*marks.values(), policy]]))


def _point(row: Row | PolicyOutcome) -> Floats:
    return np.array([row.cost, row.reward])


def y_limits(core: Floats, rest: Floats) -> tuple[float, float]:
    """An axis that shows all of ``core``, and of ``rest`` as much as leaves the core at least 45% of the height."""
    core, rest = core[np.isfinite(core)], rest[np.isfinite(rest)]
    low, high = float(core.min()), float(core.max())
    room = 1.2 * (high - low) or max(abs(high), 1.0) * 0.1
    inside = rest[(rest >= low - room / 2) & (rest <= high + room / 2)]
    bottom, top = min(low, *inside, low), max(high, *inside, high)
    margin = 0.07 * (top - bottom) or room / 2
    return bottom - margin, top + margin


def _off_range(results: Results, low: float, high: float) -> list[str]:
    """What lies outside the axis, in words, so that nothing is hidden by the choice of limits."""
    notes = []
    best = number(results.decided.routing.oracle.reward)
    if not low <= best <= high:
        notes.append(f"↑ off the axis: oracle at λ = 0, {best:.4g}")
    short = short_names(results, 22)
    outside = [(short[name], number(row.reward)) for name, row in routing_members(results)]
    outside = [(name, reward) for name, reward in outside if not low <= reward <= high]
    if outside:
        listed = ", ".join(f"{name} {reward:.4g}" for name, reward in outside[:2])
        more = f" and {len(outside) - 2} more members" if len(outside) > 2 else ""
        notes.append(f"↓ off the axis: {listed}{more}")
    return notes


def _labels(
    results: Results, curves: dict[str, Floats], dots: Floats, marks: dict[str, Floats], policy: Floats
) -> list[Label]:
    """Labels of the curve's figure, the most important first; those of members off the axis are left out later."""
    shown = policy_sign(results)
    single, short = results.decided.routing.best_single.member, short_names(results, 22)
    labels = [
        Label(results.run.router, along(curves["router"]), BLUE, bold=True),
        Label(f"best single\n{short.get(single, single)}", marks["best_single"][None], bold=True),
        Label(f"policy, {shown}", policy[None], "#A0447A"),
    ]
    if "category_mean" in curves:
        labels.append(Label("category mean", along(curves["category_mean"]), COLOURS["category_mean"]))
    labels.append(Label("oracle", along(curves["oracle"]), "#00775A"))
    labels.append(Label("random", marks["random"][None], "#5A5A5A"))
    members = routing_members(results)
    named = range(len(members)) if len(members) <= ALL_NAMED else frontier(dots)
    for index in named:
        if members[index][0] != single:
            labels.append(Label(short[members[index][0]], dots[[index]], "#5A5A5A", optional=len(members) > 6))
    return labels


def frontier(dots: Floats, limit: int = 6) -> list[int]:
    """Positions of points that no cheaper point outdoes, at most ``limit`` of them, both ends kept.

    Args:
        dots: (M, 2) cost and reward.
        limit: 2 or more.
    """
    best, found = -math.inf, []
    for index in np.lexsort((-dots[:, 1], dots[:, 0])):
        if dots[index, 1] > best:
            best = dots[index, 1]
            found.append(int(index))
    keep = np.unique(np.linspace(0, len(found) - 1, min(limit, len(found))).round().astype(int))
    return [found[position] for position in keep[::-1]]


def along(points: Floats, count: int = 24) -> Floats:
    """Points of a curve's dearer half that its name may stand at: at the cheap end all curves meet.

    Args:
        points: (P, 2) cost and reward.
        count: of the points at most.
    """
    middle = (points[:, 0].min() + points[:, 0].max()) / 2
    dear: Floats = points[points[:, 0] >= middle]
    kept: Floats = dear[np.linspace(0, len(dear) - 1, min(count, len(dear))).astype(int)]
    return kept
