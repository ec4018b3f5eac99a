"""When are two numbers one? What arithmetic leaves between equal numbers that came by different roads.

What rounding leaves grows with the numbers themselves: every bound here is a share of their size, so what ties at one
scale of rewards and costs ties at every other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELL = 32 * float(np.finfo(np.float64).eps)
"""Share of a number of one prompt: a few operations, a mean of some samples among them."""
MEAN = 1e-12
"""Share of a mean or a running sum over prompts."""


def size_of(*values: NDArray[np.floating] | float) -> float:
    """The largest absolute value: what the rounding of means of such numbers is a share of."""
    return max(float(np.abs(each).max(initial=0.0)) for each in values)


def difference(first: NDArray[np.floating], second: NDArray[np.floating], share: float = CELL) -> NDArray[np.float64]:
    """First - second, exactly 0 where the two are equal but for rounding. Shapes broadcast."""
    apart = np.asarray(first - second, dtype=np.float64)
    np.copyto(apart, 0.0, where=np.abs(apart) <= share * (np.abs(first) + np.abs(second)))
    return apart


def mean_difference(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Mean of the paired differences of two (N,), exactly 0 where they cancel but for rounding."""
    apart = difference(first, second)
    mean = float(apart.mean())
    return mean if abs(mean) > MEAN * float(np.abs(apart).mean()) else 0.0


def tied_for_most(
    values: NDArray[np.floating], errors: NDArray[np.floating], among: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Where a row's values may be its largest.

    Args:
        values: (N, M).
        errors: shapes that broadcast with it, 0 or more: what rounding may have done to each.
        among: (N, M), which of them compete, at least one in every row; None: all.

    Returns:
        (N, M), at least one in every row.
    """
    least, most = values - errors, values + errors
    if among is not None:
        least, most = np.where(among, least, -np.inf), np.where(among, most, -np.inf)
    tied = np.asarray(most >= least.max(axis=-1, keepdims=True))
    return tied if among is None else tied & among


def snapped(values: NDArray[np.floating], share: float = CELL, size: float | None = None) -> NDArray[np.float64]:
    """The values, with those that are equal but for rounding made equal: to the smallest of a run, along the last axis.

    Args:
        values: (..., P) finite; NaN stays NaN.
        share: what rounding is at most.
        size: of what it is a share; None: of each number itself.
    """
    order = np.argsort(values, axis=-1, kind="stable")
    ascending = np.take_along_axis(np.asarray(values, dtype=np.float64), order, axis=-1)
    sizes = np.abs(ascending) if size is None else np.full_like(ascending, size / 2)
    begins = np.ones(ascending.shape, dtype=bool)
    begins[..., 1:] = ~(np.diff(ascending, axis=-1) <= share * (sizes[..., 1:] + sizes[..., :-1]))
    begin = np.maximum.accumulate(np.where(begins, np.arange(values.shape[-1]), 0), axis=-1)
    result = np.empty_like(ascending)
    np.put_along_axis(result, order, np.take_along_axis(ascending, begin, axis=-1), axis=-1)
    return result


def all_equal(means: NDArray[np.floating]) -> bool:
    """Whether the means of all members (M,) are one but for rounding: then there is no range to measure on."""
    return float(np.ptp(means)) <= MEAN * size_of(means)
