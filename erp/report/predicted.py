"""Predicted against observed reward, one small panel per member."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from erp.findings import Bins
from erp.report.facts import predicted_members, short_names
from erp.report.style import BLUE, GREY, canvas, nice_ticks, title
from erp.results import Results, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NARROW = 15  # letters above a panel where three stand side by side


def predicted_vs_observed(results: Results, bins: Mapping[str, Bins], path: Path) -> Path:
    """One small panel per member: mean observed reward in bins of the predicted one, beside the line of equality."""
    shown, left_out = predicted_members(results)
    drawn = [bins[name] for name in shown]
    ends = [end for b in drawn for end in (b.predicted, b.observed - b.error, b.observed + b.error)]
    values = np.concatenate([np.zeros(0), *ends])
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.5
    wide = len(shown) <= 4 or max(map(len, short_names(results, 99).values())) > NARROW
    columns = min(len(shown), 2 if wide else 3)
    rows = math.ceil(len(shown) / columns)
    with canvas(path, 0.9 + rows * (2.4 if columns == 2 else 3.6 if columns == 1 else 1.9)) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(shown):
                axes.set_visible(False)
                continue
            _prediction_panel(axes, shown[index], results, drawn[index], NARROW if columns == 3 else 26)
            axes.tick_params(labelbottom=index + columns >= len(shown))
        grid[0, 0].set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        for locate in (grid[0, 0].xaxis, grid[0, 0].yaxis):
            locate.set_major_locator(nice_ticks(4 if columns == 3 else 6))
        note = [f"The {len(shown)} members chosen most; {len(left_out)} left out"] if left_out else []
        title(figure, "Observed against predicted reward, test prompts", *note)
        figure.supxlabel("Predicted (bins of equal size; dashed: equality)", fontsize=10)
        figure.supylabel("Mean observed ± standard error", fontsize=10)
    return path


def _prediction_panel(axes: Axes, name: str, results: Results, bins: Bins, length: int) -> None:
    r2 = number(results.prediction.members[name].r2)
    axes.axline((0, 0), slope=1, color=GREY, ls="--", lw=1, zorder=1)
    axes.errorbar(bins.predicted, bins.observed, bins.error, fmt="o", color=BLUE, ms=4, lw=1.2, zorder=3)
    value = "undefined" if math.isnan(r2) else f"{r2:.3f}".replace("-", "\N{MINUS SIGN}")
    axes.set_title(f"{short_names(results, length)[name]}\nR² {value}", loc="left", fontsize=9.5)
