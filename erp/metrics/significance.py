"""Is a difference real? p-values of paired differences, and their correction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr
from scipy.stats import binomtest

from erp.errors import ErpError


def holm(p_values: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Holm's step-down correction: adjusted p-values that hold for all comparisons at once.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (K - j + 1) \, p_{(j)})

    Rejecting where the adjusted value is at most alpha keeps the chance of even one false rejection at most alpha,
    however the tests depend on each other. Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    Scandinavian Journal of Statistics 6 (1979).

    Args:
        p_values: (K,) in any order; K may be 0.

    Returns:
        (K,) in the order given.

    Raises:
        ErpError: on a value that is NaN or not within 0 and 1: leaving it out would change the number of comparisons.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ErpError(
            f"p-values = array of shape {p.shape}: not a list, or not within 0 and 1; one probability per comparison "
            "is allowed; leave out comparisons that cannot be made before correcting"
        )
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def bootstrap_p(draws: NDArray[np.floating], groups: int) -> float:
    r"""Two-sided p-value of "the mean difference is 0", from bootstrap draws of it.

    .. math:: p = 2 \min\left(\tfrac12, \frac{1 + \#\{d \le 0\}}{B + 1}, \frac{1 + \#\{d \ge 0\}}{B + 1}\right)

    (Davison and Hinkley, "Bootstrap Methods and their Application", 1997: the sample itself counts as a draw), then
    widened as `GroupBootstrap` widens its percentiles for few groups: with F = G - 1 and
    tail = Phi(sqrt(1 + 1/F) t_F^{-1}(p'/2)) solved for p'. So p' < .05 says what "the 95% interval leaves out 0" says,
    but for the spacing of the draws.

    Args:
        draws: (B,) means of the paired difference on resampled groups.
        groups: number G of groups resampled.

    Returns:
        A probability; 1 where all draws are 0; NaN for one group, where draws have no spread.

    Raises:
        ErpError: on no draws, draws that are not finite, or fewer than 1 group.
    """
    values = np.asarray(draws, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or groups < 1:
        raise ErpError(
            f"draws, groups = array of shape {values.shape}, {groups}: no draws, not finite, or no group; finite means "
            "and 1 or more groups are allowed; draw anew"
        )
    if groups == 1:
        return float("nan")
    fewer = 1 + min((values <= 0).sum(), (values >= 0).sum())
    tail = min(0.5, fewer / (len(values) + 1))
    freedom = groups - 1
    return float(2 * stdtr(freedom, ndtri(tail) / np.sqrt(1 + 1 / freedom)))


def mcnemar(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Exact McNemar test of two rows of 0/1 rewards on the same prompts: p-value of "equally often right".

    Of the prompts that only one of them gets right, the number that the first does is Binomial(n, 1/2) then. Prompts
    count as independent: with groups of repeats, use `bootstrap_p`. Source: McNemar, Psychometrika 12 (1947).

    Args:
        first: (N,) of 0 and 1.
        second: (N,) of 0 and 1, same prompts.

    Returns:
        Two-sided p-value; 1 where they never differ.

    Raises:
        ErpError: when lengths differ or a reward is neither 0 nor 1.
    """
    both = [np.asarray(row) for row in (first, second)]
    if both[0].ndim != 1 or both[0].shape != both[1].shape or not all(np.isin(row, (0, 1)).all() for row in both):
        raise ErpError(
            f"rewards = arrays of shapes {both[0].shape} and {both[1].shape}: not pairs of 0 and 1; right or wrong on "
            "the same prompts is allowed; use the bootstrap for other rewards"
        )
    wins, losses = int((both[0] > both[1]).sum()), int((both[0] < both[1]).sum())
    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
