"""How well rewards are predicted: python plot.py results.csv figure.png runs/sweeps/predictability.json.

Above, R^2 of every member with its ceiling. Below, predicted against observed on held-out prompts of the first split.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from erp.files import read_json
from erp.runs import RunFolder

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676")
BINS = 10  # of equal size, of predictions: their means say whether predictions are calibrated


def main(results: str, figure: str, sweep: str) -> None:
    """Draw both; a colour for each reward model."""
    rows = pd.read_csv(results)
    models = list(dict.fromkeys(rows["reward_model"]))
    members = list(dict.fromkeys(rows["member"]))
    below = -(-len(models) // 2)  # rows of two panels
    top = 1.3 + 0.3 * len(members)
    fig = plt.figure(figsize=(5.2, top + 2.6 * below), layout="constrained")
    grid = fig.add_gridspec(1 + below, 2, height_ratios=[top, *[2.6] * below])
    explained(fig.add_subplot(grid[0, :]), rows, models, members)
    for i, (model, run) in enumerate(first_runs(sweep, models).items()):
        against(fig.add_subplot(grid[1 + i // 2, i % 2]), run, model, COLOURS[i % len(COLOURS)], i)
    fig.savefig(figure, dpi=150)


def explained(axis: Axes, rows: pd.DataFrame, models: list[str], members: list[str]) -> None:
    """R^2, its interval (that of R^2 / ceiling, times the ceiling) and the ceiling of every member."""
    for i, model in enumerate(models):
        part = rows[rows["reward_model"] == model].set_index("member").reindex(members)
        at = np.arange(len(members)) + 0.3 * (i - (len(models) - 1) / 2) / max(len(models) / 2, 1)
        colour, ceiling = COLOURS[i % len(COLOURS)], part["r2_ceiling"]
        ends = (part["r2_corrected_low"] * ceiling, part["r2_corrected_high"] * ceiling)
        axis.hlines(at, *ends, color=colour, alpha=0.5, linewidth=3)
        axis.plot(part["r2"], at, "o", color=colour, label=model)
        axis.plot(ceiling, at, "|", color=colour, markersize=10, markeredgewidth=2)
    axis.plot([], [], "|", color="#767676", markersize=10, markeredgewidth=2, label="ceiling")
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(members)), members, fontsize=9)
    axis.invert_yaxis()
    axis.set_xlabel("R² on held-out prompts")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.3, 1.0), ncols=4, frameon=False, fontsize=9)


def first_runs(sweep: str, models: list[str]) -> dict[str, RunFolder]:
    """The run of each reward model on its smallest split seed."""
    found: dict[str, tuple[int, RunFolder]] = {}
    for path in read_json(Path(sweep))["runs"]:
        folder = RunFolder(Path(path))
        run = read_json(folder.results)["run"]
        model, seed = run["reward_model"], run["split_seed"]
        if model in models and (model not in found or seed < found[model][0]):
            found[model] = seed, folder
    return {model: found[model][1] for model in models}


def against(axis: Axes, run: RunFolder, model: str, colour: str, place: int) -> None:
    """Every held-out cell of one run, and means of bins of predictions."""
    frame = pd.read_parquet(run.predictions).query("split == 'test'").dropna(subset=["observed"])
    axis.plot(frame["predicted"], frame["observed"], ".", color=colour, markersize=3, alpha=0.25, markeredgewidth=0)
    bins = frame.groupby(pd.qcut(frame["predicted"], BINS, duplicates="drop"), observed=True)
    means = bins[["predicted", "observed"]].mean()
    ends = [frame[["predicted", "observed"]].min().max(), frame[["predicted", "observed"]].max().min()]
    axis.plot(ends, ends, color="black", linewidth=0.8)
    axis.plot(means["predicted"], means["observed"], "o", color=colour, markeredgecolor="white")
    axis.set_title(model, loc="left", fontsize=10)
    axis.set_xlabel("predicted", fontsize=9)
    if place % 2 == 0:
        axis.set_ylabel("observed mean reward", fontsize=9)
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python plot.py results.csv figure.png <sweep.json>")
    main(*sys.argv[1:])
