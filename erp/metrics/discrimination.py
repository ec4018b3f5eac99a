"""How well scores tell members apart on one prompt: what routing lives on, and what R^2 does not show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.prediction import require_same_shape
from erp.rounding import snapped

_ROUNDING = 16 * np.finfo(np.float64).eps
"""Differences that spread less than this share of the largest reward are equal but for rounding."""


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
    scores, targets = (np.ascontiguousarray(snapped(values).T) for values in (predicted, observed))
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
    scores, targets = snapped(predicted[complete]), snapped(observed[complete])
    if not scores.size:
        return float("nan")
    top = scores == scores.max(axis=1, keepdims=True)
    best = targets == targets.max(axis=1, keepdims=True)
    return float(((top & best).sum(axis=1) / top.sum(axis=1)).mean())


def r2_of_differences(
    predicted: NDArray[np.floating], observed: NDArray[np.floating]
) -> tuple[NDArray[np.float64], float]:
    """R^2 of the differences between two members, each pair about its own mean over the prompts that have both.

    1 - SSE / SST of observed_a - observed_b. What all members share on a prompt, its difficulty, cancels: predicting
    every reward's prompt mean perfectly explains nothing here.

    Args:
        predicted: (N, M).
        observed: (N, M), NaN = missing.

    Returns:
        (M, M), symmetric, NaN on the diagonal and where a pair has fewer than two prompts or differences that do not
        vary; and the R^2 over all pairs at once, 1 - sum SSE / sum SST over pairs of two prompts or more, NaN where no
        difference varies.

    Raises:
        ErpError: when the shapes differ.
    """
    require_same_shape(predicted, observed)
    # (M, N): one member against all later ones at once. Members in rows, so that sums run along memory.
    scores, targets = (np.ascontiguousarray(x.T, dtype=np.float64) for x in (predicted, observed))
    m = len(scores)
    scale = np.abs(targets[~np.isnan(targets)]).max(initial=0.0)
    each = np.full((m, m), np.nan)
    errors, squares = 0.0, 0.0
    for a in range(m - 1):
        truth = targets[a] - targets[a + 1 :]
        seen = ~np.isnan(truth)
        count = seen.sum(axis=1)
        error = np.where(seen, truth - (scores[a] - scores[a + 1 :]), 0.0)
        truth = np.where(seen, truth, 0.0)
        deviation = np.where(seen, truth - (truth.sum(axis=1) / np.maximum(count, 1))[:, None], 0.0)
        sse, sst = np.einsum("pn,pn->p", error, error), np.einsum("pn,pn->p", deviation, deviation)
        sst[sst <= count * (_ROUNDING * scale) ** 2] = 0.0
        used = count >= 2
        errors, squares = errors + sse[used].sum(), squares + sst[used].sum()
        defined = used & (sst > 0)
        each[a, a + 1 :] = each[a + 1 :, a] = np.where(defined, 1.0 - sse / np.where(defined, sst, 1.0), np.nan)
    return each, float(1.0 - errors / squares) if squares > 0 else float("nan")


def auc(predicted: NDArray[np.floating], mean: NDArray[np.floating], count: NDArray[np.integer]) -> NDArray[np.float64]:
    """For each member: of a right and a wrong response, how often the first one's prompt has the higher score (M,).

    The area under the ROC curve over all responses, each with the score of its prompt; ties count one half. Source:
    Hanley & McNeil, Radiology 143 (1982).

    Args:
        predicted: (N, M).
        mean: (N, M) share of right responses, NaN = missing.
        count: (N, M) how many responses; 0 = missing.

    Returns:
        NaN for a member whose responses are all right or all wrong.

    Raises:
        ErpError: when the shapes differ.
    """
    require_same_shape(predicted, mean)
    found = np.full(mean.shape[1], np.nan)
    for m in range(mean.shape[1]):
        seen = count[:, m] > 0
        right = np.rint(mean[seen, m] * count[seen, m])
        wrong = count[seen, m] - right
        if right.any() and wrong.any():
            _, at = np.unique(snapped(predicted[seen, m]), return_inverse=True)
            above, below = np.bincount(at, weights=right), np.bincount(at, weights=wrong)
            beaten = np.cumsum(below) - 0.5 * below  # of responses at no higher a score, ties one half
            found[m] = above @ beaten / (above.sum() * below.sum())
    return found


def kendall_tau(predicted: NDArray[np.floating], observed: NDArray[np.floating]) -> float:
    r"""Mean over prompts of Kendall's tau-b between the scores and the rewards of the members that are present.

    .. math:: \tau_b = \frac{C - D}{\sqrt{P_{scores} P_{rewards}}}

    with C and D the pairs in the same and in opposite order, and P the pairs that do not tie. Prompts whose rewards all
    tie, or with fewer than two members, are left out: there is nothing to order. Scores that all tie count 0.
    Source: Kendall, Biometrika 33 (1945).

    Args:
        predicted: (N, M) finite.
        observed: (N, M), NaN = missing.

    Returns:
        -1 to 1; NaN where no prompt has rewards that differ.

    Raises:
        ErpError: when the shapes differ.
    """
    require_same_shape(predicted, observed)
    scores, targets = (np.ascontiguousarray(snapped(values).T) for values in (predicted, observed))
    agreement, untied_scores, untied_targets = np.zeros((3, len(predicted)), dtype=np.int64)
    for a in range(len(scores) - 1):
        # (M - a - 1, N) at once: NaN compares as neither greater nor smaller.
        truth = (targets[a] > targets[a + 1 :]).astype(np.int8) - (targets[a] < targets[a + 1 :])
        guess = (scores[a] > scores[a + 1 :]).astype(np.int8) - (scores[a] < scores[a + 1 :])
        guess *= ~np.isnan(targets[a]) & ~np.isnan(targets[a + 1 :])
        agreement += (truth * guess).sum(axis=0)
        untied_targets += np.count_nonzero(truth, axis=0)
        untied_scores += np.count_nonzero(guess, axis=0)
    kept = untied_targets > 0
    if not kept.any():
        return float("nan")
    scale = np.sqrt(np.maximum(untied_scores[kept], 1).astype(np.float64) * untied_targets[kept])
    return float((agreement[kept] / scale).mean())
