"""The figures of one run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from erp.findings import Bins
from erp.report.curves import reward_cost
from erp.report.predicted import predicted_vs_observed
from erp.report.shares import route_shares
from erp.report.variance import variance_rows, variance_shares
from erp.results import Results


def draw_figures(results: Results, bins: Mapping[str, Bins], folder: Path) -> list[Path]:
    """Draw every figure of a run that it has the numbers for.

    Args:
        results: the content of ``results.json``.
        bins: of the members' predictions.
        folder: where the PNG files go.

    Returns:
        The files, in the order of the report.
    """
    decided = results.routing is not None  # None: no test prompt has a reward of every member
    drawn = [reward_cost(results, folder / "reward_cost.png")] if decided else []
    if results.run.scale == "reward":
        drawn.append(predicted_vs_observed(results, bins, folder / "predicted_vs_observed.png"))
    if decided:
        drawn.append(route_shares(results, folder / "route_shares.png"))
    if variance_rows(results):
        drawn.append(variance_shares(results, folder / "variance_shares.png"))
    return drawn
