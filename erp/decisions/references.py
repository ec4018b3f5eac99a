"""Rows that stand beside every router: the best single member and oracles.

Oracles are made from the table they are scored on. They are what routing could reach at most, not routers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_finite, require_matrix
from erp.decisions.choice import Choice, choose, one_hot
from erp.errors import ErpError


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
