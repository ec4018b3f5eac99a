"""The figures of one run, each redrawn from ``results.json`` and ``predictions.parquet`` alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from erp.report.curves import reward_cost
from erp.report.facts import Results
from erp.report.predicted import predicted_vs_observed
from erp.report.shares import route_shares
from erp.report.variance import variance_rows, variance_shares


def draw_figures(results: Results, predictions: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw every figure of a run that it has the numbers for.

    Args:
        results: the content of ``results.json``.
        predictions: the content of ``predictions.parquet``, one row per prompt and member.
        folder: where the PNG files go.

    Returns:
        The files, in the order of the report.
    """
    decided = results["routing"] is not None  # None: no test prompt has a reward of every member
    drawn = [reward_cost(results, folder / "reward_cost.png")] if decided else []
    if results["run"]["scale"] == "reward":
        drawn.append(predicted_vs_observed(results, predictions, folder / "predicted_vs_observed.png"))
    if decided:
        drawn.append(route_shares(results, folder / "route_shares.png"))
    if variance_rows(results):
        drawn.append(variance_shares(results, folder / "variance_shares.png"))
    return drawn
