"""A tolerance: the cheapest member that is predicted to be almost the best."""

from __future__ import annotations

import math

import numpy as np

from erp.decisions.choice import Choice, choose, one_hot
from erp.decisions.policy import Floats, Policy, require_scores_and_costs
from erp.errors import ErpError
from erp.rounding import CELL


class TolerancePolicy(Policy):
    """The cheapest member whose predicted reward is within tau of the best predicted one.

    Source: IPR (2509.06274), whose tolerance runs from 0 (the best) to 1 (the cheapest); ours is in reward units, from
    0 (the lambda rule at 0) to infinity (the cheapest). Of equally cheap members the best score, then pool order.

    Args:
        tau: in reward units, 0 to infinity.

    Raises:
        ErpError: on a negative or NaN tau.
    """

    name = "tolerance"
    needs_reward_scale = True

    def __init__(self, tau: float = 0.0) -> None:
        if not tau >= 0:
            raise ErpError(f"policy.tau = {tau}: no tolerance; 0 or more, in reward units, is allowed; raise it")
        self.tau = float(tau)

    @property
    def needs_costs(self) -> bool:
        """At tau = 0 costs only break ties."""
        return self.tau > 0

    @property
    def label(self) -> str:
        """With its tau."""
        return f"tolerance = {self.tau:g}"

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Decide; see `Policy.choose`."""
        del neighbours
        _, m = require_scores_and_costs(scores, costs)
        scores = np.asarray(scores, dtype=np.float64)
        best = scores.max(axis=1, keepdims=True)
        rounding = CELL * (np.abs(best) + np.abs(scores))  # .8 - .7 is within .1
        allowed = best - scores <= self.tau + rounding
        return one_hot(choose(scores, costs, math.inf, allowed), m)
