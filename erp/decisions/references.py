"""Rows that stand beside every router: the best single member, the best constant within a budget, and oracles.

Oracles are made from the table they are scored on. They are what routing could reach at most, not routers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_finite, require_matrix
from erp.decisions.choice import Choice, choose, one_hot
from erp.errors import ErpError
from erp.rounding import MEAN, size_of, tied_for_most


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
    known = _with_a_mean(mean_reward)
    return int(known[choose(mean_reward[None, known], mean_cost[known], lambda_, rounding=MEAN)[0]])


def best_constant(
    mean_reward: NDArray[np.floating], mean_cost: NDArray[np.floating], budget: float
) -> NDArray[np.float64]:
    """The best constant at equal cost: one mixture of members for every prompt, of mean cost at most ``budget``.

    A point of the non-decreasing upper hull of the members' (mean cost, mean reward), so at most two of them: what
    routing at that cost must beat. Of several single members that earn the most, the cheapest, then pool order; a
    mixture only where it earns more than each single. With equal costs it is `best_single`.

    Args:
        mean_reward: (M,), NaN where a member has no reward at all: it is never chosen.
        mean_cost: (M,), finite where the reward is.
        budget: in units of the cost. Below the cheapest member nothing fits: it is the cheapest then, the best of
            several.

    Returns:
        (M,) weights that sum to 1. A member that costs the budget but for rounding fits it.

    Raises:
        ErpError: when no member has a mean, on a reward or cost that is not finite, shapes that do not fit, a NaN
            budget.
    """
    if mean_cost.shape != mean_reward.shape:
        raise ErpError(
            f"mean cost = array of shape {mean_cost.shape}: does not fit mean rewards of shape {mean_reward.shape}; "
            "equal shapes are allowed; take the same members for both"
        )
    if math.isnan(budget):
        raise ErpError("budget = nan: not a cost; any number or infinity is allowed; give the mean cost to stay within")
    known = _with_a_mean(mean_reward)
    unknown = np.isnan(mean_reward)
    require_finite("mean reward", np.where(unknown, 0.0, mean_reward))
    require_finite("mean cost", np.where(unknown, 0.0, mean_cost))
    weights = np.zeros(len(mean_reward))
    fits = mean_cost[known] <= budget + MEAN * size_of(mean_cost[known])
    low, high = known[fits], known[~fits]
    if not len(low):
        weights[best_single(mean_reward, mean_cost, math.inf)] = 1.0
        return weights
    single = low[best_single(mean_reward[low], mean_cost[low])]
    weights[single] = 1.0
    if not len(high):
        return weights
    # Few members: every pair that brackets the budget, so all edges of the hull there, and no hull is needed.
    share = np.maximum(budget - mean_cost[low, None], 0.0) / (mean_cost[high] - mean_cost[low, None])
    mixed = (1 - share) * mean_reward[low, None] + share * mean_reward[high]
    a, b = np.unravel_index(mixed.argmax(), mixed.shape)
    if mixed[a, b] > mean_reward[single] + MEAN * size_of(mean_reward[known]):
        weights[single] = 0.0
        weights[low[a]], weights[high[b]] = 1 - share[a, b], share[a, b]
    return weights


def _with_a_mean(mean_reward: NDArray[np.floating]) -> NDArray[np.int64]:
    """Positions of the members that have a mean reward; at least one, or an error."""
    known = np.flatnonzero(~np.isnan(mean_reward))
    if not len(known):
        raise ErpError("mean reward: NaN for every member; at least one observed reward is allowed; check the table")
    return known


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
    sizes = _sums_by_code(np.abs(rewards), codes, len(code_of))
    best = tied_for_most(sums, MEAN * sizes).argmax(axis=1)
    return one_hot(best[codes], m)


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
