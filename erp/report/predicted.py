"""Predicted against observed reward, one small panel per member."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from erp.metrics.prediction import equal_bins
from erp.report.facts import Results, number, predicted_members, short_names
from erp.report.style import BLUE, GREY, canvas, nice_ticks, title

Floats = NDArray[np.float64]
NARROW = 15  # letters above a panel where three stand side by side


def predicted_vs_observed(results: Results, predictions: pd.DataFrame, path: Path) -> Path:
    """One small panel per member: mean observed reward in bins of the predicted one, beside the line of equality."""
    shown, left_out = predicted_members(results)
    test = predictions[(predictions["split"] == "test") & predictions["observed"].notna()]
    binned = {
        name: binned_means(*test.loc[test["model"] == name, ["predicted", "observed"]].to_numpy().T) for name in shown
    }
    values = np.concatenate([np.zeros(0), *[np.concatenate([b[0], b[1] - b[2], b[1] + b[2]]) for b in binned.values()]])
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
            _prediction_panel(axes, shown[index], results, binned[shown[index]], NARROW if columns == 3 else 26)
            axes.tick_params(labelbottom=index + columns >= len(shown))
        grid[0, 0].set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        for locate in (grid[0, 0].xaxis, grid[0, 0].yaxis):
            locate.set_major_locator(nice_ticks(4 if columns == 3 else 6))
        note = [f"The {len(shown)} members chosen most; {len(left_out)} left out"] if left_out else []
        title(figure, "Observed against predicted reward, test prompts", *note)
        figure.supxlabel("Predicted (bins of equal size; dashed: equality)", fontsize=10)
        figure.supylabel("Mean observed ± standard error", fontsize=10)
    return path


def _prediction_panel(axes: Axes, name: str, results: Results, binned: tuple[Floats, ...], length: int) -> None:
    predicted, observed, error = binned
    r2 = number(results["prediction"]["members"][name]["r2"])
    axes.axline((0, 0), slope=1, color=GREY, ls="--", lw=1, zorder=1)
    axes.errorbar(predicted, observed, error, fmt="o", color=BLUE, ms=4, lw=1.2, zorder=3)
    value = "undefined" if math.isnan(r2) else f"{r2:.3f}".replace("-", "\N{MINUS SIGN}")
    axes.set_title(f"{short_names(results, length)[name]}\nR² {value}", loc="left", fontsize=9.5)


def binned_means(predicted: Floats, observed: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean predicted, mean observed and its standard error in bins of equal size; equal predictions share a bin.

    Args:
        predicted: (n,).
        observed: (n,), none missing.

    Returns:
        Three (B,) arrays, B at most 10 and about 30 prompts to a bin; the error of a single prompt is 0.
    """
    count = min(max(len(predicted) // 30, 2), 10)
    bins = equal_bins(predicted, count)
    kept = [bins == code for code in np.unique(bins)]
    errors = [observed[k].std(ddof=1) / math.sqrt(k.sum()) if k.sum() > 1 else 0.0 for k in kept]
    return (
        np.array([predicted[k].mean() for k in kept]),
        np.array([observed[k].mean() for k in kept]),
        np.array(errors),
    )
