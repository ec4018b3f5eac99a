"""The figure of curves, one for each reward model: what contenders gain at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.errors import one_line, shortened
from erp.findings import CurvePanel, MeanCurve
from erp.report.curves import ALL_NAMED, y_limits
from erp.report.facts import shown_unit
from erp.report.numbers import NumberTable
from erp.report.style import (
    BLACK,
    GREY,
    Label,
    canvas,
    cost_axis,
    freeze,
    heading,
    nice_ticks,
    place_labels,
    signed,
    title,
)
from erp.report.text import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
MOST_PANELS = 24  # of one figure; what is left out is said in it
MOST_BANDS = 4  # curves of a panel with bands: more of them would hide each other
FROM_SHARE = 0.25  # of a curve's width: the axis fits what is dearer; at the cheap end all curves meet
ROWS = 21  # of the table of numbers


def draw_curves(panels: Sequence[CurvePanel], colours: Mapping[str, str], path: Path) -> Path:
    """A panel per table and pool of one reward model: mean curves of all contenders over its members.

    Args:
        panels: of one reward model, one at least.
        colours: by contender; those without one are drawn thin and grey, without a name.
        path: of the PNG.
    """
    drawn = panels[:MOST_PANELS]
    heights = [3.6 if len(panels) == 1 else 3.8] * len(drawn)
    with canvas(path, 0.6 + sum(heights)) as figure:
        grid = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
        pending = []
        for axes, panel in zip(grid, drawn, strict=True):
            facts, note = panel.facts, _off_axis(panel)
            about = f"{shortened(facts['table'], 44)}, {facts['members']} members" if len(panels) > 1 else ""
            if about or note:
                heading(axes, "\n".join(line for line in (about, note) if line))
            pending.append((axes, *_panel(axes, panel, colours)))
        title(figure, *_titles(panels, colours))
        freeze(figure)
        for axes, labels, lines, dots in pending:
            place_labels(figure, axes, labels, lines, dots)
    return path


def _titles(panels: Sequence[CurvePanel], colours: Mapping[str, str]) -> list[str]:
    names = {curve.name for panel in panels for curve in panel.curves}
    splits = max(panel.splits for panel in panels)
    notes = []
    if max(curve.runs for panel in panels for curve in panel.curves) > 1:
        notes.append(f"means over {splits} split{'s' if splits > 1 else ''}")
    if any(_banded(panel, colours) for panel in panels):
        notes.append("bands: from the lowest to the highest run")
    if grey := len([name for name in names if name not in colours]):
        notes.append(f"{grey} more contenders in grey")
    if len(panels) > MOST_PANELS:
        notes.append(f"{len(panels) - MOST_PANELS} more tables or pools are not drawn")
    first = f"{one_line(panels[0].facts['reward_model'])}: gain over best single at equal cost, on test prompts"
    return [first, *([said[:1].upper() + said[1:]] if (said := "; ".join(notes)) else [])]


def _banded(panel: CurvePanel, colours: Mapping[str, str]) -> list[MeanCurve]:
    named = [curve for curve in panel.curves if curve.name in colours]
    return [curve for curve in named if curve.runs > 1] if len(named) <= MOST_BANDS else []


def _limits(panel: CurvePanel) -> tuple[float, float]:
    """An axis on which the dearer part of every curve is to be read; what falls off it is said in words."""
    core = [np.zeros(1)]
    for curve in panel.curves:
        dear = curve.share >= curve.share[0] + FROM_SHARE * (curve.share[-1] - curve.share[0])
        core += [curve.gain[dear], curve.low[dear], curve.high[dear]]
    oracle = np.zeros(0) if panel.oracle is None else panel.oracle.gain[-1:]
    return y_limits(np.concatenate(core), oracle)


def _off_axis(panel: CurvePanel) -> str:
    """The oracle and the members that lie off the axis, in words."""
    low, high = _limits(panel)
    said = []
    if panel.oracle is not None and not low <= panel.oracle.gain[-1] <= high:
        said.append(f"oracle at λ = 0, {signed(panel.oracle.gain[-1], 2)}")
    outside = sorted(float(gain) for _, gain in panel.members.values() if not low <= gain <= high)
    if outside:
        members = "1 member" if len(outside) == 1 else f"{len(outside)} members"
        said.append(f"{members}, {signed(outside[-1], 2)}" + (f" to {signed(outside[0], 2)}" if outside[1:] else ""))
    return f"Off the axis: {'; '.join(said)}" if said else ""


def _member(name: str) -> str:
    return shortened(name.rsplit("/", 1)[-1], 20)


def _panel(axes: Axes, panel: CurvePanel, colours: Mapping[str, str]) -> tuple[list[Label], list[Floats], Floats]:
    """Draw one panel; returns its labels and what they have to keep off."""
    factor, unit = shown_unit(str(panel.facts["cost_unit"]))

    def points(share: Floats, gain: Floats) -> Floats:
        return np.stack([panel.costs(share) * factor, gain], axis=1)

    dots = np.array([points(*point[:, None])[0] for point in panel.members.values()])
    single = points(np.array([panel.single]), np.zeros(1))
    low, high = _limits(panel)
    axes.set_ylim(low, high)
    cost_axis(axes, panel.ends[0] * factor, panel.ends[1] * factor, f"Mean cost ({unit})")
    axes.set_ylabel("Gain over best single")
    axes.yaxis.set_major_locator(nice_ticks(6))
    axes.axhline(0, color=BLACK, lw=0.8, ls=":", zorder=1)
    axes.plot(*dots.T, "o", color=GREY, ms=4, mew=0, alpha=0.8, zorder=2)
    axes.plot(*single.T, "o", color=BLACK, ms=8, zorder=4)
    lines = [np.array([[end * factor, 0.0] for end in panel.ends])]
    labels: list[Label] = []
    for curve in panel.curves[::-1]:  # the best on top
        line, colour = points(curve.share, curve.gain), colours.get(curve.name)
        axes.plot(*line.T, color=colour or GREY, lw=2.0 if colour else 0.8, alpha=0.9 if colour else 0.4, zorder=3)
        if colour:
            axes.plot(*line[-1], "o", color=colour, ms=5, mec="white", mew=0.6, zorder=5)
            lines.append(line)
            dear = line[(line[:, 1] >= low) & (line[:, 0] >= line[:, 0].min() + 0.6 * np.ptp(line[:, 0]))]
            anchors = dear[::-6] if len(dear) else line[-1:]
            labels.insert(0, Label(shortened(curve.name, 30), anchors, colour, bold=True))
    labels.insert(0, Label("best single", single, bold=True))
    for curve in _banded(panel, colours):
        costs = panel.costs(curve.share) * factor
        axes.fill_between(costs, curve.low, curve.high, color=colours[curve.name], alpha=0.13, lw=0, zorder=1)
    if panel.oracle is not None:
        oracle = points(panel.oracle.share, panel.oracle.gain)
        axes.plot(*oracle.T, color=GREY, lw=1.2, ls="--", zorder=1)
        inside = oracle[(oracle[:, 1] <= high) & (oracle[:, 1] >= low)]
        if len(inside):
            labels.append(Label("oracle", inside[len(inside) // 2 :: 4], "#5A5A5A", optional=True))
            lines.append(inside)
    shown = [(name, dot) for name, dot in zip(panel.members, dots, strict=True) if low <= dot[1] <= high]
    if len(dots) <= ALL_NAMED:
        away = [pair for pair in shown if np.abs(pair[1] - single[0]).max() > 0]  # not the best single itself
        labels += [Label(_member(name), dot[None], "#5A5A5A", optional=True) for name, dot in away]
    return labels, lines, np.array([single[0], *(dot for _, dot in shown)])


def curve_numbers(panels: Sequence[CurvePanel], colours: Mapping[str, str]) -> list[NumberTable]:
    """The numbers behind the figure: gains of the named contenders at equal shares of the pool's cost range."""
    tables = []
    for panel in panels[:MOST_PANELS]:
        factor, unit = shown_unit(str(panel.facts["cost_unit"]))
        named = [curve for curve in panel.curves if curve.name in colours]
        shares = np.linspace(0, max((curve.share[-1] for curve in named), default=0.0), ROWS)
        columns = [curve.at(shares) for curve in named]
        tables.append(
            NumberTable(
                f"Mean gain over best single along the pool's cost range: {one_line(panel.facts['table'])}, "
                f"{panel.facts['members']} members. Beyond its dearest point a curve is held",
                [f"Cost ({unit})", *(one_line(curve.name) for curve in named)],
                [
                    [significant(cost), *(significant(column[i]) for column in columns)]
                    for i, cost in enumerate(panel.costs(shares) * factor)
                ],
            )
        )
    return tables
