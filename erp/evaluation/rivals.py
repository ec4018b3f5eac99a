"""The router among others: on the joint frontier, and between a weak and a strong member."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from erp.decisions.curve import Curve, exact_curve
from erp.evaluation.held_out import HeldOut
from erp.metrics.benchmarks import apgr, cpt, pareto
from erp.rounding import CELL, MEAN, all_equal, size_of, snapped

FRONTIER_POINTS = 200  # of each curve: distances depend on the points given, so all are thinned alike


def pareto_section(held_out: HeldOut, curves: Mapping[str, Curve]) -> dict[str, Any] | None:
    """The section ``pareto``: distance of the curves to the frontier of all of them and all members; None for one cost.

    The oracle is no rival: it would be the frontier.
    """
    cost, reward = held_out.means
    if all_equal(cost):
        return None
    points = {name: curve.thin(FRONTIER_POINTS) for name, curve in curves.items() if name != "oracle"}
    rivals = {name: (curve.cost, curve.reward) for name, curve in points.items()}
    single = {f"member: {name}": (cost[[m]], reward[[m]]) for m, name in enumerate(held_out.members)}
    found = pareto(rivals | single, cost, reward)
    return {
        name: {
            "distance": found[name].distance,
            "on_frontier": found[name].on_frontier / len(rivals[name][0]),
            "rivals": list(found[name].rivals),
        }
        for name in rivals
    }


def pair_section(held_out: HeldOut) -> dict[str, Any] | None:
    """The section ``pair``: APGR and CPT between the cheapest member and the best single; None where they are one.

    The strong member is chosen on train, as the weak one is by its mean cost there.
    """
    price = snapped(held_out.train_mean_cost, MEAN)
    strong, weak = held_out.single(), int(price.argmin())
    if not price[weak] < price[strong]:
        return None
    members, calls = [weak, strong], np.array([0.0, 1.0])
    # Every threshold on the difference, from "all to the strong one" on: where 0 lies does not matter.
    scores = held_out.scores[:, members]
    ahead = snapped(scores[:, 1] - scores[:, 0], CELL, 2 * size_of(scores))
    ahead = ahead - ahead.min() + (np.ptp(ahead) or 1.0)
    curve = exact_curve(np.stack([np.zeros_like(ahead), ahead], axis=1), calls, held_out.rewards[:, members], calls)
    low, high = held_out.rewards[:, weak].mean(), held_out.rewards[:, strong].mean()
    return {
        "weak": held_out.members[weak],
        "strong": held_out.members[strong],
        "weak_reward": low,
        "strong_reward": high,
        "apgr": apgr(curve.cost, curve.reward, low, high),
        **{f"cpt_{round(100 * x)}": cpt(curve.cost, curve.reward, low, high, x) for x in (0.5, 0.8)},
    }
