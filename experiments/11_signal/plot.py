"""What each backbone gains less category mean given the category: python plot.py table.csv figure.png..."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"ridge": "#0072B2", "block_ridge": "#56B4E9", "soft_category_mean": "#D55E00", "irt": "#009E73"}


def main(table: str, *figures: str) -> None:
    """A panel for every table and reward model, a line for every backbone; 95% intervals, paired."""
    rows = pd.read_csv(table).dropna(subset=["backbone"])
    backbones = list(dict.fromkeys(rows["backbone"]))
    panels = list(rows.groupby(["table", "reward_model"], sort=False))
    size = (2.0 + 2.1 * len(panels), 1.5 + 0.34 * len(backbones))
    fig, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for axis, ((name, reward_model), own) in zip(axes[0], panels, strict=True):
        for i, (router, colour) in enumerate(COLOURS.items()):
            of_it = own[own["name"] == router]
            at = [backbones.index(backbone) + 0.2 * (i - 1.5) for backbone in of_it["backbone"]]
            middle = of_it["less_given"]
            ends = [middle - of_it["less_given_low"], of_it["less_given_high"] - middle]
            axis.errorbar(middle, at, xerr=ends, fmt="o", color=colour, markersize=4, label=router)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"{name.removesuffix('.parquet')}\n{reward_model}", fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_yticks(range(len(backbones)), [name.replace("_", " ") for name in backbones])
    axes[0][0].invert_yaxis()
    fig.supxlabel("reward less category mean's, given the category", fontsize=9)
    fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    for figure in figures:
        fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python plot.py table.csv figure.png...")
    main(*sys.argv[1:])
