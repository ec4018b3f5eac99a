"""Which groups the resamples of a bootstrap take: drawn once for all that is resampled by as many."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 1 << 22
"""Draws x groups held at once: 32 MiB per array, whatever the number of draws."""
COUNTED_CELLS = 1 << 16
"""Draws x groups counted at once: 512 KiB, since counting is twice as fast within a processor's cache."""
SUMMED_CELLS = 1 << 20
"""Draws x groups summed at once: 8 MiB, for the same reason."""
MOST_KEPT_CELLS = 1 << 28
"""Draws x groups kept between calls, at one byte each. Beyond, every call draws anew: ask for much at once."""
MOST_RESAMPLED = 4_000
"""Groups that are resampled one by one; more are dealt into as many bags, which are resampled whole."""


def resampled_sums(table: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Sums (draws, D) over the groups that each draw takes, of D numbers of each of G groups (G, D)."""
    kept = draws * len(table) <= MOST_KEPT_CELLS
    blocks = (kept_counts if kept else drawn_counts)(len(table), draws, seed)
    few = max(1, SUMMED_CELLS // len(table))
    parts = (counts[at : at + few] for counts in blocks for at in range(0, len(counts), few))
    return np.concatenate([part.astype(np.float64) @ table for part in parts])


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
