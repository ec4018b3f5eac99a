"""Which members the router sends prompts to, along its curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.report.facts import cost_scale, percent, routing_members, short_names
from erp.report.style import BLACK, BLUE, PALETTE, canvas, cost_axis, freeze, title
from erp.results import Results, number, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
Band = tuple[str, Floats, str]  # name, share at every point, colour
BANDS = 8  # members with a colour of their own


def route_shares(results: Results, path: Path) -> Path:
    """Stacked shares of prompts along the router's curve; without a cost axis, bars at lambda = 0."""
    costs = numbers(results.decided.shares.cost)
    if not results.cost.differ or not costs.max() > costs.min():
        return _share_bars(results, path)
    order = np.argsort(costs, kind="stable")
    factor, unit = cost_scale(results)
    costs, bands = costs[order] * factor, _bands(results, order)
    with canvas(path, 4.1) as figure:
        axes = figure.subplots()
        cost_axis(axes, float(costs[0]), float(costs[-1]), f"Mean cost of the router's choices ({unit})")
        axes.set(xlim=(costs[0], costs[-1]), ylim=(0, 1), ylabel="Share of prompts")
        axes.yaxis.set_major_formatter(lambda value, _: percent(value))
        title(figure, "Who is chosen along the router's curve")
        areas = axes.stackplot(costs, [s for _, s, _ in bands], colors=[c for *_, c in bands], ec="white", lw=0.5)
        # The legend's room must be settled before names are fitted, and which names it needs is known after.
        unnamed = _name_bands(figure, axes, costs, bands)
        if unnamed:
            figure.set_layout_engine("constrained")
            figure.legend(
                [areas[i] for i in unnamed], [bands[i][0] for i in unnamed],
                loc="outside lower center", ncols=2, handlelength=1.2,
            )  # fmt: skip
    return path


def _bands(results: Results, order: NDArray[np.intp]) -> list[Band]:
    """The members most chosen anywhere on the curve, the cheapest first, and all others as one band."""
    along = {name: numbers(values)[order] for name, values in results.decided.shares.members.items()}
    used = {name: values for name, values in along.items() if values.max() > 0}
    largest = sorted(used, key=lambda name: -used[name].max())[:BANDS]
    members = results.decided.routing.members
    cheap_first = sorted(largest, key=lambda name: number(members[name].cost))
    short = short_names(results, 22)
    bands = [(short[name], used[name], PALETTE[i]) for i, name in enumerate(cheap_first)]
    others = [values for name, values in used.items() if name not in largest]
    if others:
        bands.append((f"{len(others)} others", np.sum(others, axis=0), "#BBBBBB"))
    return bands


def _name_bands(figure: Figure, axes: Axes, costs: Floats, bands: list[Band]) -> list[int]:
    """Write each band's name inside it where it is thickest; returns the positions of those too thin for it."""
    freeze(figure)
    frame = axes.get_window_extent()
    grid = np.linspace(frame.x0, frame.x1, 240)
    at = axes.transData.transform(np.stack([costs, np.zeros_like(costs)], axis=1))[:, 0]
    heights = np.stack([np.interp(grid, at, share) for _, share, _ in bands]) * frame.height
    tops = np.cumsum(heights, axis=0) + frame.y0
    unnamed = []
    for index, (name, _, colour) in enumerate(bands):
        text = axes.text(0, 0, name, fontsize=9.5, color=_ink_on(colour), ha="center", va="center")
        extent = text.get_window_extent()
        half = int(np.ceil((extent.width / 2 + 6) / (grid[1] - grid[0])))
        best, place = 0.0, None
        for centre in range(half, len(grid) - half):
            window = slice(centre - half, centre + half + 1)
            upper, lower = tops[index, window].min(), (tops[index, window] - heights[index, window]).max()
            if upper - lower > max(best, extent.height + 2):
                best, place = upper - lower, (grid[centre], (upper + lower) / 2)
        if place is None:
            text.remove()
            unnamed.append(index)
        else:
            text.set_position(tuple(axes.transData.inverted().transform(place)))
    return unnamed


def _ink_on(colour: str) -> str:
    """Black or white, whichever can be read on a colour."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else "white"


def _share_bars(results: Results, path: Path) -> Path:
    """Shares at lambda = 0 as bars, the largest first."""
    short = short_names(results, 24)
    shares = [(short[name], number(row.share)) for name, row in routing_members(results)]
    shares = sorted((pair for pair in shares if pair[1] > 0), key=lambda pair: -pair[1])
    if len(shares) > BANDS:
        rest = shares[BANDS:]
        shares = [*shares[:BANDS], (f"{len(rest)} others", sum(share for _, share in rest))]
    with canvas(path, 0.9 + 0.33 * len(shares)) as figure:
        axes = figure.subplots()
        values = [share for _, share in shares]
        axes.barh(range(len(shares)), values, color=BLUE, height=0.7)
        for position, share in enumerate(values):
            axes.text(share, position, f" {percent(share, 1)}", va="center")
        axes.set_yticks(range(len(shares)), [name for name, _ in shares])
        axes.set(xlim=(0, 1.18 * max(values)), ylim=(len(shares) - 0.4, -0.6))
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.tick_params(length=0)
        title(figure, "Share of prompts the router sends to each member, λ = 0")
    return path
