"""Gains over the best single member, each with its interval, on one axis: who is better, and can it be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from erp.report.facts import decides_at_zero, level_of, policy_sign, routing_members, short_names
from erp.report.style import BLACK, COLOURS, GREY, PINK, nice_ticks, signed
from erp.results import Results, number
from erp.results.base import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class GainRow:
    """One line of the chart.

    Attributes:
        name: what gains.
        mean, low, high: its gain and the interval; NaN where unknown.
        colour: of its mark.
        core: whether the axis must show it; what is not core may lie off the axis, and is marked so.
    """

    name: str
    mean: float
    low: float
    high: float
    colour: str
    core: bool = False


def gain_row(name: str, gain: Interval, colour: str, core: bool = False) -> GainRow:
    """A row from an interval of ``results.json``."""
    return GainRow(name, number(gain.mean), number(gain.low), number(gain.high), colour, core)


def gain_rows(results: Results, members: int) -> list[GainRow]:
    """The rows of a run at lambda = 0, from the bottom of the ladder to its top, with its best few members."""
    routing, run = results.decided.routing, results.run
    single, short = routing.best_single.member, short_names(results, 22)
    rows = [gain_row("random", routing.random.gain_vs_best_single, COLOURS["random"])]
    best = [(name, row) for name, row in routing_members(results) if name != single][:members]
    rows += [gain_row(short[name], row.gain_vs_best_single, GREY) for name, row in best[::-1]]
    rows.append(GainRow("best single", 0.0, 0.0, 0.0, BLACK, core=True))
    if routing.category_mean is not None and run.router != "category_mean":
        gain = routing.category_mean.gain_vs_best_single
        rows.append(gain_row("category mean", gain, COLOURS["category_mean"], core=True))
    rows.append(gain_row(run.router, routing.router.gain_vs_best_single, COLOURS["router"], core=True))
    if not decides_at_zero(results):
        shown = policy_sign(results)
        earned = results.decided.policy.reward - routing.best_single.reward
        rows.append(GainRow(f"policy, {shown}", earned, math.nan, math.nan, PINK))  # its interval is to another row
    rows.append(gain_row("oracle", routing.oracle.gain_vs_best_single, COLOURS["oracle"]))
    return rows


def gain_label(results: Results) -> str:
    """What the axis of a run's gains is called: they are over its best single member."""
    single = results.decided.routing.best_single.member
    named = short_names(results, 28).get(single, single)
    return f"Gain in reward over best single\n({named})\nat λ = 0, with {level_of(results)} intervals"


def gain_strip(axes: Axes, rows: Sequence[GainRow], label: str) -> None:
    """Draw the rows, the first at the bottom; the axis fits the core rows, and the others while they leave room."""
    low, high = gain_limits(rows)
    axes.axvline(0, color=BLACK, lw=1, zorder=1)
    for position, row in enumerate(rows):
        if not low <= row.mean <= high:
            side = "<" if row.mean < low else ">"
            edge = low if row.mean < low else high
            axes.plot(edge, position, side, color=row.colour, ms=7, clip_on=False, zorder=3)
        else:
            ends = [max(row.low, low), min(row.high, high)]
            axes.plot(ends, [position, position], color=row.colour, lw=2.4, solid_capstyle="butt", zorder=2)
            axes.plot(row.mean, position, "o", color=row.colour, ms=7, mec="white", mew=0.6, zorder=3)
        axes.annotate(
            signed(row.mean, 3), (1, position), (10, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=9.5,
        )  # fmt: skip
    axes.set(xlim=(low, high), ylim=(-0.6, len(rows) - 0.4))
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.tick_params(axis="y", length=0, pad=9)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(nice_ticks(5))
    axes.set_xlabel(label)


def gain_limits(rows: Sequence[GainRow]) -> tuple[float, float]:
    """Limits that show zero, the core rows whole, and every other row that keeps the core at a third of the width."""
    core = [value for row in rows if row.core for value in (row.mean, row.low, row.high) if math.isfinite(value)]
    low, high = min([0.0, *core]), max([0.0, *core])
    means = [row.mean for row in rows if math.isfinite(row.mean)]
    if not high > low:  # nothing to fit to: all of it
        low, high = min([0.0, *means]), max([0.0, *means])
    room = 2 * (high - low)
    near = [value for row in rows for value in (row.mean, row.low, row.high) if low - room / 2 <= value <= high + room]
    bottom, top = min([low, *near]), max([high, *near])
    margin = 0.06 * (top - bottom) or 1.0
    return bottom - margin, top + margin
