"""What happens along the curves, from lambda = 0 to infinity: points, areas, intervals, who is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.curve import Curve
from erp.evaluation.held_out import Floats, HeldOut
from erp.metrics.benchmarks import aiq
from erp.metrics.economics import share_entropy, share_to_dearest
from erp.metrics.intervals import Interval
from erp.metrics.routing import audc

STORED_POINTS = 500  # of each curve, in results.json


def every_curve(held_out: HeldOut) -> dict[str, Curve]:
    """Reward against cost over every lambda, of the router and its references."""
    curves = {"router": held_out.curve()}
    if held_out.category_scores is not None:
        curves["category_mean"] = held_out.curve(held_out.category_scores)
    # The oracle decides by what was observed, costs included.
    knowing = replace(held_out, scores=held_out.rewards, predicted_costs=held_out.costs, read_first=0.0)
    return curves | {"oracle": knowing.curve()}


def stored(curve: Curve) -> dict[str, Any]:
    """A curve as it stands in ``results.json``, thinned."""
    thin = curve.thin(STORED_POINTS)
    return {"lambda": thin.lambdas, "cost": thin.cost, "reward": thin.reward}


def areas(held_out: HeldOut, curves: Mapping[str, Curve]) -> dict[str, dict[str, float]]:
    """The sections ``audc`` and ``aiq``: of every curve, and of the best single member as one."""
    cost, reward = held_out.means
    single = [held_out.single()]
    points = {name: (curve.cost, curve.reward) for name, curve in curves.items()}
    points["best_single"] = (cost[single], reward[single])
    return {
        "audc": {name: audc(*point, cost, reward) for name, point in points.items()},
        "aiq": {name: aiq(*point, cost, reward) for name, point in points.items()},
    }


def along_section(
    held_out: HeldOut, lambdas: Floats, members: NDArray[np.int64], rewards: list[Interval]
) -> dict[str, Any]:
    """The interval of the router's curve and who is chosen along it, both of the same choices (L, N)."""
    costs = np.take_along_axis(held_out.costs, members.T, axis=1).mean(axis=0) + held_out.read_first
    shares = np.stack([(members == m).mean(axis=1) for m in range(held_out.size[1])], axis=1)
    entropy, evenness = share_entropy(shares)
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
            "members": dict(zip(held_out.members, shares.T, strict=True)),
            "entropy": entropy,
            "evenness": evenness,
            "dearest": share_to_dearest(shares, held_out.means[0]),
        },
    }
