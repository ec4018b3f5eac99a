"""The tables of a comparison that are read off ``results.json``: runs, members and curves, as data frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.evaluation.comparison.contenders import Runs
from erp.findings import PANEL, POOLED, Place
from erp.results import Content, look_up, number, numbers, value_of

Places = Mapping[Path, Place]
MEMBERS = [
    *PANEL, "contender", "router", "backbone", "member", "runs", "splits", "prompts", "r2", "r2_sd", "r2_ceiling",
    "r2_corrected", "r2_corrected_low", "r2_corrected_high", "pearson", "rmse", "share", "reward", "cost",
]  # fmt: skip
CURVES = [
    *PANEL, "contender", "router", "backbone", "run", "split_seed", "seed", "lambda", "cost", "reward", "gain",
]  # fmt: skip


def runs_table(runs: Runs, places: Places | None = None) -> pd.DataFrame:
    """One row per run: what it is, and what it gained at lambda = 0 on its test prompts.

    Args:
        runs: run folder and content of ``results.json``, for every run.
        places: gives two more columns, ``panel`` and ``contender``.

    Returns:
        Sorted by table, reward model and pool, then by gain over best single, the largest first. Missing values are
        NaN. ``table`` to ``lambda`` say what the run is; ``gain`` and ``gain_vs_category_mean`` have ``_low`` and
        ``_high`` beside them.

    Raises:
        KeyError: a run that does not say what it is.
    """
    rows = [_run_row(folder, results) for folder, results in runs]
    if places is not None:
        for row, (folder, _) in zip(rows, runs, strict=True):
            row |= {"panel": places[folder].facts["panel"], "contender": places[folder].contender}
    by, ascending = ["table", "reward_model", "members", "gain", "run"], [True, True, True, False, True]
    return pd.DataFrame(rows).sort_values(by, ascending=ascending, kind="stable", ignore_index=True)


def _run_row(folder: Path, results: Content) -> dict[str, Any]:
    run = results["run"]
    row = {
        "run": folder.name,
        "table": run["table"],
        "reward_model": run["reward_model"],
        "members": len(run["members"]),
        "backbone": run["backbone"],
        "router": run["router"],
        "split_seed": run["split_seed"],
        "seed": run["seed"],
        "lambda": math.inf if run["lambda"] is None else number(run["lambda"]),
        "test_prompts": look_up(results, "data", "test"),
        "reward": value_of(results, "routing", "router", "reward"),
        "cost": value_of(results, "routing", "router", "cost"),
        "cost_unit": look_up(results, "cost", "unit") or "none",
        "best_single": value_of(results, "routing", "best_single", "reward"),
    }
    row |= _interval("gain", look_up(results, "routing", "router", "gain_vs_best_single"))
    row |= _interval("gain_vs_category_mean", look_up(results, "routing", "gain_vs_category_mean"))
    return row | {
        "headroom_recovered": value_of(results, "routing", "router", "headroom_recovered"),
        "r2_pooled": value_of(results, "prediction", "r2_pooled"),
        "audc": value_of(results, "audc", "router"),
        "regret": value_of(results, "regret"),
    }


def members_table(runs: Runs, places: Places) -> pd.DataFrame:
    """One row per panel, contender and member (`MEMBERS`): how well it is predicted, how often chosen, what it is.

    Numbers are means over the contender's splits (of several seeds on a split, their mean first); ``r2_sd`` is the
    standard deviation of ``r2`` from split to split; ``r2_corrected`` is R^2 / ceiling with, at ``_low`` and
    ``_high``, the mean ends of its interval, which are those of one split. ``prompts`` is the number of test prompts
    of a run. The last row of a contender, ``pooled``, has the R^2 of all members together and, as reward and cost,
    the means over members: those of a random choice.

    Returns:
        In the order of the panels, then of the places, then of the pool. NaN where a run has no such number, as the
        ceiling at K = 1.
    """
    rows = [
        {**_about(folder, places), "router": results["run"]["router"], "backbone": results["run"]["backbone"],
         "split": places[folder].split, "run": str(folder), **row}
        for folder, results in runs for row in _member_rows(results)
    ]  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=MEMBERS)
    frame = pd.DataFrame(rows)
    keys = [*PANEL, "contender", "router", "backbone", "member"]
    measured = MEMBERS[MEMBERS.index("prompts") :]
    parted = frame.drop(columns="run").groupby([*keys, "split"], sort=False, dropna=False)
    by_split = parted.mean().reset_index().groupby(keys, sort=False, dropna=False)
    found = by_split[[name for name in measured if name != "r2_sd"]].mean()
    found["r2_sd"] = by_split["r2"].std(ddof=1)
    counts = frame.groupby(keys, sort=False, dropna=False)
    found["runs"], found["splits"] = counts["run"].nunique(), counts["split"].nunique()
    ordered = found.reset_index()
    # Contenders as the places have them; within one, the pool's order, which is that of its first run.
    ranks = {(place.facts["panel"], place.contender): rank for rank, place in enumerate(places.values())}
    ordered["rank"] = [ranks[key] for key in zip(ordered["panel"], ordered["contender"], strict=True)]
    return ordered.sort_values(["panel", "rank"], kind="stable", ignore_index=True)[MEMBERS]


def _about(folder: Path, places: Places) -> dict[str, Any]:
    return {**places[folder].facts, "contender": places[folder].contender}


def _member_rows(results: Content) -> list[dict[str, Any]]:
    prompts = value_of(results, "data", "test")
    rows = [
        {
            "member": member, "prompts": prompts,
            **{name: value_of(results, "prediction", "members", member, name)
               for name in ("r2", "r2_ceiling", "pearson", "rmse")},
            **_interval("r2_corrected", look_up(results, "prediction", "members", member, "r2_corrected")),
            **{name: value_of(results, "routing", "members", member, name) for name in ("share", "reward", "cost")},
        }
        for member in results["run"]["members"]
    ]  # fmt: skip
    pooled = {
        "member": POOLED, "prompts": prompts, "r2": value_of(results, "prediction", "r2_pooled"),
        "r2_ceiling": value_of(results, "prediction", "r2_pooled_ceiling"),
        **_interval("r2_corrected", look_up(results, "prediction", "r2_pooled_corrected")),
        **dict.fromkeys(("pearson", "rmse", "share"), math.nan),
        **{name: float(np.mean([row[name] for row in rows])) for name in ("reward", "cost")},
    }  # fmt: skip
    return [*rows, pooled]


def _interval(name: str, interval: Content | None) -> dict[str, float]:
    """The three columns of an interval; NaN where there is none."""
    ends = {name: "mean", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: value_of(interval or {}, key) for column, key in ends.items()}


def curves_table(runs: Runs, places: Places) -> pd.DataFrame:
    """One row per point of every run's curve (`CURVES`), lambda ascending; ``gain`` is over the run's best single."""
    frames = []
    for folder, results in runs:
        curve, run = look_up(results, "curves", "router"), results["run"]
        if curve is None:
            continue
        points = pd.DataFrame(
            {
                "lambda": [math.inf if value is None else value for value in curve["lambda"]],
                "cost": numbers(curve["cost"]),
                "reward": numbers(curve["reward"]),
            }
        )
        points["gain"] = points["reward"] - value_of(results, "routing", "best_single", "reward")
        about = {**_about(folder, places), **{name: run[name] for name in ("router", "backbone", "split_seed", "seed")}}
        frames.append(points.assign(**about, run=folder.name)[CURVES])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=CURVES)
