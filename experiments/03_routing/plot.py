"""Gain over best single against cost, a panel for each reward model: python plot.py curves.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

COLOURS = {
    "ridge": "#0072B2", "category_mean": "#D55E00", "soft_category_mean": "#E69F00", "knn": "#009E73",
    "auto": "#CC79A7",
}  # fmt: skip
OTHERS = ("#56B4E9", "#444444", "#F0E442")
MOST_NAMED = 12  # members of a panel
BELOW = 0.6  # how far the axis goes down, of how far it goes up: at the cheap end all curves meet


def main(curves: str, figure: str) -> None:
    """Mean curves over the splits, the members as dots, the oracle dashed."""
    rows = pd.read_csv(curves)
    rows = rows[rows["panel"].isin(rows.loc[rows["kind"] == "router", "panel"])]
    if rows.empty:
        print("no figure: the members' costs are not known, or are all the same", file=sys.stderr)
        return
    routers = list(dict.fromkeys(rows.loc[rows["kind"] == "router", "name"]))
    spare = iter(OTHERS * len(routers))
    colours = {name: COLOURS.get(name) or next(spare) for name in routers}
    panels = list(rows.groupby("panel"))
    fig, axes = plt.subplots(
        len(panels), 1, figsize=(5.2, 3.3 * len(panels) + 0.7), layout="constrained", squeeze=False
    )
    for axis, (_, part) in zip(axes[:, 0], panels, strict=True):
        draw(axis, part, colours)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    fig.savefig(figure, dpi=150)


def draw(axis: Axes, part: pd.DataFrame, colours: dict[str, str]) -> None:
    """One reward model."""
    scale, unit = (1e-9, "billion FLOPs per prompt") if "FLOPs" in part["unit"].iloc[0] else (1.0, part["unit"].iloc[0])
    for name, colour in colours.items():
        curve = part[(part["kind"] == "router") & (part["name"] == name)]
        axis.plot(curve["cost"] * scale, curve["gain"], color=colour, linewidth=1.8, label=name.replace("_", " "))
        axis.plot(curve["cost"].iloc[-1:] * scale, curve["gain"].iloc[-1:], "o", color=colour, markersize=5)
    oracle = part[part["kind"] == "oracle"]
    axis.plot(oracle["cost"] * scale, oracle["gain"], "--", color="#767676", label="oracle (too high)")
    for _, level in part[part["kind"] == "level"].dropna(subset=["gain"]).iterrows():
        axis.axhline(level["gain"], color="#767676", linestyle=":", label="split-half oracle (too low)")
    top = max(oracle["gain"].max(), part.loc[part["kind"] == "router", "gain"].max()) * 1.1
    axis.axhline(0, color="black", linewidth=0.8)
    members = part[(part["kind"] == "member") & (part["gain"] > -BELOW * top)]
    axis.plot(members["cost"] * scale, members["gain"], "o", color="#767676", markersize=5)
    for _, member in members.iterrows() if len(members) <= MOST_NAMED else ():
        right = member["cost"] > 0.7 * members["cost"].max()
        above = member["gain"] < -0.75 * BELOW * top
        axis.annotate(
            member["name"], (member["cost"] * scale, member["gain"]), xytext=(-7 if right else 7, 2 if above else -5),
            textcoords="offset points", ha="right" if right else "left", va="bottom" if above else "top", fontsize=8.5,
            color="#555555",
        )  # fmt: skip
    best = part[part["kind"] == "best single"].iloc[0]
    axis.plot(best["cost"] * scale, 0, "o", color="black", markersize=8, label="best single (by train)")
    axis.set_ylim(-BELOW * top, top)
    axis.set_title(part["reward_model"].iloc[0], loc="left", fontsize=10)
    axis.set_xlabel(f"mean cost ({unit})", fontsize=9)
    axis.set_ylabel("gain over best single", fontsize=9)
    axis.tick_params(labelsize=9)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py curves.csv figure.png")
    main(*sys.argv[1:])
