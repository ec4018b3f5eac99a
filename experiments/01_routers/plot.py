"""Gain of every router over the best single member, by reward model: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TOLD, OTHER = "#D55E00", "#0072B2"  # routers that are told the category, and those that are not


def main(results: str, figure: str) -> None:
    """A panel for each reward model (their units differ), a line for each router, 95% intervals."""
    rows = pd.read_csv(results)
    models = list(dict.fromkeys(rows["reward_model"]))
    # By the mean of their places, so that one order serves all panels.
    places = rows.groupby("reward_model")["gain"].rank(ascending=False).groupby(rows["contender"]).mean()
    order = list(places.sort_values(kind="stable").index)
    fig, axes = plt.subplots(
        1, len(models), figsize=(2.2 + 1.8 * len(models), 1.2 + 0.2 * len(order)), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axis, model in zip(axes[0], models, strict=True):
        part = rows[rows["reward_model"] == model].set_index("contender")
        for at, name in enumerate(order):
            if name in part.index:
                told = name.endswith("_category") or name in ("category_mean", "category_mean, category=given")
                row, colour = part.loc[name], TOLD if told else OTHER
                axis.hlines(at, row["gain_low"], row["gain_high"], color=colour, alpha=0.5, linewidth=3)
                axis.plot(row["gain"], at, "o", color=colour, markersize=4)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(model, loc="left", fontsize=10)
        axis.tick_params(axis="x", labelsize=8.5)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks(range(len(order)), [name.replace("_", " ") for name in order], fontsize=8.5)
    axes[0, 0].invert_yaxis()
    fig.supxlabel("gain over the best single member", fontsize=9)
    marks = [plt.Line2D([], [], marker="o", linestyle="", color=colour) for colour in (TOLD, OTHER)]
    fig.legend(
        marks, ["told the category", "not told"], loc="outside upper center", ncols=2, frameon=False, fontsize=9
    )  # fmt: skip
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
