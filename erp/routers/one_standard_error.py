"""The one-standard-error rule: the simplest of the candidates that cannot be told from the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.draws import bags, drawn_counts
from erp.rounding import MEAN, size_of

DRAWS = 1_000
MAY_STILL_WIN = 2.0  # standard errors behind the best


def simplest_and_best(utilities: NDArray[np.float64], groups: NDArray[np.integer], places: int = 1) -> list[int]:
    """The simplest candidate whose mean is within one standard error of the best mean; then others that may still win.

    The largest of many noisy means is too large, so the largest alone is no reason to choose. Candidates are scored on
    the same prompts: the standard error is that of the mean *difference* to the best, by groups of prompts.

    Args:
        utilities: (N, C) of every candidate, the simplest first, on the prompts that it has not seen.
        groups: (N,) code of each prompt's group.
        places: how many are taken at most: of one, the simplest; of more, also those of the best means, if these are
            within two standard errors of the best.

    Returns:
        Positions, ascending: the simplest first.
    """
    sums, sizes = _by_group(utilities, groups)
    return _taken(sums, sizes, np.ones(len(sizes)), places)


def loss_of_choosing(
    utilities: NDArray[np.float64], groups: NDArray[np.integer], places: int = 1, seed: int = 0
) -> float:
    """What `simplest_and_best` is expected to lose against the best candidate, in the utilities' unit.

    By a bootstrap of the groups that chooses anew each time: how far, on average, the best of those taken lies below
    the best of all, by their means on all prompts. Means lie further apart than what they estimate, so it rather says
    too much.
    """
    sums, sizes = _by_group(utilities, groups)
    means = utilities.mean(axis=0)
    draws = (counts.astype(np.float64) for block in drawn_counts(len(sizes), DRAWS, seed) for counts in block)
    return float(np.mean([means.max() - means[_taken(sums, sizes, counts, places)].max() for counts in draws]))


def _by_group(
    utilities: NDArray[np.float64], groups: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of utilities (G, C) and numbers of prompts (G,), by group, or by bag of groups where these are many."""
    _, codes = np.unique(groups, return_inverse=True)
    of_prompt = bags(int(codes.max()) + 1)[codes]
    sums = np.stack([np.bincount(of_prompt, weights=column) for column in utilities.T], axis=1)
    return np.asarray(sums, dtype=np.float64), np.bincount(of_prompt).astype(np.float64)


def _taken(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], counts: NDArray[np.float64], places: int
) -> list[int]:
    """The first candidate within one standard error of the best, and the best of the others within two, so many in all.

    Args:
        sums: (G, C) of utilities, by group.
        sizes: (G,) prompts.
        counts: (G,) how often each group was drawn.
        places: of one or more.
    """
    prompts, drawn = float(counts @ sizes), float(counts.sum())
    means = counts @ sums / prompts
    best = int(means.argmax())
    apart = sums - sums[:, [best]] - np.outer(sizes, means - means[best])
    # Of one group nothing is known of how groups differ: nobody can be told from the best.
    error = np.sqrt(counts @ apart**2 * drawn / (drawn - 1)) / prompts if drawn > 1 else np.full(len(means), np.inf)
    behind = means[best] - means - MEAN * size_of(means)
    simplest = int((behind <= error).argmax())
    others = [
        c for c in np.argsort(behind, kind="stable").tolist() if c != simplest and behind[c] <= MAY_STILL_WIN * error[c]
    ]
    return sorted([simplest, *others[: places - 1]])
