"""How sure a mean is: the paired bootstrap over groups of prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from erp.errors import ErpError

BLOCK_CELLS = 1 << 21
"""Draws x groups held at once: 16 MiB per array, whatever the number of draws."""
MOST_KEPT_CELLS = 1 << 27
"""Draws x groups kept between calls, at two bytes each. Beyond, every call draws anew: ask for many columns at once."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval; ``low`` and ``high`` are NaN where none can be had (all prompts in one group)."""

    mean: float
    low: float
    high: float


class GroupBootstrap:
    """Percentile intervals of means over prompts, by resampling groups of prompts with replacement.

    Prompts of one group (rephrasings, repeats) are drawn together, since they are not independent. Each draw takes as
    many groups as there are and gives the mean over the prompts in them: sum of values / number of prompts. All
    columns, and all calls, see the same draws, so intervals of several rows belong together.

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
        self._sizes = np.bincount(self._codes).astype(np.float64)
        self._draws, self._seed, self._level = draws, seed, level
        self._kept: list[NDArray[np.uint16]] | None = None

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
        sums, sizes = self._resample(values)
        return self._percentiles(_column_means(values), sums / sizes[:, None])

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
        groups = len(self._sizes)
        table = np.empty((groups, columns.shape[1] + 1))
        for d, column in enumerate(columns.T):
            table[:, d] = np.bincount(self._codes, weights=column, minlength=groups)
        table[:, -1] = self._sizes
        drawn = np.concatenate([counts @ table for counts in self._counts()])
        return drawn[:, :-1], drawn[:, -1]

    def _counts(self) -> Iterator[NDArray[np.float64]]:
        """How often each draw takes each group, in blocks of draws (draws in block, G)."""
        if self._kept is None:
            blocks = self._drawn()
            if self._draws * len(self._sizes) > MOST_KEPT_CELLS:
                yield from (block.astype(np.float64) for block in blocks)
                return
            self._kept = list(blocks)
        yield from (block.astype(np.float64) for block in self._kept)

    def _drawn(self) -> Iterator[NDArray[np.uint16]]:
        """Draw anew: the same counts each time."""
        groups = len(self._sizes)
        rng = np.random.default_rng(self._seed)
        block = max(1, BLOCK_CELLS // groups)
        for start in range(0, self._draws, block):
            size = min(block, self._draws - start)
            taken = rng.integers(0, groups, size=(size, groups), dtype=np.int64)
            taken += np.arange(size)[:, None] * groups
            yield np.bincount(taken.ravel(), minlength=size * groups).reshape(size, groups).astype(np.uint16)

    def _percentiles(self, means: NDArray[np.floating], drawn: NDArray[np.float64]) -> list[Interval]:
        """Intervals of D statistics from their values on the draws (draws, D)."""
        if len(self._sizes) == 1:  # every draw is the sample itself: no spread, and no knowledge of it
            return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
        freedom = len(self._sizes) - 1
        tail = ndtr(np.sqrt(1 + 1 / freedom) * stdtrit(freedom, (1 - self._level) / 2))
        lows, highs = np.quantile(drawn, [tail, 1 - tail], axis=0)
        return [Interval(float(m), float(low), float(high)) for m, low, high in zip(means, lows, highs, strict=True)]


def _column_means(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Means (D,) of columns, each rounded as if it stood alone: equal columns give a ratio of exactly 1."""
    return np.array([np.ascontiguousarray(column).mean() for column in values.T], dtype=np.float64)
