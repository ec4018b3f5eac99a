"""How well scores predict rewards, member by member. Missing observations (NaN) are left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError


def r2(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share of each member's reward variance that its predictions explain: 1 - SSE / SST.

    SST is about the member's own mean over the prompts observed here.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Returns:
        (M,) NaN where a member has fewer than two observations or all of them are equal.

    Raises:
        ErpError: when the shapes differ.
    """
    count, sse, sst = _sums_of_squares(predicted, observed)
    defined = (count >= 2) & (sst > 0)
    return np.where(defined, 1.0 - sse / np.where(defined, sst, 1.0), np.nan)


def r2_pooled(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> float:
    """R^2 over all members at once, each about its own mean: 1 - sum_m SSE_m / sum_m SST_m.

    Differences between the members' means are not counted as explained variance. Members with fewer than two
    observations are left out; a member whose rewards are all equal adds its errors and no variance.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Returns:
        NaN where no member's rewards vary.

    Raises:
        ErpError: when the shapes differ.
    """
    count, sse, sst = _sums_of_squares(predicted, observed)
    used = count >= 2
    total = sst[used].sum()
    return float(1.0 - sse[used].sum() / total) if total > 0 else float("nan")


def rmse(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> NDArray[np.float64]:
    """Root mean squared error of every member (M,), in reward units; NaN where a member has no observation.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Raises:
        ErpError: when the shapes differ.
    """
    count, sse, _ = _sums_of_squares(predicted, observed)
    return np.sqrt(np.where(count > 0, sse / np.maximum(count, 1), np.nan))


def require_same_shape(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> None:
    """Refuse predictions that do not stand cell by cell beside the observations.

    Raises:
        ErpError: when the shapes are not one and the same (N, M).
    """
    if predicted.ndim != 2 or predicted.shape != observed.shape:
        raise ErpError(
            f"predicted = array of shape {predicted.shape}: does not fit observed of shape {observed.shape}; one shape "
            "(prompts, members) is allowed; take the same prompts and members for both"
        )


def _sums_of_squares(
    predicted: NDArray[np.floating], observed: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Per member (M,): number of observations, squared errors, squared deviations from the member's own mean."""
    require_same_shape(predicted, observed)
    # One memory layout, one order of summation: the same numbers give the same bits wherever they come from.
    predicted, observed = np.ascontiguousarray(predicted), np.ascontiguousarray(observed)
    seen = ~np.isnan(observed)
    count = seen.sum(axis=0)
    target = np.where(seen, observed, 0.0).astype(np.float64)
    error = np.where(seen, target - predicted, 0.0)
    mean = target.sum(axis=0) / np.maximum(count, 1)
    deviation = np.where(seen, target - mean, 0.0)
    # Rounding of the mean would leave 1e-34 of "variance" in a constant column.
    low = np.where(seen, target, np.inf).min(axis=0, initial=np.inf)
    high = np.where(seen, target, -np.inf).max(axis=0, initial=-np.inf)
    return count, (error**2).sum(axis=0), np.where(high > low, (deviation**2).sum(axis=0), 0.0)
