"""From scores on held-out prompts to every number of a report, beside every reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from erp.decisions.choice import one_hot
from erp.decisions.curve import members_along
from erp.decisions.policy import Policy
from erp.decisions.sequential.policy import SequentialPolicy
from erp.errors import ErpError
from erp.evaluation.along import along_section, areas, every_curve, stored
from erp.evaluation.disagreement import disagreement_section
from erp.evaluation.economics import Labels, economics_section
from erp.evaluation.held_out import HeldOut, named_intervals
from erp.evaluation.overlaps import overlaps_section
from erp.evaluation.points import (
    Chosen,
    chosen_section,
    equal_cost_section,
    outcomes_at,
    point_gains,
    policy_section,
)
from erp.evaluation.predicted_costs import predicted_costs_section
from erp.evaluation.prediction import prediction_section
from erp.evaluation.rivals import pair_section, pareto_section
from erp.evaluation.routing import Sampled, reference_rows, routing_gains, routing_section
from erp.evaluation.run_time import play, run_time, run_time_gains, run_time_section
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.routing import audc, regret

DECISIONS = (
    *(
        "routing",
        "disagreement",
        "policy",
        "equal_cost",
        "rewards_at_run_time",
        "curves",
        "audc",
        "aiq",
        "perf_gain",
        "cost_save",
    ),
    *("pair", "pareto", "economics", "interval", "shares", "regret"),
)
"""Sections of prompts that have a reward of every member: None where there is no such prompt."""
INTERVAL_POINTS = 40  # lambdas at which the router's curve gets an interval


def evaluate(
    held_out: HeldOut,
    policy: Policy,
    bootstrap: Mapping[str, Any],
    chosen: Chosen | None = None,
    sampled: Sampled | None = None,
    labels: Labels | None = None,
) -> dict[str, Any]:
    """The sections of ``results.json`` that follow from scores and observations; docs/method.md lists them.

    Predictions are judged on every held-out cell, decisions on the prompts whose cells are all present, and in pairs
    on those that have both rewards. Where no prompt has all its cells the sections of decisions are None.

    Args:
        held_out: prompts the router was neither fitted nor chosen on.
        policy: what the run decides by, beside lambda = 0 and the whole curve.
        bootstrap: its settings ``draws, seed, level``.
        chosen: lambdas chosen on validation.
        sampled: what separate samples tell of the complete prompts.
        labels: what the labels cost; None where no costs are known.

    Raises:
        ErpError: no held-out prompt has a reward, or a score is not finite.
    """
    if not held_out.targets.count.any():
        raise ErpError(
            "pool.members: no test prompt has a reward, so nothing can be judged; give a table that has some"
        )
    every, rows = GroupBootstrap(held_out.groups, **bootstrap), np.flatnonzero(held_out.targets.complete)
    decisions: dict[str, Any] = dict.fromkeys(DECISIONS)
    complete, draws = None, None
    if len(rows):
        draws = every if len(rows) == len(held_out.rewards) else every.of(rows)
        level = bootstrap.get("level", 0.95)
        complete = held_out.complete()
        decisions = _decisions(complete, policy, draws, level, chosen, sampled or Sampled(), labels)
    return {
        "prediction": prediction_section(held_out, every),
        "predicted_costs": predicted_costs_section(held_out, every, complete, draws),
        **decisions,
        "overlaps": overlaps_section(held_out, every),
    }


def _decisions(
    complete: HeldOut,
    policy: Policy,
    draws: GroupBootstrap,
    level: float,
    chosen: Chosen | None,
    sampled: Sampled,
    labels: Labels | None,
) -> dict[str, Any]:
    """The sections `DECISIONS`, of prompts whose cells are all present."""
    rows, curves = reference_rows(complete, sampled), every_curve(complete)
    played = run_time(complete, policy, sampled)
    own = complete.routed(complete.decided(policy)) if played is None else played.own
    points = outcomes_at(complete, own, chosen)
    lambdas = curves["router"].thin(INTERVAL_POINTS).lambdas
    along = members_along(complete.scores, complete.predicted_costs, lambdas)
    once = [] if played is None else [complete.routed(one_hot(members, complete.size[1])) for members in along]
    # With many groups, drawing is what takes the time: all intervals are had in one pass.
    intervals = named_intervals(
        routing_gains(complete, rows)
        | point_gains(complete, points, policy.lambda_ or 0.0)
        | {"along": np.take_along_axis(complete.rewards, along.T, axis=1)}
        | ({} if played is None else run_time_gains(complete, played, once, rows)),
        draws,
    )
    return {
        "routing": routing_section(complete, rows, intervals, sampled, draws),
        "disagreement": disagreement_section(complete, sampled.samples, draws),
        "policy": policy_section(
            complete, own, policy, intervals, level, played is not None or not policy.needs_samples
        ),
        "equal_cost": equal_cost_section(complete, points, intervals),
        "rewards_at_run_time": run_time_section(played, rows, intervals),
        "curves": {name: stored(curve) for name, curve in curves.items()},
        **areas(complete, curves),
        **chosen_section(complete, points, chosen, intervals),
        "pair": pair_section(complete),
        "pareto": pareto_section(complete, curves),
        "economics": economics_section(complete, points, labels),
        **along_section(complete, lambdas, along, intervals["along"]),
        "regret": regret(complete.choice(0.0), complete.rewards, complete.costs, 0.0),
    }


def utility(held_out: HeldOut, policy: Policy, sampled: Sampled | None = None) -> float:
    """Mean realised reward - lambda * cost of the policy's choice; NaN where no prompt has all its cells.

    One that looks at rewards is played on what was ``sampled`` of the complete prompts.

    A policy without a lambda keeps costs in bounds of its own: what is left to compare is reward.
    """
    complete = held_out.complete()
    if not len(complete.rewards):
        return math.nan
    played = play(complete, policy, sampled or Sampled()) if isinstance(policy, SequentialPolicy) else None
    result, lambda_ = played or complete.routed(complete.decided(policy)), policy.lambda_ or 0.0
    return -result.mean_cost if math.isinf(lambda_) else result.mean_reward - lambda_ * result.mean_cost


def area(held_out: HeldOut) -> float:
    """AUDC of the router's curve; NaN where no prompt has all its cells or all members cost the same."""
    complete = held_out.complete()
    if not len(complete.rewards):
        return math.nan
    curve = complete.curve()
    return audc(curve.cost, curve.reward, *complete.means)
