"""Rewards at run time: a policy that looks at them, played on held-out prompts beside what does not, at equal cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erp.decisions.alternatives import run_cascade
from erp.decisions.choice import Outcome
from erp.decisions.policy import Policy
from erp.decisions.sequential.policy import SequentialPolicy
from erp.decisions.sequential.simulate import Played, simulate
from erp.evaluation.held_out import Floats, HeldOut, means, plain
from erp.evaluation.points import constant_weights
from erp.evaluation.routing import Sampled
from erp.metrics.intervals import Interval
from erp.rounding import difference

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Of the range of costs along the policy's curve: where it is set beside the others."""


@dataclass(frozen=True, eq=False)
class RunTime:
    """A policy that looks at rewards, played on N prompts.

    Attributes:
        own: at its own dial.
        along: at every other, from one end to the other.
        cascades: those chosen on validation for rising mean costs.
        scoring: what scoring one answer costs.
    """

    own: Played
    along: Sequence[Played]
    cascades: Sequence[Outcome]
    scoring: float


def play(held_out: HeldOut, policy: SequentialPolicy, sampled: Sampled) -> Played | None:
    """A policy at its own dial; None where not every prompt has separate samples.

    Args:
        held_out: N complete prompts.
        policy: calibrated.
        sampled: what separate samples tell of them.
    """
    samples = sampled.samples
    if samples is None or len(samples.rows) != held_out.size[0]:
        return None
    return held_out.paid(simulate(policy.start(held_out.forecast), samples, held_out.costs, sampled.scoring))


def run_time(held_out: HeldOut, policy: Policy, sampled: Sampled) -> RunTime | None:
    """A policy and everything beside it; None for a policy that looks at no reward, and as `play`."""
    if not isinstance(policy, SequentialPolicy) or (own := play(held_out, policy, sampled)) is None:
        return None
    samples, forecast = sampled.samples, held_out.forecast
    assert samples is not None
    along = [
        held_out.paid(simulate(policy.start(forecast, dial), samples, held_out.costs, sampled.scoring))
        for dial in policy.dials(forecast.costs)
    ]
    paid = held_out.costs + sampled.scoring
    cascades = [run_cascade(cascade, samples, paid) for cascade in sampled.cascades]
    return RunTime(own, along, cascades, sampled.scoring)


def at_cost(points: Sequence[Outcome], cost: float) -> Floats:
    """Reward (N,) of the mixture of two points of a curve whose mean cost is this one; rewards play no part in it.

    The two whose costs are nearest on either side. Beyond the ends, the end: what is dearer cannot be had for less, and
    what spends no more stays as it is.
    """
    order = sorted(points, key=lambda point: point.mean_cost)
    costs = np.array([point.mean_cost for point in order])
    above = int(np.searchsorted(costs, cost, side="right"))
    if above == 0 or above == len(order):
        return order[min(above, len(order) - 1)].reward
    low, high = order[above - 1], order[above]
    share = (cost - costs[above - 1]) / (costs[above] - costs[above - 1])
    return np.asarray((1 - share) * low.reward + share * high.reward)


def costs_beside(found: RunTime) -> list[float]:
    """Where the policy is set beside the others: its own mean cost, then shares of the range of its curve."""
    along = [point.mean_cost for point in found.along]
    least, most = min(along), max(along)
    return [found.own.mean_cost, *(least + share * (most - least) for share in SHARES)]


def run_time_gains(
    held_out: HeldOut, found: RunTime, router: Sequence[Outcome], rows: Mapping[str, Outcome]
) -> dict[str, Floats]:
    """Per prompt: the policy's rewards less those of the others at equal cost, and its rewards along its curve."""
    router_s, cascades, constants = [], [], []
    for i, cost in enumerate(costs_beside(found)):
        mine = found.own.reward if i == 0 else at_cost(found.along, cost)
        weights = constant_weights(held_out, cost)
        router_s.append(difference(mine, at_cost(router, cost)))
        constants.append(difference(mine, held_out.rewards @ weights))
        if found.cascades:
            cascades.append(difference(mine, at_cost(found.cascades, cost)))
    columns = {"run_time_router": router_s, "run_time_constant": constants, "run_time_cascade": cascades}
    columns["run_time_along"] = [point.reward for point in found.along]
    columns["run_time_all"] = [difference(found.own.reward, rows["sample_all"].reward)]
    return {name: np.stack(each, axis=1) for name, each in columns.items() if each}


def run_time_section(
    found: RunTime | None, rows: Mapping[str, Outcome], intervals: Mapping[str, list[Interval]]
) -> dict[str, Any] | None:
    """The section ``rewards_at_run_time``."""
    if found is None:
        return None
    cascades = intervals.get("run_time_cascade")
    along = intervals["run_time_along"]
    return {
        **means(found.own),
        "calls": found.own.calls.mean(),
        "scoring": found.scoring,
        "less_sample_all": plain(intervals["run_time_all"][0]),
        "cost_of_sample_all": rows["sample_all"].mean_cost,
        "beside": [
            {
                "cost": cost,
                "reward": float((found.own.reward if i == 0 else at_cost(found.along, cost)).mean()),
                "less_router": plain(intervals["run_time_router"][i]),
                "less_constant": plain(intervals["run_time_constant"][i]),
                "less_cascade": None if cascades is None else plain(cascades[i]),
            }
            for i, cost in enumerate(costs_beside(found))
        ],
        "curve": {
            "cost": [point.mean_cost for point in found.along],
            "reward": [point.mean_reward for point in found.along],
            "low": [i.low for i in along],
            "high": [i.high for i in along],
            "calls": [float(point.calls.mean()) for point in found.along],
        },
        "cascades": {
            "cost": [point.mean_cost for point in found.cascades],
            "reward": [point.mean_reward for point in found.cascades],
        },
    }
