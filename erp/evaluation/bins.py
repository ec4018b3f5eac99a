"""Predicted against observed reward, bin by bin: what a figure shows and ``results.json`` does not keep.

Report computes nothing, so that what it draws is counted here, by whoever makes a report; without torch.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from erp.findings import Bins, Floats
from erp.metrics.prediction import equal_bins
from erp.results import Content


def binned(results: Content, predictions: pd.DataFrame) -> dict[str, Bins]:
    """Every member's bins of test prompts; empty for scores that only order.

    Args:
        results: the content of ``results.json``.
        predictions: the content of ``predictions.parquet``.
    """
    if results["run"]["scale"] != "reward":
        return {}
    test = predictions[(predictions["split"] == "test") & predictions["observed"].notna()]
    return {
        name: _bins(*test.loc[test["model"] == name, ["predicted", "observed"]].to_numpy().T)
        for name in results["run"]["members"]
    }


def _bins(predicted: Floats, observed: Floats) -> Bins:
    """At most 10 bins, of about 30 prompts each."""
    bins = equal_bins(predicted, min(max(len(predicted) // 30, 2), 10))
    kept = [bins == code for code in np.unique(bins)]
    errors = [observed[k].std(ddof=1) / math.sqrt(k.sum()) if k.sum() > 1 else 0.0 for k in kept]
    means = ([values[k].mean() for k in kept] for values in (predicted, observed))
    return Bins(*map(np.array, (*means, errors)))
