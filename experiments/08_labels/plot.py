"""R^2 and reward against the label budget: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#D55E00", "#E69F00", "#56B4E9", "#0072B2", "#009E73", "#CC79A7")


def main(results: str, figure: str) -> None:
    """A line for every number of samples: at one budget, the line of fewer samples has more prompts."""
    rows = pd.read_csv(results)
    cells = rows[rows["of"] == "cell"]
    fig, panels = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
    for panel, name, title in (
        (panels[0], "r2", "$R^2$ of rewards on test"),
        (panels[1], "reward", "reward of the router"),
    ):
        for k, colour in zip(sorted(cells["samples"].unique()), COLOURS, strict=False):
            line = cells[cells["samples"] == k].sort_values("labels")
            panel.plot(line["labels"], line[name], "o-", color=colour, markersize=4, label=f"K = {k:.0f}")
        panel.set_title(title, fontsize=11, loc="left")
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(cells["labels"].unique()))
        panel.set_xticklabels([f"{labels:,.0f}" for labels in sorted(cells["labels"].unique())], rotation=45)
        panel.minorticks_off()
        panel.set_xlabel("labels of a member, N x K")
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
