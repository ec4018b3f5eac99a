"""Rows that stand beside every router: the best single member, oracles, category means.

Oracles are made from the table they are scored on. They are what routing could reach at most, not routers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_finite, require_matrix
from erp.decisions.choice import Choice, choose, one_hot
from erp.errors import ErpError, shorten


def best_single(mean_reward: NDArray[np.floating], mean_cost: NDArray[np.floating], lambda_: float = 0.0) -> int:
    """Position of the member with the largest mean reward - lambda * mean cost.

    Ties go to the cheapest, then to pool order. A member without a mean (NaN) is never chosen.

    Args:
        mean_reward: (M,), NaN where a member has no reward at all.
        mean_cost: (M,).
        lambda_: 0 to infinity.

    Raises:
        ErpError: when no member has a mean.
    """
    known = np.flatnonzero(~np.isnan(mean_reward))
    if not len(known):
        raise ErpError("mean reward: NaN for every member; at least one observed reward is allowed; check the table")
    return int(known[choose(mean_reward[None, known], mean_cost[known], lambda_)[0]])


def oracle(rewards: NDArray[np.floating], costs: NDArray[np.floating], lambda_: float = 0.0) -> Choice:
    """For every prompt, the member with the largest *observed* reward - lambda * cost.

    With few samples per cell this overstates what any router could earn (winner's curse).

    Args:
        rewards: (N, M) observed, none missing.
        costs: (N, M) or (M,).
        lambda_: 0 to infinity.

    Raises:
        ErpError: on a reward or cost that is not finite.
    """
    require_finite("rewards", rewards)
    return one_hot(choose(rewards, costs, lambda_), rewards.shape[1])


def category_oracle(rewards: NDArray[np.floating], categories: NDArray[np.object_]) -> Choice:
    """For every category, the member with the best mean in hindsight; ties go to pool order.

    Args:
        rewards: (N, M) observed, none missing.
        categories: (N,) names; prompts without one (None) form a category of their own.

    Raises:
        ErpError: on a reward that is not finite.
    """
    n, m = require_matrix("rewards", rewards)
    require_finite("rewards", rewards)
    code_of, codes = _codes(categories)
    if len(codes) != n:
        raise ErpError(f"categories = {len(codes)} names: {n} prompts need {n}; take the same prompts for both")
    # The same number of prompts under every member: sums rank as means do.
    sums = _sums_by_code(rewards, codes, len(code_of))
    return one_hot(sums.argmax(axis=1)[codes], m)


def category_mean_scores(
    train_rewards: NDArray[np.floating],
    train_categories: NDArray[np.object_],
    test_categories: NDArray[np.object_],
) -> NDArray[np.float64]:
    """Score a prompt by its category's mean reward on train: the paper's main baseline.

    A prompt without a category, of a category not seen in train, or of one in which a member has no reward, gets
    that member's mean over all of train.

    Args:
        train_rewards: (n, M), NaN = missing.
        train_categories: (n,) names or None.
        test_categories: (N,) names or None.

    Returns:
        (N, M) scores, finite.

    Raises:
        ErpError: when a member has no reward in train.
    """
    require_matrix("train rewards", train_rewards)
    present = ~np.isnan(train_rewards)
    unseen = np.flatnonzero(~present.any(axis=0))
    if len(unseen):
        raise ErpError(
            f"train rewards: none for member {shorten(unseen)}; at least one per member is allowed; leave it out of "
            "the pool or collect rewards"
        )
    filled = np.where(present, train_rewards, 0.0)
    overall = filled.sum(axis=0) / present.sum(axis=0)
    code_of, codes = _codes(train_categories)
    count = _sums_by_code(present.astype(np.float64), codes, len(code_of))
    total = _sums_by_code(filled, codes, len(code_of))
    means = np.where(count > 0, total / np.maximum(count, 1.0), overall)
    means = np.concatenate([means, overall[None]])  # the last row: no category, or one not seen
    fallback = len(means) - 1
    rows = [fallback if _is_missing(name) else code_of.get(name, fallback) for name in test_categories]
    return means[np.array(rows, dtype=np.int64)]


def _codes(categories: Iterable[Hashable]) -> tuple[dict[Hashable, int], NDArray[np.int64]]:
    """Number the categories in order of appearance; every kind of "missing" is the one category None."""
    code_of: dict[Hashable, int] = {}
    codes = [code_of.setdefault(None if _is_missing(name) else name, len(code_of)) for name in categories]
    return code_of, np.array(codes, dtype=np.int64)


def _is_missing(name: Hashable) -> bool:
    return name is None or name != name  # NaN, pandas' other spelling of None


def _sums_by_code(values: NDArray[np.floating], codes: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Column sums (n, M) of values (N, M) over rows of equal code."""
    return np.stack([np.bincount(codes, weights=column, minlength=n) for column in values.T], axis=1)
