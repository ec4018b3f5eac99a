"""The one-standard-error rule: the simplest of the candidates that cannot be told from the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.draws import bags, drawn_counts
from erp.rounding import MEAN, size_of

DRAWS = 200


def simplest_of_the_best(
    utilities: NDArray[np.float64], groups: NDArray[np.integer], seed: int = 0
) -> tuple[int, float]:
    """The simplest candidate whose mean is within one standard error of the best mean, and what so choosing loses.

    The largest of many noisy means is too large, so the largest alone is no reason to choose. Candidates are scored on
    the same prompts: the standard error is that of the mean *difference* to the best, by groups of prompts.

    The expected loss is the mean, over a bootstrap of the groups that chooses anew each time, of how far the choice
    lies below the best, both by their means here. Means that noise has spread make it larger than it is.

    Args:
        utilities: (N, C) of every candidate, the simplest first, on the prompts that it has not seen.
        groups: (N,) code of each prompt's group.
        seed: of the bootstrap.

    Returns:
        The candidate, and the expected loss in the utilities' unit.
    """
    _, codes = np.unique(groups, return_inverse=True)
    of_prompt = bags(int(codes.max()) + 1, seed)[codes]
    sizes = np.bincount(of_prompt).astype(np.float64)
    sums = np.stack([np.bincount(of_prompt, weights=column) for column in utilities.T], axis=1)
    means = sums.sum(axis=0) / sizes.sum()
    losses = [
        means.max() - means[_within_one_error(sums, sizes, counts.astype(np.float64))]
        for block in drawn_counts(len(sizes), DRAWS, seed)
        for counts in block
    ]
    return _within_one_error(sums, sizes, np.ones(len(sizes))), float(np.mean(losses))


def _within_one_error(sums: NDArray[np.float64], sizes: NDArray[np.float64], counts: NDArray[np.float64]) -> int:
    """The first candidate within one standard error of the best.

    Args:
        sums: (G, C) of utilities, by group.
        sizes: (G,) prompts.
        counts: (G,) how often each group was drawn.
    """
    prompts, drawn = float(counts @ sizes), float(counts.sum())
    means = counts @ sums / prompts
    best = int(means.argmax())
    apart = sums - sums[:, [best]] - np.outer(sizes, means - means[best])
    # Of one group nothing is known of how groups differ: nobody can be told from the best.
    if drawn < 2:
        return 0
    error = np.sqrt(counts @ apart**2 * drawn / (drawn - 1)) / prompts
    return int((means[best] - means <= error + MEAN * size_of(means)).argmax())
