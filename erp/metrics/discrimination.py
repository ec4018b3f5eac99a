"""How well scores tell members apart on one prompt: what routing lives on, and what R^2 does not show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.prediction import require_same_shape


def pairwise_order_accuracy(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> float:
    """Share of (prompt, pair of members) whose observed rewards differ that the scores put in the right order.

    A predicted tie counts one half, so equal scores of all members are at .5.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing; a pair needs both.

    Returns:
        NaN where no pair of observed rewards differs.

    Raises:
        ErpError: when the shapes differ.
    """
    require_same_shape(predicted, observed)
    right, pairs = 0.0, 0
    scores, targets = np.ascontiguousarray(predicted.T), np.ascontiguousarray(observed.T)
    for a in range(len(scores) - 1):
        # (M - a - 1, N) at once: NaN compares as neither greater nor smaller, and drops out.
        truth = (targets[a] > targets[a + 1 :]).astype(np.int8) - (targets[a] < targets[a + 1 :])
        guess = (scores[a] > scores[a + 1 :]).astype(np.int8) - (scores[a] < scores[a + 1 :])
        pairs += int(np.count_nonzero(truth))
        right += np.count_nonzero(truth * guess == 1) + 0.5 * np.count_nonzero((truth != 0) & (guess == 0))
    return right / pairs if pairs else float("nan")


def top1_accuracy(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> float:
    """Share of prompts whose top-scored member is one of those with the best observed reward.

    Where several members share the top score, the prompt counts by the share of them that are best, so neither pool
    order nor luck matters. Prompts with a missing cell are left out: their best member is not known.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Returns:
        NaN where no prompt has all its cells.

    Raises:
        ErpError: when the shapes differ.
    """
    require_same_shape(predicted, observed)
    complete = ~np.isnan(observed).any(axis=1)
    scores, targets = predicted[complete], observed[complete]
    if not scores.size:
        return float("nan")
    top = scores == scores.max(axis=1, keepdims=True)
    best = targets == targets.max(axis=1, keepdims=True)
    return float(((top & best).sum(axis=1) / top.sum(axis=1)).mean())
