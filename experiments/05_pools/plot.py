"""What pools earn by size, and what members are worth: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LINES = {"oracle": ("oracle", "#999999"), "routed": ("routed", "#D55E00"), "best_single": ("best single", "#000000")}
WORTH = {
    "shapley": ("adds to the reward, mean over pools", "#0072B2", 0.14),
    "shapley_of_gain": ("adds to the gain over best single", "#009E73", 0.0),
    "loss_without": ("is lost without it, of the whole pool", "#D55E00", -0.14),
}


def main(results: str, figure: str) -> None:
    """Left: mean reward of the pools of a size. Right: three answers to "what is it worth", with 95% intervals."""
    rows = pd.read_csv(results)
    sizes, members = rows[rows["of"] == "size"], rows[rows["of"] == "member"].sort_values("shapley")
    height = max(4.0, 2.2 + 0.35 * len(members))
    fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, height), width_ratios=(1, 1.3), layout="constrained")
    at = sizes["name"].astype(int)
    for name, (label, colour) in LINES.items():
        left.plot(at, sizes[name], "o-", color=colour, markersize=4)
        left.annotate(label, (at.iloc[-1], sizes[name].iloc[-1]), (0, -18 if name == "best_single" else 7),
                      textcoords="offset points", ha="right", color=colour)  # fmt: skip
    left.set_xlabel("members of the pool")
    left.set_ylabel("mean reward")
    for name, (label, colour, offset) in WORTH.items():
        ends = [members[name] - members[f"{name}_low"], members[f"{name}_high"] - members[name]]
        where = [position + offset for position in range(len(members))]
        right.errorbar(members[name], where, xerr=ends, fmt="o", color=colour, markersize=4, label=label)
    right.set_yticks(range(len(members)), members["name"])
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel("reward")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    fig.legend(*right.get_legend_handles_labels(), loc="outside lower center", frameon=False, fontsize=9)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
