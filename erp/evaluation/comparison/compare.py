"""Everything that is known of some runs side by side, finished: what report makes its pages and figures of."""

from __future__ import annotations

from collections.abc import Sequence

from erp.evaluation.comparison.contenders import Runs
from erp.evaluation.comparison.mean_curves import curve_panels
from erp.evaluation.comparison.tables import curves_table, members_table, runs_table
from erp.findings import Comparison, Pairs


def compare_runs(content: Runs, pairs: Pairs, untested: Sequence[str] = (), skipped: Sequence[str] = ()) -> Comparison:
    """Everything, of runs whose pairs are made.

    Args:
        content: run folder and content of ``results.json``, for every run.
        pairs: contenders and differences, with a place for every run.
        untested: a line for every run that is not in the pairs.
        skipped: a line for every run that is left out.
    """
    places = pairs.places
    return Comparison(
        runs_table(content, places), members_table(content, places), pairs, curve_panels(content, places),
        curves_table(content, places), untested, skipped,
    )  # fmt: skip
