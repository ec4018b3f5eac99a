"""Predicted costs of several sweeps: python predicted_costs.py <sweep.json>... predicted_costs.csv.

A row for every table, reward model, router and head: means over its splits, also of the intervals' ends.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from erp.files import read_json, read_yaml
from erp.runs import RunFolder

BY = ["table", "reward_model", "router", "head"]
GAINS = ("train_means", "true_costs")


def main(sweeps: list[str], out: str) -> None:
    """Write the table."""
    runs = [Path(run) for sweep in sweeps for run in read_json(Path(sweep))["runs"]]
    frame = pd.DataFrame(map(row, runs))
    means = frame.groupby(BY, sort=False).mean(numeric_only=True)
    means["splits"] = frame.groupby(BY, sort=False).size()
    means["chosen"] = frame.groupby(BY, sort=False)["chosen"].agg(
        lambda heads: " ".join(f"{head}:{count}" for head, count in sorted(Counter(heads).items()))
    )
    means.reset_index().round(5).to_csv(out, index=False)


def row(run: Path) -> dict[str, Any]:
    """What one run says."""
    folder = RunFolder(run)
    results, config = read_json(folder.results), read_yaml((run / "config.yaml").read_text())
    costs, told = results["predicted_costs"], results["run"]
    members = costs["members"].values()
    heads = Counter(member["head"] for member in members)
    return {
        "table": told["table"], "reward_model": told["reward_model"], "router": told["router"],
        "head": config["cost"]["head"] or "by validation", "chosen": heads.most_common(1)[0][0],
        **ends("r2", costs["r2"]),
        "r2_least": min((member["r2"]["mean"] for member in members if member["r2"]), default=None),
        **ends("calibration", costs["calibration"]),
        "cheapest_fifth": fifth(members, 0), "dearest_fifth": fifth(members, -1),
        "audc": results["audc"]["router"],
        **{key: value for name in GAINS for key, value in ends(name, (costs[name] or {}).get("gain")).items()},
    }  # fmt: skip


def ends(name: str, found: dict[str, float] | None) -> dict[str, float | None]:
    """An interval as three columns."""
    found = found or {}
    return {name: found.get("mean"), f"{name}_low": found.get("low"), f"{name}_high": found.get("high")}


def fifth(members: Any, at: int) -> float | None:
    """Mean over members of predicted over true cost in one fifth of the prompts."""
    known = [member["fifths"][at]["mean"] for member in members if member["fifths"] and member["fifths"][at]]
    return sum(known) / len(known) if known else None


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
