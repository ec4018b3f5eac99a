"""From scores on held-out prompts to every number of a report, beside every reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice, Outcome, choose, constant, one_hot, outcome, uniform
from erp.decisions.curve import Curve, exact_curve, members_along
from erp.decisions.policy import LambdaPolicy
from erp.decisions.references import best_single, oracle
from erp.errors import ErpError
from erp.metrics.discrimination import pairwise_order_accuracy, top1_accuracy
from erp.metrics.headroom import headroom_recovered
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.prediction import r2, r2_pooled, rmse
from erp.metrics.routing import audc, regret

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
    rows, curves = _rows(complete), _every_curve(complete)
    own = outcome(policy.choose(complete.scores, complete.predicted_costs), complete.rewards, complete.costs)
    lambdas = curves["router"].thin(INTERVAL_POINTS).lambdas
    along = members_along(complete.scores, complete.predicted_costs, lambdas)
    # With many groups, drawing is what takes the time: all intervals are had in one pass.
    intervals = _intervals(
        _routing_gains(complete, rows)
        | _policy_gains(complete, own, policy.lambda_)
        | {"along": np.take_along_axis(complete.rewards, along.T, axis=1)},
        bootstrap,
    )
    return {
        "prediction": _prediction(held_out),
        "routing": _routing(complete, rows, intervals, _headroom_shares(rows, bootstrap)),
        "policy": _policy(complete, own, policy.lambda_, intervals),
        "curves": {name: _thinned(curve) for name, curve in curves.items()},
        "audc": _areas(complete, curves),
        **_along(complete, lambdas, along, intervals["along"]),
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
    # What a constant gets on the same prompts: the members in the order of their train means, and the best of them.
    by_train_mean = np.broadcast_to(held_out.train_mean_reward, observed.shape)
    single = constant(_single(held_out), *observed.shape).weights
    r2s, errors = (r2(predicted, observed), rmse(predicted, observed)) if in_reward_units else (blank, blank)
    return {
        "members": {
            name: {"r2": r2s[m], "rmse": errors[m], "r2_ceiling": held_out.ceilings[m]}
            for m, name in enumerate(held_out.members)
        },
        "r2_pooled": r2_pooled(predicted, observed) if in_reward_units else None,
        "pairwise_order_accuracy": pairwise_order_accuracy(predicted, observed),
        "pairwise_order_accuracy_constant": pairwise_order_accuracy(by_train_mean, observed),
        "top1_accuracy": top1_accuracy(predicted, observed),
        "top1_accuracy_constant": top1_accuracy(single, observed),
    }


def _decide(scores: Floats, held_out: HeldOut, lambda_: float) -> Choice:
    return one_hot(choose(scores, held_out.predicted_costs, lambda_), len(held_out.members))


def _single(held_out: HeldOut, lambda_: float = 0.0) -> int:
    """The best single member chosen on train."""
    return best_single(held_out.train_mean_reward, held_out.train_mean_cost, lambda_)


def _hindsight(held_out: HeldOut) -> int:
    return best_single(held_out.rewards.mean(axis=0), held_out.costs.mean(axis=0))


def _rows(held_out: HeldOut) -> dict[str, Outcome]:
    """What every row of the report earns and costs at lambda = 0."""
    n, m = held_out.rewards.shape
    choices = {
        "random": uniform(n, m),
        "best_single": constant(_single(held_out), n, m),
        "best_single_hindsight": constant(_hindsight(held_out), n, m),
        "oracle": oracle(held_out.rewards, held_out.costs),
        "router": _decide(held_out.scores, held_out, 0.0),
    }
    if held_out.category_scores is not None:
        choices["category_mean"] = _decide(held_out.category_scores, held_out, 0.0)
    return {name: outcome(choice, held_out.rewards, held_out.costs) for name, choice in choices.items()}


def _intervals(columns: Mapping[str, Floats], bootstrap: GroupBootstrap) -> dict[str, list[Interval]]:
    """Intervals of named columns, (N, D) each, in one pass over the draws."""
    found = iter(bootstrap.intervals(np.concatenate(list(columns.values()), axis=1)))
    return {name: list(islice(found, values.shape[1])) for name, values in columns.items()}


def _routing_gains(held_out: HeldOut, rows: Mapping[str, Outcome]) -> dict[str, Floats]:
    """Per prompt: every row's and member's gain over the best single, and the router's over the category mean."""
    base = rows["best_single"].reward[:, None]
    gains = {
        "rows": np.stack([row.reward for row in rows.values()], axis=1) - base,
        "members": held_out.rewards - base,
    }
    if "category_mean" in rows:
        gains["router_over_category_mean"] = (rows["router"].reward - rows["category_mean"].reward)[:, None]
    return gains


def _headroom_shares(rows: Mapping[str, Outcome], bootstrap: GroupBootstrap) -> dict[str, Interval]:
    """Share of the headroom by row; empty where there may be none."""
    rewards = np.stack([row.reward for row in rows.values()], axis=1)
    shares = headroom_recovered(rewards, rows["best_single"].reward, rows["oracle"].reward, bootstrap)
    return {} if shares is None else dict(zip(rows, shares, strict=True))


def _routing(
    held_out: HeldOut,
    outcomes: Mapping[str, Outcome],
    intervals: Mapping[str, list[Interval]],
    shares: Mapping[str, Interval],
) -> dict[str, Any]:
    """Every row at lambda = 0, with its paired gain over the best single member chosen on train."""
    rows: dict[str, Any] = {"category_mean": None}
    for (name, result), gain in zip(outcomes.items(), intervals["rows"], strict=True):
        share = shares.get(name)
        rows[name] = {
            **_means(result),
            "headroom_recovered": None if share is None else share.mean,
            "headroom_interval": None if share is None else {"low": share.low, "high": share.high},
            "gain_vs_best_single": _plain(gain),
        }
    rows["best_single"]["member"] = held_out.members[_single(held_out)]
    rows["best_single_hindsight"]["member"] = held_out.members[_hindsight(held_out)]
    always = np.flatnonzero(outcomes["router"].shares == 1)
    rows["router"]["constant_member"] = held_out.members[always[0]] if len(always) else None
    difference = intervals.get("router_over_category_mean")
    rows["gain_vs_category_mean"] = None if difference is None else _plain(difference[0])
    rewards, costs, given = held_out.rewards.mean(axis=0), held_out.costs.mean(axis=0), outcomes["router"].shares
    rows["members"] = {
        name: {"reward": rewards[m], "cost": costs[m], "share": given[m], "gain_vs_best_single": _plain(gain)}
        for m, (name, gain) in enumerate(zip(held_out.members, intervals["members"], strict=True))
    }
    return rows


def _policy_gains(held_out: HeldOut, own: Outcome, lambda_: float) -> dict[str, Floats]:
    """Per prompt: the policy's gain over the best single at its lambda, in reward and (lambda finite) in utility."""
    single = _single(held_out, lambda_)
    reward = (own.reward - held_out.rewards[:, single])[:, None]
    if math.isinf(lambda_):
        return {"policy_reward": reward}
    return {
        "policy_reward": reward,
        "policy_utility": reward - lambda_ * (own.cost - held_out.costs[:, single])[:, None],
    }


def _policy(held_out: HeldOut, own: Outcome, lambda_: float, intervals: Mapping[str, list[Interval]]) -> dict[str, Any]:
    """The run's own policy beside the best single member at its lambda; at infinity utilities are infinite: None."""
    single = _single(held_out, lambda_)
    gain = intervals.get("policy_utility")
    return {
        "lambda": lambda_,
        **_means(own),
        "utility": None if gain is None else own.mean_reward - lambda_ * own.mean_cost,
        "best_single_member": held_out.members[single],
        "best_single_reward": held_out.rewards[:, single].mean(),
        "best_single_cost": held_out.costs[:, single].mean(),
        "gain_vs_best_single": _plain(intervals["policy_reward"][0]),
        "utility_gain_vs_best_single": None if gain is None else _plain(gain[0]),
        "shares": dict(zip(held_out.members, own.shares, strict=True)),
    }


def _every_curve(held_out: HeldOut) -> dict[str, Curve]:
    """Reward against cost over every lambda, of the router and its references."""
    scored = {"router": held_out.scores, "category_mean": held_out.category_scores}
    curves = {
        name: exact_curve(scores, held_out.predicted_costs, held_out.rewards, held_out.costs)
        for name, scores in scored.items()
        if scores is not None
    }
    return curves | {"oracle": exact_curve(held_out.rewards, held_out.costs, held_out.rewards, held_out.costs)}


def _areas(held_out: HeldOut, curves: Mapping[str, Curve]) -> dict[str, float]:
    single = _single(held_out)
    means = (held_out.costs.mean(axis=0), held_out.rewards.mean(axis=0))
    areas = {name: _audc(curve, held_out) for name, curve in curves.items()}
    return areas | {"best_single": audc(means[0][[single]], means[1][[single]], *means)}


def _along(held_out: HeldOut, lambdas: Floats, members: NDArray[np.int64], rewards: list[Interval]) -> dict[str, Any]:
    """The interval of the router's curve and who is chosen along it, both of the same choices (L, N)."""
    costs = np.take_along_axis(held_out.costs, members.T, axis=1).mean(axis=0)
    return {
        "interval": {
            "lambda": lambdas,
            "cost": costs,
            "reward": [i.mean for i in rewards],
            "low": [i.low for i in rewards],
            "high": [i.high for i in rewards],
        },
        "shares": {
            "lambda": lambdas,
            "cost": costs,
            "members": {name: (members == m).mean(axis=1) for m, name in enumerate(held_out.members)},
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
