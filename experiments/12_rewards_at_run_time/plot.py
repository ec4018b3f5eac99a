"""Reward against cost, of policies that look at rewards and of those that do not: plot.py curves.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "reservation": "#0072B2", "cascade_routing": "#009E73", "plain cascade": "#D55E00", "router": "#767676",
    "cascade": None,
}  # fmt: skip


def main(curves: str, figure: str) -> None:
    """A panel for each reward model."""
    rows = pd.read_csv(curves)
    panels = list(rows.groupby("reward_model", sort=False))
    fig, axes = plt.subplots(
        len(panels), 1, figsize=(5.2, 3.3 * len(panels) + 0.6), layout="constrained", squeeze=False
    )
    for axis, (model, part) in zip(axes[:, 0], panels, strict=True):
        for name, colour in COLOURS.items():
            curve = part[part["name"] == name].sort_values("cost")
            if colour is not None and len(curve):
                axis.plot(curve["cost"], curve["reward"], color=colour, linewidth=1.8, label=name.replace("_", " "))
        for name, marker in (("members", "o"), ("sample all", "*")):
            dots = part[part["name"] == name]
            axis.plot(dots["cost"], dots["reward"], marker, color="black", markersize=5, label=name)
        axis.set_xscale("log")
        axis.set_title(model, loc="left", fontsize=10)
        axis.set_xlabel(f"mean cost ({part['unit'].iloc[0]})", fontsize=9)
        axis.set_ylabel("mean reward", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py curves.csv figure.png")
    main(*sys.argv[1:])
