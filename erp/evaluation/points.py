"""Single points of the curve: the run's policy, the lambdas chosen on validation, and the best constant at equal cost.

A router is worth something only against what needs no router: the same mixture of members for every prompt, at what
the router spends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from erp.decisions.choice import Outcome
from erp.decisions.curve import Curve, members_along
from erp.decisions.policy import Policy, price_notes
from erp.decisions.policy_budget import BudgetPolicy
from erp.decisions.policy_guarantee import GuaranteePolicy
from erp.decisions.references import best_constant
from erp.evaluation.held_out import Floats, HeldOut, means, plain
from erp.metrics.benchmarks import gain
from erp.metrics.intervals import GroupBootstrap, Interval, as_they_are, better_than_constant, together
from erp.metrics.risk import coverage, spending
from erp.rounding import MEAN, difference, size_of
from erp.units import UNITS

FIRST_ONLY = "rewards of single answers are not known here: what the policy earns is that of whom it asks first"
TESTED = 40  # lambdas at most, evenly spaced in changes of the policy, that are tested for the best single's reward


@dataclass(frozen=True)
class Chosen:
    """What was chosen on validation, for test to be read at.

    Attributes:
        most_reward: lambda of the largest mean reward on validation; PerfGain is read there.
        same_reward: the cheapest lambda shown on validation to earn no less than the best single member, but for the
            margin; CostSave is read there. None where that is shown of none.
        margin: what it may earn less, reward units.
        difference: of reward to the best single member on validation at ``same_reward``; its low end is above -margin.
            None with it, and in a run of before the lambda was chosen by its interval.
    """

    most_reward: float
    same_reward: float | None
    margin: float = 0.0
    difference: Interval | None = None


def choose_lambdas(validation: HeldOut, bootstrap: Mapping[str, Any], margin: float = 0.0) -> Chosen | None:
    """Operating points from the exact curve on validation; None where no prompt has all its cells.

    The cheapest lambda whose *mean* reached the best single's reward would miss it on other prompts half of the time.
    So lambdas are tested in turn, from 0 up, each against "it earns less than the best single member by the margin or
    more", until the first that does not pass. Such a sequence needs no correction for its length: the order does not
    depend on validation's rewards, and all that passed hold together at the level of the interval's one end.

    Args:
        validation: prompts the router was not fitted on.
        bootstrap: settings ``draws, seed, level`` of the interval.
        margin: what may be earned less than the best single member, reward units, 0 or more.
    """
    complete = validation.complete()
    if not complete.size[0]:
        return None
    curve = complete.curve()
    writable = np.isfinite(curve.lambdas * max(unit.size for unit in UNITS.values()))
    curve = Curve(curve.lambdas[writable], curve.cost[writable], curve.reward[writable])
    # Ties go to the largest lambda, the cheapest in prediction.
    most = np.flatnonzero(curve.reward >= curve.reward.max() - MEAN * size_of(curve.reward))[-1]
    tested = curve.thin(TESTED)
    along = members_along(complete.scores, complete.predicted_costs, tested.lambdas)
    rows, single = np.arange(complete.size[0]), complete.rewards[:, complete.single()]
    draws = GroupBootstrap(complete.groups, **bootstrap)
    apart = (difference(complete.rewards[rows, members], single)[:, None] for members in along)
    found = [only for (only,) in together((draws, column, as_they_are) for column in apart)]
    passed = list(takewhile(lambda at: found[at].low > -margin, range(len(found))))
    same = min(passed, key=lambda at: (tested.cost[at], -at), default=None)
    return Chosen(
        float(curve.lambdas[most]),
        None if same is None else float(tested.lambdas[same]),
        margin,
        None if same is None else found[same],
    )


def outcomes_at(held_out: HeldOut, policy: Outcome, chosen: Chosen | None) -> dict[str, Outcome]:
    """What the router earns at every point that is reported."""
    points = {"lambda_0": held_out.routed(held_out.choice(0.0)), "policy": policy}
    if chosen is not None:
        points["most_reward"] = held_out.routed(held_out.choice(chosen.most_reward))
        if chosen.same_reward is not None:
            points["same_reward"] = held_out.routed(held_out.choice(chosen.same_reward))
    return points


def point_gains(held_out: HeldOut, points: Mapping[str, Outcome], policy_lambda: float) -> dict[str, Floats]:
    """Per prompt, what the points' intervals are of: differences to the best single and to the constant."""
    base = held_out.constant(held_out.single())
    columns = {}
    for name, point in points.items():
        constant = held_out.rewards @ constant_weights(held_out, point.mean_cost)
        columns[f"{name}_constant"] = difference(point.reward, constant)[:, None]
        columns[f"{name}_reward"] = difference(point.reward, base.reward)[:, None]
        columns[f"{name}_cost"] = difference(base.cost, point.cost)[:, None]
    own = held_out.constant(held_out.single(policy_lambda))
    gained = difference(points["policy"].reward, own.reward)[:, None]
    columns["policy_gain"] = gained
    if math.isfinite(policy_lambda):
        columns["policy_utility"] = gained - policy_lambda * difference(points["policy"].cost, own.cost)[:, None]
    return columns


def constant_weights(held_out: HeldOut, cost: float) -> Floats:
    """The best constant at this cost, (M,): chosen by rewards on train, mixed to what it costs here."""
    return best_constant(held_out.train_mean_reward, held_out.means[0], cost)


def policy_section(
    held_out: HeldOut,
    own: Outcome,
    policy: Policy,
    intervals: Mapping[str, list[Interval]],
    level: float,
    played: bool = True,
) -> dict[str, Any]:
    """The run's own policy beside the best single member at its lambda; at infinity utilities are infinite: None.

    ``lambda`` is None at infinity, and 0 for a policy that has none; ``label`` says what it is; a policy that looks at
    rewards and was not ``played`` stands there by whom it asks first.
    """
    lambda_ = policy.lambda_ or 0.0
    single = held_out.single(lambda_)
    utility = intervals.get("policy_utility")
    return {
        "name": policy.name,
        "label": policy.label,
        "notes": [*policy.notes(), *price_notes(policy, held_out.scale), *(() if played else (FIRST_ONLY,))],
        "lambda": lambda_,
        **means(own),
        "utility": None if utility is None else own.mean_reward - lambda_ * own.mean_cost,
        "promise": promise_section(held_out, policy, level),
        "best_single_member": held_out.members[single],
        "best_single_reward": held_out.rewards[:, single].mean(),
        "best_single_cost": held_out.costs[:, single].mean(),
        "gain_vs_best_single": plain(intervals["policy_gain"][0]),
        "utility_gain_vs_best_single": None if utility is None else plain(utility[0]),
        "shares": dict(zip(held_out.members, own.shares, strict=True)),
    }


def promise_section(held_out: HeldOut, policy: Policy, level: float) -> dict[str, Any] | None:
    """What a policy that promises something kept of it on test; None for those that promise nothing."""
    if isinstance(policy, BudgetPolicy):
        spent = spending(held_out.decided(policy), policy.mean_budget, held_out.predicted_costs, held_out.costs)
        return {"budget": spent.budget, "predicted": spent.predicted, "realised": spent.realised}
    if isinstance(policy, GuaranteePolicy):
        covered = coverage(
            held_out.decided(policy), held_out.rewards, held_out.groups, reference=policy.reference_position,
            tolerated_loss=policy.tolerated_loss, alpha=policy.alpha, level=level,
        )  # fmt: skip
        reference = held_out.members[policy.reference_position]
        return {**asdict(covered), "verdict": covered.verdict, "reference": reference}
    return None


def equal_cost_section(
    held_out: HeldOut, points: Mapping[str, Outcome], intervals: Mapping[str, list[Interval]]
) -> dict[str, Any]:
    """The section ``equal_cost``: at every point, the best constant at its cost, and whether the router beats it."""
    found = {}
    for name, point in points.items():
        weights = constant_weights(held_out, point.mean_cost)
        difference = intervals[f"{name}_constant"][0]
        cost, reward = held_out.means
        found[name] = {
            **means(point),
            "constant": {held_out.members[m]: float(weights[m]) for m in np.flatnonzero(weights)},
            "constant_reward": float(reward @ weights),
            "constant_cost": float(cost @ weights),
            "difference": plain(difference),
            "verdict": better_than_constant(difference),
        }
    return found


def chosen_section(
    held_out: HeldOut, points: Mapping[str, Outcome], chosen: Chosen | None, intervals: Mapping[str, list[Interval]]
) -> dict[str, Any]:
    """The sections ``perf_gain`` and ``cost_save``, at the lambdas chosen on validation; None where there is none."""
    base = held_out.constant(held_out.single())
    found: dict[str, Any] = {"perf_gain": None, "cost_save": None}
    for name, point in (("perf_gain", "most_reward"), ("cost_save", "same_reward")):
        if chosen is None or point not in points:
            continue
        own = gain(points[point], base, chosen.margin)
        found[name] = {
            "lambda": getattr(chosen, point),
            **means(points[point]),
            "reward_gain": plain(intervals[f"{point}_reward"][0]),
            "cost_saved": plain(intervals[f"{point}_cost"][0]),
            "value": own.perf_gain if name == "perf_gain" else own.cost_save,
            "ratio": own.perf_gain_ratio if name == "perf_gain" else own.cost_save_ratio,
        }
    return found
