"""Regret against labels, and the difference to a ridge from scratch: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

METHODS = {
    "scratch": ("ridge from scratch", "#000000"),
    "shrunk": ("shrunk to the mean head", "#0072B2"),
    "low_rank": ("low rank", "#009E73"),
    "auto": ("auto", "#D55E00"),
    "uniroute_plain": ("UniRoute", "#CC79A7"),
}


def main(results: str, figure: str) -> None:
    """Left: mean regret of the pool. Right: less that of a ridge on the same labels, 95% intervals."""
    rows = pd.read_csv(results)
    rows = rows[rows["member"] == "all"]
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9), layout="constrained")
    for i, (method, (name, colour)) in enumerate(METHODS.items()):
        part = rows[(rows["method"] == method) & (rows["labels"] > 0)].sort_values("labels")
        left.plot(part["labels"], part["regret"], "o-", color=colour, label=name, markersize=4)
        if method != "scratch":
            at = part["labels"] * 1.05 ** (i - 2.5)  # beside one another
            ends = [part["less_scratch"] - part["less_scratch_low"], part["less_scratch_high"] - part["less_scratch"]]
            right.errorbar(at, part["less_scratch"], yerr=ends, fmt="o", color=colour, markersize=4)
    for method, name, style in (("without", "without the member", "--"), ("full", "all train labels", ":")):
        level = rows.loc[rows["method"] == method, "regret"].item()
        left.axhline(level, color="grey", linestyle=style, label=name)
    right.axhline(0, color="black", linewidth=1)
    left.set_ylabel("regret at lambda = 0")
    right.set_ylabel("regret less that of the ridge from scratch")
    for axis in (left, right):
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted(rows.loc[rows["labels"] > 0, "labels"].unique()))
        axis.xaxis.set_major_formatter("{x:.0f}")
        axis.set_xlabel("labels of the new member")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    fig.savefig(figure, dpi=160)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
