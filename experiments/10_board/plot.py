"""Ranks, gains and time of every router: python plot.py ranks.csv speeds.csv figure.png..."""

from __future__ import annotations

import sys

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TOLD, OTHER = "#D55E00", "#0072B2"  # routers that are told the category, and those that are not
LEAST = -25  # percent: what is worse is written at the left edge


def main(ranks: str, speeds: str, *figures: str) -> None:
    """A line for each router, a panel each for rank, share of the headroom and fitting time; 95% intervals."""
    rows, times = pd.read_csv(ranks), pd.read_csv(speeds)
    fig, axes = plt.subplots(1, 3, figsize=(9.6, 1.4 + 0.2 * len(rows)), sharey=True, layout="constrained")
    for at, row in rows.iterrows():
        name = row["router"]
        colour = TOLD if name.endswith("_category") or name == "category_mean" else OTHER
        for axis, key, scale in ((axes[0], "rank", 1), (axes[1], "share", 100)):
            if key == "share" and scale * row[key] < LEAST:
                axis.text(LEAST, at, f"{scale * row[key]:.0f}", color=colour, fontsize=8, va="center")
                continue
            axis.hlines(at, scale * row[f"{key}_low"], scale * row[f"{key}_high"], color=colour, alpha=0.5, linewidth=3)
            axis.plot(scale * row[key], at, "o", color=colour, markersize=4)
        own = times[times["router"] == name]
        if len(own):
            ends = own["fit_seconds_low"].min(), own["fit_seconds_high"].max()
            axes[2].hlines(at, *ends, color=colour, alpha=0.5, linewidth=3)
            axes[2].plot(np.median(own["fit_seconds"]), at, "o", color=colour, markersize=4)
    best, apart = rows["rank"].min(), rows["critical_difference"].iloc[0]
    axes[0].axvspan(best, best + apart, color="black", alpha=0.07, linewidth=0)
    axes[0].set_xlabel("mean rank; shaded: not told from\nthe best by Nemenyi's test", fontsize=9)
    axes[1].axvline(0, color="black", linewidth=0.8)
    axes[1].set_xlim(left=LEAST)
    axes[1].set_xlabel("gain over the best single member,\n% of the oracle's, mean over tables", fontsize=9)
    axes[2].set_xscale("log")
    axes[2].set_xlabel("seconds to fit: median over tables,\nleast to most", fontsize=9)
    axes[0].set_yticks(range(len(rows)), [name.replace("_", " ") for name in rows["router"]], fontsize=8.5)
    axes[0].invert_yaxis()
    for axis in axes:
        axis.tick_params(axis="x", labelsize=8.5)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="black", alpha=0.08)
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=colour) for colour in (TOLD, OTHER)]
    fig.legend(
        marks, ["told the category", "not told"], loc="outside upper center", ncols=2, frameon=False, fontsize=9
    )  # fmt: skip
    for figure in figures:
        fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: python plot.py ranks.csv speeds.csv figure.png...")
    main(*sys.argv[1:])
