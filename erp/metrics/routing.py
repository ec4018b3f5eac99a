"""How good decisions are: area under the reward-cost curve, and regret."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice
from erp.errors import ErpError


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
    """
    c_min, c_max = float(members_cost.min()), float(members_cost.max())
    if not c_max > c_min:
        return float("nan")
    cost = np.concatenate([[c_min], np.maximum(curve_cost, c_min)])
    reward = np.concatenate([[members_reward[members_cost == c_min].max()], curve_reward])
    inside = np.flatnonzero(cost <= c_max)
    order = inside[np.argsort(cost[inside], kind="stable")]
    best = np.maximum.accumulate(reward[order])
    widths = np.diff(cost[order], append=c_max)
    return float(best @ widths / (c_max - c_min))


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
    return float((utility.max(axis=1) - (choice.weights * utility).sum(axis=1)).mean())
