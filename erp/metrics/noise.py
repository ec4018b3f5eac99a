"""What sampling noise leaves of R^2, and R^2 without it, for members and for the differences between them.

Notation: ybar_im is the mean of K_im samples, s_im^2 their unbiased variance, V a variance over prompts (ddof = 1). The
noise of a mean is s_im^2 / K_im, with the pooled variance for a cell of one sample (`erp.targets.noise_of_means`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.prediction import require_same_shape
from erp.targets import Targets, noise_of_means

_AT_ONCE = 64
"""Columns resampled together: bounds memory, and one pass over the draws serves them all."""
_ROUNDING = 16 * np.finfo(np.float64).eps
"""A spread below this share of the largest value is rounding, not variance."""


def reliability_of_differences(targets: Targets, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Reliability of the difference D = ybar_A - ybar_B of every two members (M, M), symmetric.

    rho_D = 1 - mean_i(s_iA^2 / K_iA + s_iB^2 / K_iB) / Var(D), over the prompts that both have: the R^2 on differences
    that a perfect predictor reaches. Much lower than `erp.targets.reliability`, since what a prompt does to all members
    cancels; routing lives on differences. Not clipped: it can come out below 0.

    Source: the reliability of a difference score of classical test theory, errors uncorrelated (Lord & Novick 1968).

    Args:
        targets: Estimates per cell.
        rows: Prompts to compute it over; None = all.

    Returns:
        NaN on the diagonal, where either member has no cell of two samples (K = 1), where fewer than two prompts have
        both, and where all differences are equal.
    """
    columns = _columns(targets, rows)
    members = columns.values.shape[1]
    rho = np.full((members, members), np.nan)
    for a in range(members - 1):
        squares, left = _attainable(columns.against(a))
        above, below = left.sum(axis=0), squares.sum(axis=0)
        rho[a, a + 1 :] = rho[a + 1 :, a] = np.where(
            np.isfinite(above), above / np.where(below > 0, below, 1.0), np.nan
        )
    return rho


@dataclass(frozen=True)
class Corrected:
    """Noise-corrected R^2; None where it has no meaning.

    Attributes:
        each: Per member, or per pair of members in the order (0, 1), (0, 2), ..., (1, 2), ...
        pooled: Of all together, sums above and below the stroke; None where one whose rewards vary has no reliability.
    """

    each: list[Interval | None]
    pooled: Interval | None


def corrected_r2(
    predicted: NDArray[np.floating], targets: Targets, bootstrap: GroupBootstrap, rows: NDArray[np.int64] | None = None
) -> Corrected:
    """R^2 of every member as it would be against the expected rewards themselves: R^2_obs / rho, never clipped.

    With e = ybar - predicted and sums over the member's n prompts it is
    sum((ybar - mean)^2 - e^2) / sum((ybar - mean)^2 - (n - 1) / n * noise): numerator and denominator are resampled
    together, about the mean of all prompts. Above 1 it is noise, or the predictions have seen the labels they are
    scored on. Print it beside the raw value.

    Source: attenuation by unreliability (Spearman 1904), for R^2 against a noisy target: divided by rho, not its root.

    Args:
        predicted: (n, M) finite, in units of the reward.
        targets: Estimates per cell.
        bootstrap: Over the groups of these n prompts.
        rows: The prompts that are predicted (n,); None = all.

    Returns:
        None for a member unless the interval of its reliable variance lies above 0: R^2 over what may be nothing has no
        meaning. So too where no cell has two samples (K = 1) or all prompts are one group.

    Raises:
        ErpError: When shapes differ, or a prediction that counts is not finite.
    """
    columns = _columns(targets, rows)
    require_same_shape(predicted, columns.values)
    return _corrected(predicted, columns, bootstrap)


def corrected_r2_of_differences(
    predicted: NDArray[np.floating], targets: Targets, bootstrap: GroupBootstrap, rows: NDArray[np.int64] | None = None
) -> Corrected:
    """`corrected_r2` for the differences between every two members: R^2_obs on differences / rho_D.

    Pooled, it is the share that the predictions explain of what tells members apart, all pairs together.
    """
    columns = _columns(targets, rows)
    require_same_shape(predicted, columns.values)
    first = range(columns.values.shape[1] - 1)
    if not first:
        return Corrected([], None)
    pairs = [columns.against(a) for a in first]
    values, noise = (np.concatenate(x, axis=1) for x in ([p.values for p in pairs], [p.noise for p in pairs]))
    guesses = np.concatenate([predicted[:, [a]] - predicted[:, a + 1 :] for a in first], axis=1)
    return _corrected(guesses, _Columns(values, noise, columns.scale), bootstrap)


def pooled_reliability(
    targets: Targets, rows: NDArray[np.int64] | None = None, *, of_differences: bool = False
) -> float:
    """Reliability of all members together, or of all differences: the ceiling of a pooled R^2.

    1 - sum of noise / sum of variance. NaN unless every member (or pair) whose rewards vary has a reliability: it would
    be the ceiling of something else than the R^2 of all.

    Args:
        targets: Estimates per cell.
        rows: Prompts to compute it over; None = all.
        of_differences: Of the differences between every two members, rather than of the members.
    """
    columns = _columns(targets, rows)
    sets = [columns.against(a) for a in range(columns.values.shape[1] - 1)] if of_differences else [columns]
    variance, reliable = 0.0, 0.0
    for one in sets:
        squares, left = (x.sum(axis=0) for x in _attainable(one))
        varies = _varies(one, squares)
        variance, reliable = variance + squares[varies].sum(), reliable + left[varies].sum()
    return float(reliable / variance) if variance > 0 and np.isfinite(reliable) else float("nan")


def _corrected(predicted: NDArray[np.floating], columns: _Columns, bootstrap: GroupBootstrap) -> Corrected:
    """For columns (n, D) of predictions."""
    squares, attainable = _attainable(columns)
    known = np.flatnonzero(np.isfinite(attainable).all(axis=0))
    each: list[Interval | None] = [None] * squares.shape[1]
    if not len(known):
        return Corrected(each, None)
    seen = np.isfinite(columns.values)
    explained = squares - np.where(seen, np.where(seen, columns.values, 0.0) - predicted, 0.0) ** 2
    # The last column is all of them together.
    above, below = (np.column_stack([x[:, known], x[:, known].sum(axis=1)]) for x in (explained, attainable))
    found: list[Interval | None] = []
    for start in range(0, above.shape[1], _AT_ONCE):
        chunk = slice(start, start + _AT_ONCE)
        both = bootstrap.of_means(np.concatenate([above[:, chunk], below[:, chunk]], axis=1), _below_and_ratio)
        lows, ratios = both[: len(both) // 2], both[len(both) // 2 :]
        found += [ratio if low.low > 0 else None for low, ratio in zip(lows, ratios, strict=True)]
    for d, column in enumerate(known):
        each[column] = found[d]
    everyone = set(np.flatnonzero(_varies(columns, squares.sum(axis=0)))) <= set(known)
    return Corrected(each, found[-1] if everyone else None)


def _below_and_ratio(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2D) above and below the stroke -> (..., 2D) below, and the ratio."""
    above, below = np.split(means, 2, axis=-1)
    return np.concatenate([below, above / below], axis=-1)


@dataclass(frozen=True, eq=False)
class _Columns:
    """Means and the noise of each (n, D), NaN = missing, and the size of the numbers that they were computed from."""

    values: NDArray[np.float64]
    noise: NDArray[np.float64]
    scale: float

    def against(self, a: int) -> _Columns:
        """Differences of column a to all later ones (n, D - a - 1)."""
        values = self.values[:, [a]] - self.values[:, a + 1 :]
        return _Columns(values, self.noise[:, [a]] + self.noise[:, a + 1 :], self.scale)


def _columns(targets: Targets, rows: NDArray[np.int64] | None) -> _Columns:
    values = targets.mean if rows is None else targets.mean[rows]
    return _Columns(values, noise_of_means(targets, rows), float(np.abs(np.nan_to_num(values)).max(initial=0.0)))


def _attainable(columns: _Columns) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each prompt's part of the sum of squares and of what is left of it without noise (n, D); 0 where it is missing.

    Their sums are SST and SST - (n - 1) mean(noise), so sum / sum = 1 - mean(noise) / V = rho. What is left is NaN in
    columns that have no reliability.
    """
    seen = np.isfinite(columns.values)
    count = seen.sum(axis=0)
    known = np.where(seen, columns.values, 0.0)
    squares = np.where(seen, known - known.sum(axis=0) / np.maximum(count, 1), 0.0) ** 2
    left = squares - np.where(seen, columns.noise, 0.0) * (count - 1) / np.maximum(count, 1)
    varies = _varies(columns, squares.sum(axis=0))
    return squares, np.where((count >= 2) & varies, left, np.nan)


def _varies(columns: _Columns, squares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which columns vary by more than rounding, from their sums of squares (D,)."""
    count = np.isfinite(columns.values).sum(axis=0)
    return np.asarray(squares > count * (_ROUNDING * columns.scale) ** 2)
