"""Prompts on which members' expected rewards differ beyond noise, told on other samples than those that are scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, chdtri, fdtrc

from erp.rounding import CELL

LEVEL = 0.05
"""Of the test of one prompt: by chance alone it finds a difference on so many of those that have none."""
MOST_FOLDS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fold:
    """One part of every cell's samples, and what the others say.

    Attributes:
        differ: (n,) whether members differ on a prompt, by the samples that are not in this part.
        known: (n, M) mean rewards of those samples.
        scored: (n, M) mean rewards of the samples of this part.
    """

    differ: NDArray[np.bool_]
    known: Floats
    scored: Floats


def number_of_folds(count: NDArray[np.integer]) -> int:
    """Into how many parts samples are dealt, from their numbers (n, M): as many as the smallest cell has, ten at most.

    So every sample but one tells where ten or fewer are there, and every sample is scored once.
    """
    return min(int(count.min()), MOST_FOLDS)


def folds(reward: Floats, binary: bool, level: float = LEVEL) -> Iterator[Fold]:
    """Deal samples into parts, each scored once on prompts that the others tell apart: J-fold cross-fitting.

    The k-th sample of a cell goes to part k modulo J. What a fold scores is independent of what chose its prompts, so
    that choosing biases nothing.

    Args:
        reward: (n, M, K) single rewards, NaN behind a cell's last; two in every cell at least.
        binary: whether all of them are 0 or 1.
        level: of the test, `p_values`.
    """
    present = ~np.isnan(reward)
    count = present.sum(axis=2)
    parts = number_of_folds(count)
    noise = _pooled_noise(reward, count)
    of = np.arange(reward.shape[2]) % parts
    for part in range(parts):
        others = reward[:, :, of != part]
        differ = p_values(others, binary, noise) <= level
        yield Fold(differ, _means(others)[0], _means(reward[:, :, of == part])[0])


def p_values(reward: Floats, binary: bool, noise: float = float("nan")) -> Floats:
    """For each prompt the p-value (n,) of "all members' samples are draws of one expected reward".

    One-way analysis of variance over the members, F = (SSB / (M - 1)) / (SSW / f) with f = sum of K - 1; where no cell
    has two samples, SSB / noise by chi-square of M - 1. Rewards of 0 and 1 are no normal ones: there Pearson's
    chi-square of homogeneity with N - 1, (N - 1) SSB / SST (Campbell, Statistics in Medicine 26, 2007). 1 where all
    rewards are equal, and 0 where they differ between members and never within one.

    Args:
        reward: (n, M, K) single rewards, NaN where there is none; one in every cell at least.
        binary: whether all of them are 0 or 1.
        noise: variance within a cell, of a prompt that has no two samples in one.
    """
    mean, count = _means(reward)
    samples, members = count.sum(axis=1), reward.shape[1]
    grand = (count * mean).sum(axis=1) / samples
    between = (count * (mean - grand[:, None]) ** 2).sum(axis=1)
    within = np.nansum((reward - mean[:, :, None]) ** 2, axis=(1, 2))
    rounding = samples * (CELL * np.nanmax(np.abs(reward), axis=(1, 2))) ** 2
    between[between <= rounding] = 0.0
    within[within <= rounding] = 0.0
    if members < 2:
        return np.ones(len(reward))
    if binary:
        total = between + within
        return np.asarray(chdtrc(members - 1, (samples - 1) * between / np.where(total > 0, total, 1.0)))
    freedom = samples - members
    spread = np.where(freedom > 0, within / np.maximum(freedom, 1), noise)
    ratio = np.divide(between / (members - 1), spread, out=np.where(between > 0, np.inf, 0.0), where=spread > 0)
    by_noise = chdtrc(members - 1, ratio * (members - 1))
    return np.asarray(np.where(freedom > 0, fdtrc(members - 1, np.maximum(freedom, 1), ratio), by_noise))


def can_tell(members: int, samples: int, binary: bool, level: float = LEVEL) -> bool:
    """Whether the test can find any difference with so many samples of every member."""
    return members > 1 and (not binary or members * samples - 1 >= chdtri(members - 1, level))


def _means(reward: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Means (n, M) of (n, M, K), and of how many."""
    count = (~np.isnan(reward)).sum(axis=2)
    return np.nansum(reward, axis=2) / count, count


def _pooled_noise(reward: Floats, count: NDArray[np.int64]) -> float:
    """Variance within a cell, over all of them by degrees of freedom."""
    mean = np.nansum(reward, axis=2) / count
    return float(np.nansum((reward - mean[:, :, None]) ** 2) / max((count - 1).sum(), 1))
