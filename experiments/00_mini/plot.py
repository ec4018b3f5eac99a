"""Gain of each router over the best single member, by reward model: python plot.py results.csv gains.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"ridge": "#0072B2", "category_mean": "#D55E00", "knn": "#009E73"}


def main(results: str, figure: str) -> None:
    """One panel a reward model (their units differ), one row a split and router, 95% intervals."""
    rows = pd.read_csv(results).sort_values(["router", "split_seed"])
    models = sorted(rows["reward_model"].unique())
    fig, axes = plt.subplots(1, len(models), figsize=(4.2 * len(models), 3.6), sharey=True, layout="constrained")
    for axis, model in zip(axes, models, strict=True):
        part = rows[rows["reward_model"] == model].reset_index(drop=True)
        for router, group in part.groupby("router"):
            axis.hlines(
                group.index, group["gain_low"], group["gain_high"], color=COLOURS[router], linewidth=3, alpha=0.5
            )
            axis.plot(group["gain"], group.index, "o", color=COLOURS[router], label=router.replace("_", " "))
        axis.axvline(0, color="black", linewidth=1)
        axis.set_title(model)
        axis.set_xlabel("gain in reward over the best single member")
        axis.set_yticks(part.index, [f"split {seed}" for seed in part["split_seed"]])
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    fig.savefig(figure, dpi=160)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv gains.png")
    main(*sys.argv[1:])
