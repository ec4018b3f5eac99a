"""Metrics of the field's benchmarks: AIQ, APGR and CPT, PerfGain and CostSave, ParetoDist.

Ranges are the pool's own, never those of the routers compared: a router that joins the comparison moves nobody's AIQ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Outcome
from erp.errors import ErpError
from erp.metrics.economics import paired_difference, saving_at_no_less_reward
from erp.metrics.routing import clip_curve, require_points
from erp.rounding import MEAN, all_equal, size_of, snapped

SAME = 1e-9
"""Shares, and distances in units of the pool's ranges, that are rounding."""


def aiq(
    curve_cost: NDArray[np.floating],
    curve_reward: NDArray[np.floating],
    members_cost: NDArray[np.floating],
    members_reward: NDArray[np.floating],
) -> float:
    r"""Average improvement in quality: area under the curve's non-decreasing upper convex hull, over the cost range.

    .. math:: \frac{1}{c_{max} - c_{min}} \int_{c_{min}}^{c_{max}} \mathrm{hull}(c) \, dc

    The range and the start are those of `erp.metrics.routing.audc`: every curve starts at the pool's cheapest member,
    points cheaper than c_min count from c_min on, points dearer than c_max are outside. The hull rises to the best
    reward inside the range and stays flat to c_max. A straight piece of it is what tossing a coin between two policies
    earns, so AIQ is never below AUDC. Source: RouterBench (Hu et al., arXiv 2403.12031).

    Args:
        curve_cost: (P,) mean costs, any order.
        curve_reward: (P,) mean rewards.
        members_cost: (M,) mean cost of every pool member.
        members_reward: (M,) mean reward of every pool member. Of several cheapest, the best is the start.

    Returns:
        A mean reward over budgets; NaN where all members cost the same.

    Raises:
        ErpError: when lengths differ, there is no point, or a number is not finite.
    """
    cost, reward, (c_min, c_max) = clip_curve(curve_cost, curve_reward, members_cost, members_reward)
    if all_equal(members_cost):
        return float("nan")
    cost, reward = _upper_hull(cost, reward)
    return float(np.trapezoid(np.append(reward, reward[-1]), np.append(cost, c_max)) / (c_max - c_min))


def apgr(
    strong_share: NDArray[np.floating], reward: NDArray[np.floating], weak_reward: float, strong_reward: float
) -> float:
    r"""Average performance gap recovered by a router between a weak and a strong member.

    .. math:: \frac{\int_0^1 R(s) \, ds - R_{weak}}{R_{strong} - R_{weak}}

    with R linear between the router's points and the end points (0, R_weak) and (1, R_strong), and no running maximum:
    routing at random scores .5. Points of equal share count as their mean. Strong shares are the costs of
    ``exact_curve(scores, c, rewards, c)`` with c = (0, 1). Source: RouteLLM (Ong et al., arXiv 2406.18665).

    Args:
        strong_share: (P,) share of prompts sent to the strong member, 0 to 1, any order.
        reward: (P,) mean rewards.
        weak_reward: mean reward of the weak member.
        strong_reward: mean reward of the strong member.

    Returns:
        The share of the gap; NaN where the strong member is not better: there is no gap to recover.

    Raises:
        ErpError: when lengths differ, a number is not finite or a share is not within 0 and 1.
    """
    share, path = _pair_path(strong_share, reward, weak_reward, strong_reward)
    if not _is_better(strong_reward, weak_reward):
        return float("nan")
    return float((np.trapezoid(path, share) - weak_reward) / (strong_reward - weak_reward))


def cpt(
    strong_share: NDArray[np.floating],
    reward: NDArray[np.floating],
    weak_reward: float,
    strong_reward: float,
    x: float,
) -> float:
    """Call-performance threshold: the smallest share of strong calls that recovers a share x of the gap.

    Where the running maximum of `apgr`'s path first reaches R_weak + x (R_strong - R_weak); later falls do not matter.
    Source: RouteLLM (Ong et al., arXiv 2406.18665).

    Args:
        strong_share: (P,) as in `apgr`.
        reward: (P,) mean rewards.
        weak_reward: mean reward of the weak member.
        strong_reward: mean reward of the strong member.
        x: share of the gap, 0 or more; above 1 asks for more than the strong member earns.

    Returns:
        A share of prompts; NaN when never reached or where the strong member is not better.

    Raises:
        ErpError: as `apgr`, and on an x that is negative or not finite.
    """
    if not 0 <= x < np.inf:
        raise ErpError(f"x = {x}: not a share of the gap; 0 or more, finite, is allowed; .5 and .8 are usual")
    share, path = _pair_path(strong_share, reward, weak_reward, strong_reward)
    if not _is_better(strong_reward, weak_reward):
        return float("nan")
    target = weak_reward + x * (strong_reward - weak_reward)
    reached = np.flatnonzero(path >= target - MEAN * size_of(path, target))
    if not len(reached):
        return float("nan")
    at = reached[0]
    if at == 0:
        return float(share[0])
    return float(np.interp(target, path[at - 1 : at + 1], share[at - 1 : at + 1]))


@dataclass(frozen=True)
class Gain:
    """What a router gains over the best single member. Units of reward and of cost, or shares of the single's.

    Attributes:
        perf_gain: PerfGain, mean reward above the best single's.
        cost_save: CostSave, mean cost below the best single's; None where the router earns less than it by more
            than the margin.
        perf_gain_ratio: as a share of its reward; None if any reward is below 0 or its mean is 0.
        cost_save_ratio: as a share of its cost; None where `cost_save` is, or if any cost is below 0 or its mean is 0.
    """

    perf_gain: float
    cost_save: float | None
    perf_gain_ratio: float | None
    cost_save_ratio: float | None


def gain(router: Outcome, single: Outcome, margin: float = 0.0) -> Gain:
    """PerfGain and CostSave of one outcome, that of the lambda chosen on validation.

    LLMRouterBench (Li et al., arXiv 2601.07206) takes the best point seen on test for each; that is not done here.

    Args:
        router: outcome on N prompts.
        single: outcome of the best single member (chosen on train) on the same prompts.
        margin: what the router may earn less than it and still save, reward units.

    Raises:
        ErpError: when lengths differ or a reward or cost is not finite.
    """
    perf = paired_difference("reward", router.reward, single.reward)
    save = saving_at_no_less_reward(router, single, margin)
    reward_scale, cost_scale = single.mean_reward, single.mean_cost
    rewards_have_ratios = min(router.reward.min(), single.reward.min()) >= 0 and reward_scale > 0
    costs_have_ratios = min(router.cost.min(), single.cost.min()) >= 0 and cost_scale > 0
    return Gain(
        perf_gain=perf,
        cost_save=save,
        perf_gain_ratio=perf / reward_scale if rewards_have_ratios else None,
        cost_save_ratio=save / cost_scale if save is not None and costs_have_ratios else None,
    )


@dataclass(frozen=True)
class Pareto:
    """Where a router stands against the joint frontier.

    Attributes:
        distance: ParetoDist, mean distance of its points to the frontier; 0 where all are on it.
        on_frontier: how many of its points are on the frontier.
        rivals: names of the other routers with points on the frontier, in the order given.
    """

    distance: float
    on_frontier: int
    rivals: tuple[str, ...]


def pareto(
    curves: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    members_cost: NDArray[np.floating],
    members_reward: NDArray[np.floating],
) -> dict[str, Pareto]:
    """Distance of every router's points to the frontier of all routers' points together.

    The frontier is the points for which no other point costs no more and earns no less, one of them strictly. Distance
    is Euclidean, to the nearest frontier point, with cost and reward in units of the pool's ranges. Unlike an area it
    depends on who is compared, hence the rivals; and on the points given: thin all curves alike. ParetoDist of
    LLMRouterBench (Li et al., arXiv 2601.07206), with the pool's scale.

    Args:
        curves: name -> (P,) mean costs and (P,) mean rewards; P may differ.
        members_cost: (M,) mean cost of every pool member.
        members_reward: (M,) mean reward of every pool member.

    Returns:
        name -> place; distances are NaN where all members cost the same, or earn the same: no scale.

    Raises:
        ErpError: when no router is given, lengths differ, or a number is not finite.
    """
    if not curves:
        raise ErpError(
            "curves = nothing: no frontier; one router or more is allowed; give the costs and rewards of each"
        )
    points = {name: np.stack(require_points(f"curve of {name}", *curve), axis=1) for name, curve in curves.items()}
    members = np.stack(require_points("members", members_cost, members_reward))
    has_scale = not any(all_equal(axis) for axis in members)
    scale = np.array([1.0 if all_equal(axis) else np.ptp(axis) for axis in members])
    # Curves in the pool's units, so that a shift of all rewards or costs moves nothing, ties included.
    every = np.concatenate(list(points.values()))
    every = np.stack([snapped(axis, MEAN, size_of(axis)) for axis in every.T], axis=1)
    scaled = (every - every.min(axis=0)) / scale
    from scipy.spatial import KDTree  # here, because it is slow to import

    tree = KDTree(np.stack(_frontier(*scaled.T), axis=1))
    ends = np.cumsum([len(own) for own in points.values()])[:-1]
    away = dict(zip(points, (tree.query(own)[0] for own in np.split(scaled, ends)), strict=True))
    on = {name: int((distances <= SAME).sum()) for name, distances in away.items()}
    return {
        name: Pareto(
            distance=float(distances.mean()) if has_scale else float("nan"),
            on_frontier=on[name],
            rivals=tuple(other for other in curves if other != name and on[other]),
        )
        for name, distances in away.items()
    }


def _is_better(strong: float, weak: float) -> bool:
    """Whether there is a gap to recover, beyond rounding."""
    return strong - weak > MEAN * size_of(strong, weak)


def _frontier(
    cost: NDArray[np.float64], reward: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The points that no other dominates, each once: strictly ascending in cost and in reward."""
    order = np.lexsort((-reward, cost))
    cost, reward = cost[order], reward[order]
    better = np.append(True, reward[1:] > np.maximum.accumulate(reward)[:-1])
    return cost[better], reward[better]


def _upper_hull(
    cost: NDArray[np.float64], reward: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Vertices of the upper convex hull from the cheapest point to the best (Andrew's monotone chain)."""
    hull: list[tuple[float, float]] = []
    for c, r in zip(*(axis.tolist() for axis in _frontier(cost, reward)), strict=True):
        while len(hull) > 1:
            (c0, r0), (c1, r1) = hull[-2:]
            if (r1 - r0) * (c - c0) > (r - r0) * (c1 - c0):
                break
            hull.pop()  # on or below the line from the one before it to the new point
        hull.append((c, r))
    vertices = np.array(hull)
    return vertices[:, 0], vertices[:, 1]


def _pair_path(
    share: NDArray[np.floating], reward: NDArray[np.floating], weak: float, strong: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distinct strong shares in ascending order, 0 and 1 among them, and the mean reward at each."""
    share, reward = require_points("curve", share, reward)
    if not np.isfinite([weak, strong]).all():
        raise ErpError(f"weak, strong = {weak}, {strong}: not finite; two mean rewards are allowed; drop missing cells")
    if share.min() < -SAME or share.max() > 1 + SAME:
        raise ErpError(
            f"strong shares = {share.min()} to {share.max()}: not shares; 0 to 1 is allowed; count the calls to the "
            "strong member as 1 and those to the weak one as 0"
        )
    shares, at = np.unique(np.concatenate([[0.0, 1.0], np.clip(share, 0, 1)]), return_inverse=True)
    sums = np.bincount(at, weights=np.concatenate([[weak, strong], reward]))
    return shares, sums / np.bincount(at)
