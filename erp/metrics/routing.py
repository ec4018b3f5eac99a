"""How good decisions are: area under the reward-cost curve, and regret."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice
from erp.errors import ErpError
from erp.rounding import MEAN, all_equal, mean_difference, size_of


def cost_range(costs: NDArray[np.floating]) -> tuple[float, float]:
    """Smallest and largest of the members' mean costs: the range on which every curve of this pool is measured.

    It belongs to the pool, never to the routers compared, so that adding a router moves nobody's area.

    Args:
        costs: (N, M).
    """
    means = costs.mean(axis=0)
    return float(means.min()), float(means.max())


def audc(
    curve_cost: NDArray[np.floating],
    curve_reward: NDArray[np.floating],
    members_cost: NDArray[np.floating],
    members_reward: NDArray[np.floating],
) -> float:
    r"""Area under a reward-cost curve by steps, divided by the pool's cost range: a mean reward over budgets.

    .. math:: \frac{1}{c_{max} - c_{min}} \int_{c_{min}}^{c_{max}} \max \{r_p : c_p \le c\} \, dc

    over the curve's points p and the pool's cheapest member, at which every curve starts. Points cheaper than c_min
    count from c_min on; points dearer than c_max are outside the range. The last reward reached is held to c_max. The
    running maximum is needed because realised cost and reward need not be monotone in lambda. A constant is the curve
    of its own point.

    Args:
        curve_cost: (P,) mean costs, any order.
        curve_reward: (P,) mean rewards.
        members_cost: (M,) mean cost of every pool member.
        members_reward: (M,) mean reward of every pool member. Of several cheapest, the best is the start.

    Returns:
        The area in reward units; NaN where all members cost the same.

    Raises:
        ErpError: when lengths differ, there is no point, or a number is not finite.
    """
    cost, reward, (c_min, c_max) = clip_curve(curve_cost, curve_reward, members_cost, members_reward)
    if all_equal(members_cost):
        return float("nan")
    order = np.argsort(cost, kind="stable")
    best = np.maximum.accumulate(reward[order])
    widths = np.diff(cost[order], append=c_max)
    return float(best @ widths / (c_max - c_min))


def audc_of_rows(
    curve_cost: NDArray[np.floating],
    curve_reward: NDArray[np.floating],
    members_cost: NDArray[np.floating],
    members_reward: NDArray[np.floating],
) -> NDArray[np.float64]:
    """`audc` of B curves at once, each with the pool of its own row: one for every draw of a bootstrap.

    Args:
        curve_cost: (B, P) finite mean costs.
        curve_reward: (B, P) finite mean rewards.
        members_cost: (B, M) finite mean costs of the pool's members.
        members_reward: (B, M) finite mean rewards of theirs.

    Returns:
        (B,) NaN where all members cost the same.
    """
    c_min, c_max = members_cost.min(axis=1, keepdims=True), members_cost.max(axis=1, keepdims=True)
    hair = MEAN * np.abs(members_cost).max(axis=1, keepdims=True)
    start = np.where(members_cost <= c_min + hair, members_reward, -np.inf).max(axis=1, keepdims=True)
    cost = np.concatenate([c_min, np.clip(curve_cost, c_min, c_max)], axis=1)
    reward = np.concatenate([start, np.where(curve_cost <= c_max + hair, curve_reward, -np.inf)], axis=1)
    order = np.argsort(cost, axis=1, kind="stable")
    best = np.maximum.accumulate(np.take_along_axis(reward, order, axis=1), axis=1)
    widths = np.diff(np.take_along_axis(cost, order, axis=1), append=c_max, axis=1)
    span = (c_max - c_min)[:, 0]
    area: NDArray[np.float64] = (best * widths).sum(axis=1) / np.where(span > hair[:, 0], span, np.nan)
    return area


def clip_curve(
    curve_cost: NDArray[np.floating],
    curve_reward: NDArray[np.floating],
    members_cost: NDArray[np.floating],
    members_reward: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """The part of a curve inside the pool's cost range: what every area is taken of.

    The first point is the pool's cheapest member (of several, the best), at which every curve starts. Points cheaper
    than c_min are moved there; points dearer than c_max, by more than rounding, are left out.

    Args:
        curve_cost: (P,) mean costs, any order.
        curve_reward: (P,) mean rewards.
        members_cost: (M,) mean cost of every pool member.
        members_reward: (M,) mean reward of every pool member.

    Returns:
        Costs and rewards of the points inside, unsorted after the first, and the range (c_min, c_max).

    Raises:
        ErpError: when lengths differ, there is no point, or a number is not finite.
    """
    cost, reward = require_points("curve", curve_cost, curve_reward)
    pool_cost, pool_reward = require_points("members", members_cost, members_reward)
    c_min, c_max = float(pool_cost.min()), float(pool_cost.max())
    hair = MEAN * size_of(pool_cost)  # a running sum ends a hair beside the mean that it equals
    inside = cost <= c_max + hair
    return (
        np.concatenate([[c_min], np.clip(cost[inside], c_min, c_max)]),
        np.concatenate([[pool_reward[pool_cost <= c_min + hair].max()], reward[inside]]),
        (c_min, c_max),
    )


def require_points(
    name: str, cost: NDArray[np.floating], reward: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a curve (P,) as float64, refused where a comparison with NaN would drop some in silence.

    Raises:
        ErpError: when lengths differ, there is no point, or a number is not finite.
    """
    x, y = np.asarray(cost, dtype=np.float64), np.asarray(reward, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise ErpError(
            f"{name} = costs of shape {x.shape} and rewards of shape {y.shape}: not points; two equal lengths "
            "of 1 or more are allowed; give one mean cost and one mean reward per point"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ErpError(f"{name}: a cost or reward is not finite; only finite numbers are allowed; drop missing cells")
    return x, y


def regret(choice: Choice, rewards: NDArray[np.floating], costs: NDArray[np.floating], lambda_: float) -> float:
    """Mean over prompts of the best utility less the choice's: mean_i [max_m u_im - sum_m w_im u_im].

    With u = reward - lambda * cost. A choice that puts no weight on a member does not need its utility to be known,
    but the best does: rewards must be complete.

    Args:
        choice: weights (N, M).
        rewards: (N, M) observed, none missing.
        costs: (N, M) or (M,).
        lambda_: 0 or more, finite: at infinity utilities are.

    Raises:
        ErpError: on a lambda that is negative or not finite.
    """
    if not (math.isfinite(lambda_) and lambda_ >= 0):
        raise ErpError(f"lambda = {lambda_}: regret has no value there; 0 or more, finite, is allowed; give a price")
    utility = rewards - lambda_ * costs
    return mean_difference(utility.max(axis=1), (choice.weights * utility).sum(axis=1))
