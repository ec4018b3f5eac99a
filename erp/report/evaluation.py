"""From scores on held-out prompts to every number of a report, beside every reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice, Outcome, choose, constant, one_hot, outcome, uniform
from erp.decisions.curve import Curve, exact_curve, shares_along
from erp.decisions.policy import LambdaPolicy
from erp.decisions.references import best_single, oracle
from erp.errors import ErpError
from erp.metrics.discrimination import pairwise_order_accuracy, top1_accuracy
from erp.metrics.headroom import headroom_recovered
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.prediction import r2, r2_pooled, rmse
from erp.metrics.routing import audc, cost_range, regret

Floats = NDArray[np.float64]
STORED_POINTS = 500  # of each curve, in results.json
INTERVAL_POINTS = 40  # lambdas at which the router's curve gets an interval


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out prompts with what was predicted for them and what was observed.

    Attributes:
        members: the pool, in the order of all columns.
        scores: (N, M) the router's.
        category_scores: (N, M) the category mean's; None without categories.
        rewards: (N, M) observed mean rewards, NaN where missing.
        costs: (N, M) observed costs.
        predicted_costs: (M,) of each member.
        train_mean_reward, train_mean_cost: (M,) what the best single member is chosen on.
        ceilings: (M,) the R^2 that a perfect predictor would reach; NaN where one sample per cell cannot tell.
        groups: (N,) codes; prompts of a group are resampled together.
        scale: of the scores, ``reward`` or ``ordinal``.
    """

    members: tuple[str, ...]
    scores: Floats
    category_scores: Floats | None
    rewards: Floats
    costs: Floats
    predicted_costs: Floats
    train_mean_reward: Floats
    train_mean_cost: Floats
    ceilings: Floats
    groups: NDArray[np.int64]
    scale: str

    def complete(self) -> HeldOut:
        """Only the prompts whose cells are all present: what decisions are compared on."""
        keep = ~np.isnan(self.rewards).any(axis=1)
        category = None if self.category_scores is None else self.category_scores[keep]
        return HeldOut(
            self.members, self.scores[keep], category, self.rewards[keep], self.costs[keep], self.predicted_costs,
            self.train_mean_reward, self.train_mean_cost, self.ceilings, self.groups[keep], self.scale,
        )  # fmt: skip


def evaluate(held_out: HeldOut, policy: LambdaPolicy, bootstrap: GroupBootstrap | Mapping[str, Any]) -> dict[str, Any]:
    """The sections ``prediction, routing, policy, curves, interval, audc, shares, regret`` of ``results.json``.

    Predictions are judged on every held-out cell, decisions on the prompts whose cells are all present.

    Args:
        held_out: prompts the router was neither fitted nor chosen on.
        policy: what the run decides by, beside lambda = 0 and the whole curve.
        bootstrap: over the groups of the complete prompts, or its settings ``draws, seed, level``.

    Raises:
        ErpError: no held-out prompt has all its cells, or a score is not finite.
    """
    complete = held_out.complete()
    if not len(complete.rewards):
        raise ErpError(
            "pool.members: no test prompt has a reward of every member, so nothing can be compared; "
            "name the members that were scored on the same prompts"
        )
    if not isinstance(bootstrap, GroupBootstrap):
        bootstrap = GroupBootstrap(complete.groups, **bootstrap)
    return {
        "prediction": _prediction(held_out),
        "routing": _routing(complete, bootstrap),
        "policy": _policy(complete, policy, bootstrap),
        **_curves(complete, bootstrap),
        "regret": regret(_decide(complete.scores, complete, 0.0), complete.rewards, complete.costs, 0.0),
    }


def utility(held_out: HeldOut, policy: LambdaPolicy) -> float:
    """Mean realised reward - lambda * cost of the policy's choice; NaN where no prompt has all its cells."""
    complete = held_out.complete()
    if not len(complete.rewards):
        return math.nan
    result = outcome(policy.choose(complete.scores, complete.predicted_costs), complete.rewards, complete.costs)
    if math.isinf(policy.lambda_):
        return -result.mean_cost
    return result.mean_reward - policy.lambda_ * result.mean_cost


def area(held_out: HeldOut) -> float:
    """AUDC of the router's curve; NaN where no prompt has all its cells or all members cost the same."""
    complete = held_out.complete()
    if not len(complete.rewards):
        return math.nan
    return _audc(exact_curve(complete.scores, complete.predicted_costs, complete.rewards, complete.costs), complete)


def _prediction(held_out: HeldOut) -> dict[str, Any]:
    """R^2 and friends; null for scores that are not in reward units."""
    predicted, observed = held_out.scores, held_out.rewards
    in_reward_units = held_out.scale == "reward"
    blank = np.full(len(held_out.members), np.nan)
    r2s, errors = (r2(predicted, observed), rmse(predicted, observed)) if in_reward_units else (blank, blank)
    return {
        "members": {
            name: {"r2": r2s[m], "rmse": errors[m], "r2_ceiling": held_out.ceilings[m]}
            for m, name in enumerate(held_out.members)
        },
        "r2_pooled": r2_pooled(predicted, observed) if in_reward_units else None,
        "pairwise_order_accuracy": pairwise_order_accuracy(predicted, observed),
        "top1_accuracy": top1_accuracy(predicted, observed),
    }


def _decide(scores: Floats, held_out: HeldOut, lambda_: float) -> Choice:
    return one_hot(choose(scores, held_out.predicted_costs, lambda_), len(held_out.members))


def _routing(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Every row at lambda = 0, with its paired gain over the best single member chosen on train."""
    n, m = held_out.rewards.shape
    single = best_single(held_out.train_mean_reward, held_out.train_mean_cost)
    hindsight = best_single(held_out.rewards.mean(axis=0), held_out.costs.mean(axis=0))
    choices = {
        "random": uniform(n, m),
        "best_single": constant(single, n, m),
        "best_single_hindsight": constant(hindsight, n, m),
        "oracle": oracle(held_out.rewards, held_out.costs),
        "router": _decide(held_out.scores, held_out, 0.0),
    }
    if held_out.category_scores is not None:
        choices["category_mean"] = _decide(held_out.category_scores, held_out, 0.0)
    outcomes = {name: outcome(choice, held_out.rewards, held_out.costs) for name, choice in choices.items()}
    base, best = outcomes["best_single"].reward, outcomes["oracle"].reward

    gains = bootstrap.intervals(np.stack([o.reward - base for o in outcomes.values()], axis=1))
    rows: dict[str, Any] = {"category_mean": None}
    for (name, result), gain in zip(outcomes.items(), gains, strict=True):
        share = headroom_recovered(result.reward, base, best, bootstrap)
        rows[name] = {
            **_means(result),
            "headroom_recovered": None if share is None else share.mean,
            "headroom_interval": None if share is None else {"low": share.low, "high": share.high},
            "gain_vs_best_single": _plain(gain),
        }
    rows["best_single"]["member"] = held_out.members[single]
    rows["best_single_hindsight"]["member"] = held_out.members[hindsight]
    rows["gain_vs_category_mean"] = None
    if "category_mean" in outcomes:
        difference = outcomes["router"].reward - outcomes["category_mean"].reward
        rows["gain_vs_category_mean"] = _plain(bootstrap.interval(difference))
    rows["members"] = _members(held_out, base, outcomes["router"].shares, bootstrap)
    return rows


def _members(held_out: HeldOut, base: Floats, shares: Floats, bootstrap: GroupBootstrap) -> dict[str, Any]:
    rewards, costs = held_out.rewards.mean(axis=0), held_out.costs.mean(axis=0)
    gains = bootstrap.intervals(held_out.rewards - base[:, None])
    return {
        name: {"reward": rewards[m], "cost": costs[m], "share": shares[m], "gain_vs_best_single": _plain(gains[m])}
        for m, name in enumerate(held_out.members)
    }


def _policy(held_out: HeldOut, policy: LambdaPolicy, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """The run's own policy beside the best single member at the policy's lambda."""
    result = outcome(policy.choose(held_out.scores, held_out.predicted_costs), held_out.rewards, held_out.costs)
    single = best_single(held_out.train_mean_reward, held_out.train_mean_cost, policy.lambda_)
    gain = bootstrap.interval(result.reward - held_out.rewards[:, single])
    return {
        "lambda": policy.lambda_,
        **_means(result),
        "best_single_member": held_out.members[single],
        "gain_vs_best_single": _plain(gain),
        "shares": dict(zip(held_out.members, result.shares, strict=True)),
    }


def _curves(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Reward against cost over every lambda, its interval, its area, and who is chosen along it."""
    scored = {"router": held_out.scores, "category_mean": held_out.category_scores}
    curves = {
        name: exact_curve(scores, held_out.predicted_costs, held_out.rewards, held_out.costs)
        for name, scores in scored.items()
        if scores is not None
    }
    curves["oracle"] = exact_curve(held_out.rewards, held_out.costs, held_out.rewards, held_out.costs)
    single = best_single(held_out.train_mean_reward, held_out.train_mean_cost)
    means = (held_out.costs.mean(axis=0), held_out.rewards.mean(axis=0))
    areas = {name: _audc(curve, held_out) for name, curve in curves.items()}
    areas["best_single"] = audc(means[0][[single]], means[1][[single]], *means)

    lambdas = curves["router"].thin(INTERVAL_POINTS).lambdas
    choices = [_decide(held_out.scores, held_out, lambda_) for lambda_ in lambdas]
    outcomes = [outcome(choice, held_out.rewards, held_out.costs) for choice in choices]
    intervals = bootstrap.intervals(np.stack([o.reward for o in outcomes], axis=1))
    shares = shares_along(held_out.scores, held_out.predicted_costs, lambdas)
    costs = [o.mean_cost for o in outcomes]
    return {
        "cost_range": list(cost_range(held_out.costs)),
        "curves": {name: _thinned(curve) for name, curve in curves.items()},
        "interval": {
            "lambda": lambdas,
            "cost": costs,
            "reward": [i.mean for i in intervals],
            "low": [i.low for i in intervals],
            "high": [i.high for i in intervals],
        },
        "audc": areas,
        "shares": {
            "lambda": lambdas,
            "cost": costs,
            "members": {name: shares[:, m] for m, name in enumerate(held_out.members)},
        },
    }


def _audc(curve: Curve, held_out: HeldOut) -> float:
    return audc(curve.cost, curve.reward, held_out.costs.mean(axis=0), held_out.rewards.mean(axis=0))


def _thinned(curve: Curve) -> dict[str, Any]:
    thin = curve.thin(STORED_POINTS)
    return {"lambda": thin.lambdas, "cost": thin.cost, "reward": thin.reward}


def _means(result: Outcome) -> dict[str, float]:
    return {"reward": result.mean_reward, "cost": result.mean_cost}


def _plain(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
