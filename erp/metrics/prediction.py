"""How well scores predict rewards, member by member. Missing observations (NaN) are left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.rounding import snapped

ROUNDING = 16 * np.finfo(np.float64).eps
"""A range below this share of the largest value is rounding: means of equal samples differ in their last bits."""


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


def pearson(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of predictions and rewards of every member (M,): whether they move together, on any scale.

    NaN where a member has fewer than two observations, or all its predictions or all its rewards are equal.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Raises:
        ErpError: when the shapes differ.
    """
    return np.array([_correlation(*pair) for pair in _members(predicted, observed)], dtype=np.float64)


def spearman(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> NDArray[np.float64]:
    """`pearson` of ranks among the prompts observed (M,); tied values share their mean rank.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Raises:
        ErpError: when the shapes differ.
    """
    return np.array(
        [
            _correlation(_ranks(p), _ranks(o)) if _varies(p) and _varies(o) else np.nan
            for p, o in _members(predicted, observed)
        ]
    )


def calibration(
    predicted: NDArray[np.floating], observed: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Line of least squares of rewards on predictions: slope 1 and intercept 0 where predictions are calibrated.

    A slope below 1 says that predictions are spread too far, above 1 too little. Source: Cox, Biometrika 45 (1958).

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Returns:
        Slopes (M,) and intercepts (M,), in reward units; NaN where all predictions of a member are equal or it has
        fewer than two observations.

    Raises:
        ErpError: when the shapes differ.
    """
    lines = [_line(*pair) for pair in _members(predicted, observed)]
    slopes, intercepts = np.array(lines, dtype=np.float64).reshape(-1, 2).T
    return slopes, intercepts


def binned_error(
    predicted: NDArray[np.floating], observed: NDArray[np.floating], bins: int = 10
) -> NDArray[np.float64]:
    """Mean over prompts of |mean reward - mean prediction| in the prompt's bin, in reward units (M,).

    Bins are those of `equal_bins`, over the prompts observed. 0 is calibrated; noise alone keeps it above 0, the more
    so the fewer prompts a bin has. The expected calibration error of classifiers, for rewards (Naeini et al., AAAI
    2015).

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.
        bins: 1 or more.

    Returns:
        NaN where a member has no observation.

    Raises:
        ErpError: when the shapes differ, or on fewer than 1 bin.
    """
    found = []
    for p, o in _members(predicted, observed):
        off = np.bincount(equal_bins(p, bins), weights=o - p, minlength=1)
        found.append(np.abs(off).sum() / len(p) if len(p) else float("nan"))
    return np.array(found, dtype=np.float64)


def equal_bins(predicted: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    """Bin (n,), 0 to bins - 1, of every prediction: bins of equal size in the order of predictions.

    Equal predictions share a bin, so sizes differ where predictions tie, and a bin may be empty.

    Args:
        predicted: (n,) finite.
        bins: 1 or more.

    Raises:
        ErpError: on fewer than 1 bin.
    """
    if bins < 1:
        raise ErpError(f"bins = {bins}: no bin to put predictions in; 1 or more is allowed; 10 is usual")
    predicted = snapped(predicted)
    ranks = np.searchsorted(np.sort(predicted), predicted, side="left")  # of ties the lowest
    return np.asarray(ranks * bins // max(len(predicted), 1), dtype=np.int64)


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


def _members(
    predicted: NDArray[np.floating], observed: NDArray[np.floating]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Predictions and rewards (n,) of each member on the prompts it was observed on."""
    require_same_shape(predicted, observed)
    for p, o in zip(predicted.T, observed.T, strict=True):
        seen = ~np.isnan(o)
        yield p[seen].astype(np.float64), o[seen].astype(np.float64)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(snapped(values)).rank(), dtype=np.float64)  # scipy.stats is slow to import


def _varies(values: NDArray[np.float64]) -> bool:
    """Whether a spread is more than the rounding of a mean would leave."""
    return len(values) > 1 and bool(np.ptp(values) > ROUNDING * np.abs(values).max())


def _correlation(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    if not (_varies(x) and _varies(y)):
        return float("nan")
    x, y = (centred / np.linalg.norm(centred) for centred in (x - x.mean(), y - y.mean()))
    return float(np.clip(x @ y, -1.0, 1.0))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Slope and intercept of y on x."""
    if not _varies(x):
        return float("nan"), float("nan")
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    return slope, float(y.mean() - slope * x.mean())


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
    return (
        count,
        (error**2).sum(axis=0),
        np.where(high - low > ROUNDING * np.maximum(np.abs(high), np.abs(low)), (deviation**2).sum(axis=0), 0.0),
    )
