"""The one-standard-error rule: the simplest of the candidates that cannot be told from the best."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.draws import bags, drawn_counts
from erp.rounding import MEAN, size_of

DRAWS = 1_000
MAY_STILL_WIN = 2.0  # standard errors behind the best


def simplest_and_best(utilities: NDArray[np.float64], groups: NDArray[np.integer], places: int = 1) -> list[int]:
    """The simplest candidate whose mean is within one standard error of the best; or several that may still win.

    The largest of many noisy means is too large, so the largest alone is no reason to choose. Candidates are scored on
    the same prompts: the standard error is that of the mean *difference* to the best, by groups of prompts.

    Args:
        utilities: (N, C) of every candidate, the simplest first, on the prompts that it has not seen.
        groups: (N,) code of each prompt's group.
        places: how many are taken at most. If more than one: the simplest within two standard errors of the best, and
            of those the ones of the best means.

    Returns:
        Positions, ascending: the simplest first.
    """
    sums, sizes = _by_group(utilities, groups)
    behind, error = _behind(sums, sizes, np.ones((1, len(sizes))))
    return [int(c) for c in np.flatnonzero(_taken(behind, error, places)[0])]


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
    blocks = (_behind(sums, sizes, counts.astype(np.float64)) for counts in drawn_counts(len(sizes), DRAWS, seed))
    taken = np.concatenate([_taken(behind, error, places) for behind, error in blocks])
    return float(np.mean(means.max() - np.where(taken, means, -np.inf).max(axis=1)))


def _by_group(
    utilities: NDArray[np.float64], groups: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of utilities (G, C) and numbers of prompts (G,), by group, or by bag of groups where these are many."""
    _, codes = np.unique(groups, return_inverse=True)
    of_prompt = bags(int(codes.max()) + 1)[codes]
    sums = np.stack([np.bincount(of_prompt, weights=column) for column in utilities.T], axis=1)
    return np.asarray(sums, dtype=np.float64), np.bincount(of_prompt).astype(np.float64)


def _behind(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each candidate's mean lies below the best of its draw, and the standard error of that, both (D, C).

    Args:
        sums: (G, C) of utilities, by group.
        sizes: (G,) prompts.
        counts: (D, G) how often each draw took each group.
    """
    prompts, drawn, draw = counts @ sizes, counts.sum(axis=1), np.arange(len(counts))
    means, overall = counts @ sums / prompts[:, None], sums.sum(axis=0) / sizes.sum()
    best = means.argmax(axis=1)
    # A group's part of a mean difference is linear in its residuals and its size: their products give every error.
    parts = np.column_stack([sums - np.outer(sizes, overall), sizes])
    products = counts @ (parts[:, :, None] * parts[:, None, :]).reshape(len(parts), -1)
    products = products.reshape(len(counts), parts.shape[1], parts.shape[1])
    of_best, with_sizes = products[draw, best], products[:, -1]
    moved = means - overall - (means - overall)[draw, best][:, None]
    squares = products.diagonal(axis1=1, axis2=2)[:, :-1] + of_best[draw, best][:, None] - 2 * of_best[:, :-1]
    squares = squares + moved * (moved * with_sizes[:, -1:] - 2 * (with_sizes[:, :-1] - of_best[:, -1:]))
    squares = np.maximum(squares, 0.0) * (drawn / np.maximum(drawn - 1, 1))[:, None]
    # Of one group nothing is known of how groups differ: nobody can be told from the best.
    error = np.where(drawn[:, None] > 1, np.sqrt(squares) / prompts[:, None], np.inf)
    return means[draw, best][:, None] - means - MEAN * size_of(means), error


def _taken(behind: NDArray[np.float64], error: NDArray[np.float64], places: int) -> NDArray[np.bool_]:
    """Who is taken (D, C): the first within one standard error of the best; of several, within two, then the best."""
    simplest = (behind <= (error if places == 1 else MAY_STILL_WIN * error)).argmax(axis=1)
    order = np.where(behind <= MAY_STILL_WIN * error, behind, np.inf)
    np.put_along_axis(order, simplest[:, None], -np.inf, axis=1)
    first = np.argsort(order, axis=1, kind="stable")[:, :places]
    taken = np.zeros(behind.shape, dtype=np.bool_)
    np.put_along_axis(taken, first, np.take_along_axis(order, first, axis=1) < np.inf, axis=1)
    return taken
