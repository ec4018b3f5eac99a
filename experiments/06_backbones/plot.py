"""R^2 and gain against the size of the embedding: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PANELS = {"r2": "$R^2$ of all members together", "gain": "gain over the best single member"}


def main(results: str, figure: str) -> None:
    """A panel for R^2 and one for the gain; a row for every backbone, small embeddings on top."""
    rows = pd.read_csv(results).sort_values(["dimension", "backbone"], ascending=False)
    sizes = rows[["backbone", "dimension"]].drop_duplicates()
    size = (7.2, 1.6 + 0.4 * len(sizes))
    fig, panels = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for panel, (name, title) in zip(panels, PANELS.items(), strict=True):
        for i, (model, colour) in enumerate(zip(sorted(rows["reward_model"].unique()), COLOURS, strict=False)):
            own = rows[rows["reward_model"] == model].set_index("backbone").loc[sizes["backbone"]]
            ends = [own[name] - own[f"{name}_low"], own[f"{name}_high"] - own[name]]
            at = [position - 0.15 * i for position in range(len(own))]
            panel.errorbar(own[name], at, xerr=ends, fmt="o", color=colour, markersize=5, label=model)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set_xlabel(title)
        panel.spines[["top", "right"]].set_visible(False)
    labels = [f"{name.replace('_', ' ')}, {numbers}" for name, numbers in sizes.itertuples(index=False)]
    panels[0].set_yticks(range(len(sizes)), labels)
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
