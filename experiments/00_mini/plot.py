"""Mean rewards of members and oracles, by reward model: python plot.py results.csv figure.png."""

from __future__ import annotations

import sys

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LEVELS = {  # quantity: name, colour
    "random": ("random", "#767676"),
    "category_oracle": ("best of each category, in hindsight", "#D55E00"),
    "split_half_oracle": (None, "#009E73"),
    "oracle": ("oracle: too low at the left edge, too high at the right", "#009E73"),
}


def main(results: str, figure: str) -> None:
    """One panel a reward model (their units differ): a dot for each member, a line for what needs none of them."""
    rows = pd.read_csv(results)
    models = list(dict.fromkeys(rows["reward_model"]))
    members = max(rows[rows["quantity"] == "mean"].groupby("reward_model").size())
    fig, axes = plt.subplots(
        len(models), 1, figsize=(5.2, (1.1 + 0.24 * members) * len(models) + 0.5), layout="constrained", squeeze=False
    )
    for axis, model in zip(axes[:, 0], models, strict=True):
        part = rows[rows["reward_model"] == model]
        means = part[part["quantity"] == "mean"].sort_values("value")
        axis.plot(means["value"], means["member"], "o", color="#222222")
        whole = part.drop_duplicates("quantity").set_index("quantity")["value"]
        low, high = whole.get("split_half_oracle"), whole["oracle"]
        for quantity, (name, colour) in LEVELS.items():
            if pd.notna(whole.get(quantity)):
                axis.axvline(whole[quantity], color=colour, label=name, linestyle="--" if "oracle" in quantity else ":")
        if pd.notna(low):
            axis.axvspan(low, high, color=LEVELS["oracle"][1], alpha=0.15)
        axis.set_title(model, loc="left", fontsize=10)
        axis.set_xlabel("mean reward")
        axis.tick_params(labelsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    fig.savefig(figure, dpi=150)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python plot.py results.csv figure.png")
    main(*sys.argv[1:])
