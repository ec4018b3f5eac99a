"""Is a difference real? p-values of paired differences, and their correction."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtri, stdtr

from erp.errors import ErpError

DRAWN_CELLS = 1 << 22
"""Draws x (groups or differences) held at once by `max_t`: 16 MiB per array."""


def max_t(
    means: NDArray[np.floating],
    influence: NDArray[np.floating],
    groups: NDArray[np.integer],
    draws: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    r"""Adjusted p-values of D mean differences, two-sided, that hold for all of them at once.

    A difference is told where its :math:`t` is beyond what the largest of them all would be if none were real. That
    largest is simulated with the correlations that the data show: differences between routers are all of the same
    prompts, so D of them are far fewer than D independent ones, and Holm's correction asks too much.

    .. math:: z_k = -\Phi^{-1}\bigl(T_{G_k - 1}(-|t_k|)\bigr), \quad t_k = \frac{d_k}{s_k}, \quad
        s_k^2 = \frac{G_k}{G_k - 1} \sum_g r_{gk}^2, \qquad
        \tilde p_k = \frac{1 + \#\{b: \max_{j: z_j \le z_k} |z^b_j| \ge z_k\}}{B + 1}, \quad
        z^b_j = \sqrt{\frac{G - 1}{\chi^2_b}} \sum_g \xi_{bg} \frac{r_{gj}}{\lVert r_j \rVert}

    with standard normal :math:`\xi`, and made monotone from the largest z down: a step-down maximum (Romano and Wolf,
    "Exact and Approximate Stepdown Methods for Multiple Hypothesis Testing", JASA 100, 2005) of a multiplier bootstrap
    (Chernozhukov, Chetverikov and Kato, Annals of Statistics 41, 2013). The :math:`\chi^2_{G-1}` stands for how little
    few groups know of the correlations. So differences to a contender that was picked as the best may be tested, as
    long as those between all contenders are among the D.

    Args:
        means: (D,) differences.
        influence: (G, D) what each of G groups adds to the error of each: the sum over its values less that mean, by
            the number of values; 0 where a difference has none in the group.
        groups: (D,) number of groups that each has values of, 2 or more.
        draws: number B of draws.
        seed: of the draws.

    Returns:
        (D,) probabilities; 1 where a difference and all its influence are 0.

    Raises:
        ErpError: on shapes that do not belong together, numbers that are not finite, or fewer than 2 groups.
    """
    fits = influence.shape == (len(influence), len(means)) and len(groups) == len(means)
    if not (fits and np.isfinite(means).all() and np.isfinite(influence).all() and (groups >= 2).all()):
        raise ErpError(
            f"means, influence = arrays of shapes {means.shape} and {influence.shape}: do not fit, are not finite, or "
            "are of one group; leave out comparisons that cannot be made before correcting"
        )
    if not len(means):
        return np.zeros(0)
    sizes = np.sqrt(np.square(influence).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(np.abs(means) / (sizes * np.sqrt(groups / (groups - 1))), nan=0.0, posinf=np.inf)
        z = -ndtri(stdtr(groups - 1, -t))
        unit = np.nan_to_num(influence / sizes, nan=0.0).astype(np.float32)
    order = np.argsort(z)
    z, unit = z[order], unit[:, order]
    rng, reached = np.random.default_rng(seed), np.zeros(len(z), dtype=np.int64)
    block = max(1, DRAWN_CELLS // max(1, *unit.shape))
    for start in range(0, draws, block):
        drawn = rng.standard_normal((min(block, draws - start), len(unit)), dtype=np.float32)
        further = np.sqrt((len(unit) - 1) / rng.chisquare(len(unit) - 1, size=(len(drawn), 1)))
        reached += (np.maximum.accumulate(np.abs(drawn @ unit), axis=1) * further >= z).sum(axis=0)
    adjusted = np.empty(len(z))
    adjusted[order] = np.maximum.accumulate(((1 + reached) / (draws + 1))[::-1])[::-1]
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
    return min(1.0, 2.0 * float(bdtr(min(wins, losses), wins + losses, 0.5)))  # a fair coin's two tails are alike
