"""Gain over best single with a category seen in training and without: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIDES = {"gain_seen": ("task seen in training", "#0072B2", 0.12), "gain_unseen": ("task never seen", "#D55E00", -0.12)}


def main(results: str, figure: str) -> None:
    """A panel for every reward model; a row for every router, all categories together, with 95% intervals."""
    rows = pd.read_csv(results)
    rows = rows[rows["category"] == "all"]
    models, routers = list(rows["reward_model"].unique()), list(rows["router"].unique())[::-1]
    size = (1.6 + 2.8 * len(models), 3.4)
    fig, panels = plt.subplots(1, len(models), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel, model in zip(panels[0], models, strict=True):
        own = rows[rows["reward_model"] == model].set_index("router").loc[routers]
        for name, (label, colour, offset) in SIDES.items():
            ends = [own[name] - own[f"{name}_low"], own[f"{name}_high"] - own[name]]
            at = [position + offset for position in range(len(own))]
            panel.errorbar(own[name], at, xerr=ends, fmt="o", color=colour, markersize=5, label=label)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_xlabel("gain over the best single member")
        panel.set_title(model, fontsize=11, loc="left")
        panel.set_yticks(range(len(routers)), [router.replace("_", " ") for router in routers])
        panel.set_ylim(-0.5, len(routers) - 0.5)
        panel.spines[["top", "right"]].set_visible(False)
    fig.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
