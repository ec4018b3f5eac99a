"""How sure a mean is: the paired bootstrap over groups of prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from erp.errors import ErpError
from erp.metrics.significance import bootstrap_p

Verdict = Literal["yes", "no", "undecided"]

BLOCK_CELLS = 1 << 22
"""Draws x groups held at once: 32 MiB per array, whatever the number of draws."""
COUNTED_CELLS = 1 << 16
"""Draws x groups counted at once: 512 KiB, since counting is twice as fast within a processor's cache."""
MOST_KEPT_CELLS = 1 << 28
"""Draws x groups kept between calls, at one byte each. Beyond, every call draws anew: ask for many columns at once."""
MOST_RESAMPLED = 20_000
"""Groups that are resampled one by one; more are dealt into as many bags, which are resampled whole."""
ROUNDING = 1e-13
"""A resampled mean below this share of the mean size of the values is 0: what is left where values cancel."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; ``low`` and ``high`` are NaN where none can be had (all prompts in one group)."""

    mean: float
    low: float
    high: float


def better_than_constant(difference: Interval) -> Verdict:
    """Is the router better than the best constant at equal cost?

    Args:
        difference: of mean reward, router less the best constant at its cost.

    Returns:
        "yes" where the whole interval is above 0; "no" where none of it is; else "undecided", as where there is no
        interval (NaN).
    """
    if difference.low > 0:
        return "yes"
    return "no" if difference.high <= 0 else "undecided"


class GroupBootstrap:
    """Percentile intervals of means over prompts, by resampling groups of prompts with replacement.

    Prompts of one group (rephrasings, repeats) are drawn together, since they are not independent. Each draw takes as
    many groups as there are and gives the mean over the prompts in them: sum of values / number of prompts. All
    columns, and all calls, see the same draws, so intervals of several rows belong together.

    More groups than `MOST_RESAMPLED` are dealt at random into as many bags (`bags`), and bags are resampled: sums over
    independent groups are independent too, so variance and skewness of the mean stay what they were, and time and
    memory no longer grow. Intervals of 90,000 prompts, heavy tails and unequal groups among them, then hold the truth
    as often as they say (tests/metrics/test_coverage.py).

    Plain percentiles are too narrow where groups are few: for 95% with 16 groups of three normal values they covered
    91.7% of 1,000 simulated means. So they are taken further out, by what the interval of a normal mean needs,
    sqrt(G / (G - 1)) t_{G-1} (94.6% there): the *expanded percentile* interval of Hesterberg, "What Teachers Should
    Know About the Bootstrap" (2015). With 500 groups that is the 2.46% quantile for 2.5%.

    Args:
        groups: (N,) group code of every prompt.
        draws: resamples.
        seed: of the draws.
        level: coverage aimed at.

    Raises:
        ErpError: when there is no prompt, or draws or level are out of range.
    """

    def __init__(self, groups: NDArray[np.integer], draws: int = 10_000, seed: int = 0, level: float = 0.95) -> None:
        if groups.ndim != 1 or not len(groups):
            raise ErpError(
                f"groups = array of shape {groups.shape}: no prompts to resample; one group code per prompt is "
                "allowed; check that the split is not empty"
            )
        if draws < 1 or not 0 < level < 1:
            raise ErpError(
                f"draws = {draws}, level = {level}: no such interval; draws >= 1 and a level between 0 and 1 are "
                "allowed; 10000 and 0.95 are usual"
            )
        _, self._codes = np.unique(groups, return_inverse=True)
        self._bags = bags(int(self._codes.max()) + 1, seed)
        self._sizes = np.bincount(self._bags[self._codes]).astype(np.float64)
        self._draws, self._seed, self._level = draws, seed, level

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self._bags)

    @property
    def resampled(self) -> int:
        """Number of groups, or of bags of groups, that each draw takes."""
        return len(self._sizes)

    def of(self, rows: NDArray[np.int64]) -> GroupBootstrap:
        """The same for some of the prompts, by position."""
        return GroupBootstrap(self._codes[rows], self._draws, self._seed, self._level)

    def interval(self, values: NDArray[np.floating]) -> Interval:
        """Interval of the mean of per-prompt values (N,), usually the differences between two rows of a report.

        Raises:
            ErpError: on another shape (for columns there is `intervals`), or on values that are not finite.
        """
        return self.intervals(values[..., None])[0]

    def intervals(self, values: NDArray[np.floating]) -> list[Interval]:
        """`interval` for every column of values (N, D), all on the same draws.

        Raises:
            ErpError: on another shape, or on values that are not finite.
        """
        return self._percentiles(_column_means(values), self.draws(values))

    def draws(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Resampled means (B, D) of values (N, D); row b of every call is the same draw of groups.

        Where the values of a draw cancel its mean is exactly 0, without what rounding would leave.

        Raises:
            ErpError: on another shape, or on values that are not finite.
        """
        sums, sizes = self._resample(values)
        means = sums / sizes[:, None]
        means[np.abs(means) <= ROUNDING * np.abs(values).mean(axis=0)] = 0.0
        return means

    def of_means(
        self,
        values: NDArray[np.floating],
        statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    ) -> list[Interval]:
        """Intervals of S numbers that are functions of D means, such as a correlation of sums of squares.

        Draws on which a number is not finite are left out for that number.

        Args:
            values: (N, D) finite, per prompt.
            statistic: means (..., D) -> (..., S), row by row; it is called with (1, D) and with (B, D), and divides by
                0 in silence, as numpy does here.

        Returns:
            S intervals; ``mean`` is the statistic of the sample's own means. NaN where that is not finite.

        Raises:
            ErpError: on another shape, or on values that are not finite.
        """
        drawn = self.draws(values)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._percentiles(statistic(_column_means(values)[None])[0], statistic(drawn))

    def p_value(self, values: NDArray[np.floating]) -> float:
        """Two-sided p-value of "the mean of the per-prompt values (N,) is 0": `erp.metrics.significance.bootstrap_p`.

        NaN where all prompts are one group.

        Raises:
            ErpError: on another shape (for columns there is `p_values`), or on values that are not finite.
        """
        return float(self.p_values(values[..., None])[0])

    def p_values(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """`p_value` (D,) for every column of values (N, D), all on the same draws; not corrected for their number.

        Raises:
            ErpError: on another shape, or on values that are not finite.
        """
        return np.array([bootstrap_p(column, self.resampled) for column in self.draws(values).T], dtype=np.float64)

    def ratios(self, numerators: NDArray[np.floating], denominator: NDArray[np.floating]) -> list[Interval]:
        """Interval of mean(numerator) / mean(denominator) for every column, both resampled together.

        Draws whose denominator is 0 have no ratio and are left out; with a denominator that is clearly not 0 there are
        none.

        Args:
            numerators: (N, D) finite.
            denominator: (N,) finite.

        Returns:
            Intervals of NaN where the denominator's mean is 0.

        Raises:
            ErpError: on another length, or on values that are not finite.
        """
        sums, _ = self._resample(np.concatenate([numerators, denominator[:, None]], axis=1))
        below = denominator.mean()
        if below == 0:
            return [Interval(float("nan"), float("nan"), float("nan"))] * numerators.shape[1]
        kept = sums[sums[:, -1] != 0]
        # + 0.0 turns the -0.0 of a zero over a negative draw into a plain 0.
        return self._percentiles(_column_means(numerators) / below + 0.0, kept[:, :-1] / kept[:, -1:] + 0.0)

    def _resample(self, columns: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sums of values (draws, D) and numbers of prompts (draws,) of every draw."""
        if columns.ndim != 2 or len(columns) != len(self._codes) or not np.isfinite(columns).all():
            raise ErpError(
                f"values = array of shape {columns.shape}: does not fit, or is not finite; one finite number for each "
                f"of {len(self._codes)} prompts is allowed; keep prompts whose cells are all present (for columns: "
                "`intervals`)"
            )
        resampled, bag = self.resampled, self._bags[self._codes]
        table = np.empty((resampled, columns.shape[1] + 1))
        for d, column in enumerate(columns.T):
            table[:, d] = np.bincount(bag, weights=column, minlength=resampled)
        table[:, -1] = self._sizes
        kept = self._draws * resampled <= MOST_KEPT_CELLS
        blocks = (kept_counts if kept else drawn_counts)(resampled, self._draws, self._seed)
        drawn = np.concatenate([counts.astype(np.float64) @ table for counts in blocks])
        return drawn[:, :-1], drawn[:, -1]

    def _percentiles(self, means: NDArray[np.floating], drawn: NDArray[np.float64]) -> list[Interval]:
        """Intervals of D statistics from their values on the draws (draws, D)."""
        if self.resampled == 1:  # every draw is the sample itself: no spread, and no knowledge of it
            return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
        freedom = self.resampled - 1
        tail = ndtr(np.sqrt(1 + 1 / freedom) * stdtrit(freedom, (1 - self._level) / 2))
        found = []
        for mean, column in zip(means, drawn.T, strict=True):
            kept = column[np.isfinite(column)]
            known = len(kept) > 0 and np.isfinite(mean)
            low, high = np.quantile(kept, [tail, 1 - tail]) if known else (float("nan"), float("nan"))
            found.append(Interval(float(mean) if known else float("nan"), float(low), float(high)))
        return found


def bags(groups: int, seed: int = 0) -> NDArray[np.int64]:
    """Bag (groups,) of every group, 0 to `MOST_RESAMPLED` - 1, at random, sizes within one of each other.

    No more groups than that have a bag each, in their order.
    """
    if groups <= MOST_RESAMPLED:
        return np.arange(groups)
    return np.random.default_rng((seed, groups)).permutation(groups) % MOST_RESAMPLED


def drawn_counts(groups: int, draws: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """How often each draw takes each group, in blocks of draws (draws in block, groups): each time the same.

    A count above 255 has no chance worth the name: it is one of `groups` at a rate of 1.
    """
    rng = np.random.default_rng(seed)
    block, few = (max(1, cells // groups) for cells in (BLOCK_CELLS, COUNTED_CELLS))
    for start in range(0, draws, block):
        counts = np.empty((min(block, draws - start), groups), dtype=np.uint8)
        for at in range(0, len(counts), few):
            part = counts[at : at + few]
            taken = rng.integers(0, groups, size=part.shape, dtype=np.int64)
            taken += np.arange(len(part))[:, None] * groups
            part[:] = np.bincount(taken.ravel(), minlength=part.size).reshape(part.shape)
        yield counts


@lru_cache(maxsize=2)
def kept_counts(groups: int, draws: int, seed: int) -> list[NDArray[np.uint8]]:
    """`drawn_counts`, drawn once: all prompts of a run that are resampled by as many groups, or bags, share them."""
    return list(drawn_counts(groups, draws, seed))


def _column_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Means (D,) of columns, each rounded as if it stood alone: equal columns give a ratio of exactly 1."""
    return np.array([np.ascontiguousarray(column).mean() for column in values.T], dtype=np.float64)
