"""What a guarantee stands on: who was lost, independent prompts, an exact bound, and tests in a fixed order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from erp.decisions.checks import require_matrix
from erp.errors import ErpError
from erp.rounding import CELL


def lost(rewards: NDArray[np.floating], reference: int, tolerated_loss: float) -> NDArray[np.bool_]:
    """Where a member's observed loss against the reference, reward_reference - reward_member, is above what is allowed.

    The reference's own loss is exactly 0. A loss that is more than is allowed only by rounding, such as .8 - .7
    against .1, is allowed.

    Args:
        rewards: (N, M) observed, none missing.
        reference: its position.
        tolerated_loss: in reward units, 0 or more.

    Returns:
        (N, M).
    """
    own = np.asarray(rewards[:, reference, None], dtype=np.float64)
    rounding = CELL * (np.abs(own) + np.abs(rewards))
    return np.asarray(own - rewards > tolerated_loss + rounding)


def one_per_group(groups: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Draw one prompt of each group, uniformly; rewards play no part.

    Args:
        groups: (N,) codes.
        seed: of the draw.

    Returns:
        Positions (G,), ascending.
    """
    order = np.random.default_rng(seed).permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(order[first]).astype(np.int64)


def upper_bound(count: NDArray[np.floating] | NDArray[np.integer], n: int, confidence: float) -> NDArray[np.float64]:
    """One-sided Clopper-Pearson bounds: the largest p with P(Binomial(n, p) <= count) >= 1 - confidence.

    Exact for independent trials: the bound is below the truth with a chance of at most 1 - confidence. It is the
    quantile of Beta(count + 1, n - count), and 1 where every trial counted or there was none. The lower bound of
    ``count`` is 1 - the upper one of ``n - count``.

    Args:
        count: of n trials; any shape. Between whole numbers it lies between their bounds.
        n: trials, 0 or more.
        confidence: above 0, below 1.

    Raises:
        ErpError: when a count is no share of n, or the confidence is out of range.
    """
    count = np.asarray(count, dtype=np.float64)
    if n < 0 or not ((count >= 0).all() and (count <= n).all()) or not 0 < confidence < 1:
        raise ErpError(
            f"count = {count}, n = {n}, confidence = {confidence}: no such bound; counts from 0 to n and a confidence "
            "between 0 and 1 are allowed; repair them"
        )
    every = count >= n
    bound: NDArray[np.float64] = np.where(
        every, 1.0, betaincinv(count + 1, np.where(every, 1.0, n - count), confidence)
    )
    return bound


def fixed_sequence(counts: NDArray[np.integer], n: int, alpha: float, delta: float) -> NDArray[np.int64]:
    """How many of a sequence of candidates pass before the first that fails.

    Candidate l passes when the Clopper-Pearson bound on its risk, at confidence 1 - delta, is at most alpha. As the
    order is fixed before the counts are seen, no correction for many tests is needed: a candidate whose risk is above
    alpha is among those that pass only if the first such one in the order passes, and it does with a chance of delta
    at most.

    Args:
        counts: (..., L) violations of every candidate in the order of testing.
        n: independent trials behind each.
        alpha: largest risk allowed.
        delta: chance of error allowed.

    Returns:
        (...), from 0 to L.

    Raises:
        ErpError: as `upper_bound`.
    """
    passes = upper_bound(counts, n, 1 - delta) <= alpha
    return np.asarray(np.logical_and.accumulate(passes, axis=-1).sum(axis=-1, dtype=np.int64))


def complete_rows(rewards: NDArray[np.floating]) -> NDArray[np.int64]:
    """Positions of the prompts whose rewards (N, M) are all there."""
    require_matrix("rewards", rewards)
    return np.flatnonzero(~np.isnan(rewards).any(axis=1))
