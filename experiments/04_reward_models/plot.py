"""Gain over the best single member, by what was learnt from and what scores: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#767676")
NAMES = {"best single": "best single by", "observed": "favourites by", "random": "random"}


def main(results: str, figure: str) -> None:
    """A panel for each reward model that scores, a colour for each that is learnt from; 95% intervals."""
    rows = pd.read_csv(results)
    models = list(dict.fromkeys(rows["learnt_from"]))
    routers = [name for name in dict.fromkeys(rows["router"]) if name not in NAMES]
    lines = [(name, model) for name in (*routers, "best single", "observed") for model in models]
    lines.append(("random", models[0]))
    labels = [
        name if name == "random" else f"{NAMES.get(name, name.replace('_', ' ') + ' by')} {model}"
        for name, model in lines
    ]
    scorers = list(dict.fromkeys(rows["scored_by"]))
    height = 0.9 + 0.25 * len(lines)
    fig, axes = plt.subplots(len(scorers), 1, figsize=(5.2, height * len(scorers)), layout="constrained", squeeze=False)
    for axis, scorer in zip(axes[:, 0], scorers, strict=True):
        part = rows[rows["scored_by"] == scorer].set_index(["router", "learnt_from"])
        for at, (name, model) in enumerate(lines):
            colour = "#222222" if name == "random" else COLOURS[models.index(model) % len(COLOURS)]
            row = part.loc[name, model]
            axis.hlines(at, row["gain_low"], row["gain_high"], color=colour, alpha=0.5, linewidth=3)
            axis.plot(row["gain"], at, "o", color=colour, markersize=5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_yticks(range(len(lines)), labels, fontsize=8.5)
        axis.invert_yaxis()
        axis.set_title(f"scored by {scorer}", loc="left", fontsize=10)
        axis.set_xlabel(f"gain over the best single member by {scorer}", fontsize=9)
        axis.tick_params(axis="x", labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
