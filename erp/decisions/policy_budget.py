"""A mean budget: lambda found on validation, randomised at the tie, so that the mean predicted cost is the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from erp.decisions.choice import Choice
from erp.decisions.curve import exact_curve, members_along
from erp.decisions.policy import (
    Calibration,
    Floats,
    Policy,
    State,
    finite,
    not_calibrated,
    number_in,
    require_scores_and_costs,
)
from erp.decisions.references import best_single
from erp.errors import ErpError
from erp.rounding import MEAN, size_of


@dataclass(frozen=True)
class _Found:
    """Two neighbouring points of the validation curve and how to mix them."""

    budget: float  # mean predicted cost aimed at
    lambda_below: float  # of the dearer point
    lambda_above: float  # of the cheaper point, the next breakpoint
    share_above: float  # weight of the cheaper point
    least: float  # mean predicted cost on validation at lambda = infinity
    most: float  # the same at lambda = 0


class BudgetPolicy(Policy):
    """As much predicted reward as a mean budget B buys.

    On validation the mean predicted cost of the lambda rule falls in steps, at the breakpoints of its exact curve. B
    lies between two neighbouring points; every prompt is decided by the cheaper one with a weight such that the mean
    predicted cost on validation is B, by the dearer one else. The two differ only on prompts that tie there. Nothing
    holds B on other prompts but that they are like validation: realised cost has to be read beside it.

    Args:
        budget: B, in units of the cost; None for a share of what the best single member costs.
        share_of_best_single: the share, of the mean predicted cost on validation of the member that is best on train;
            read where ``budget`` is None.

    Raises:
        ErpError: neither is given, or a number is negative or NaN.
    """

    name = "budget"

    def __init__(self, budget: float | None = None, share_of_best_single: float | None = 0.5) -> None:
        if budget is None and share_of_best_single is None:
            raise ErpError(
                "policy.budget = null: no budget; a cost of 0 or more is allowed; give policy.budget, or "
                "policy.share_of_best_single"
            )
        for key, value in (("budget", budget), ("share_of_best_single", share_of_best_single)):
            if value is not None and not value >= 0:
                raise ErpError(f"policy.{key} = {value}: no mean cost to keep; 0 or more is allowed; raise it")
        self.budget, self.share_of_best_single = budget, share_of_best_single
        self._found: _Found | None = None

    @property
    def label(self) -> str:
        """With its budget, as it was asked for."""
        if self.budget is not None:
            return f"budget = {self.budget:g}"
        return f"budget = {self.share_of_best_single:g} of best single's cost"

    @property
    def mean_budget(self) -> float:
        """B, in units of the cost; raises ErpError before it was calibrated."""
        return self._learnt().budget

    def calibrate(self, known: Calibration) -> None:
        """Find the two points of the validation curve; rewards are not read."""
        scores, costs = known.validation.scores, known.validation.predicted_costs
        n, m = require_scores_and_costs(scores, costs)
        budget = self.budget
        if budget is None:
            assert self.share_of_best_single is not None
            single = best_single(known.train_mean_reward, known.train_mean_cost)
            budget = self.share_of_best_single * float(np.broadcast_to(costs, (n, m))[:, single].mean())
        curve = exact_curve(scores, costs, scores, costs)  # "realised" is what is predicted
        least, most = float(curve.cost[-1]), float(curve.cost[0])
        hair = MEAN * size_of(least, most)
        if budget <= least + hair:
            below, above, share = math.inf, math.inf, 0.0
        elif budget >= most - hair:
            below, above, share = 0.0, 0.0, 0.0
        else:
            p = int(np.flatnonzero(curve.cost >= budget - hair)[-1])  # so the next point costs less than the budget
            below, above = float(curve.lambdas[p]), float(curve.lambdas[p + 1])
            share = float(max(curve.cost[p] - budget, 0.0) / (curve.cost[p] - curve.cost[p + 1]))
        self._found = _Found(budget, below, above, share, least, most)

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """The mixture of the two points' choices; see `Policy.choose`."""
        del neighbours
        found = self._learnt()
        n, m = require_scores_and_costs(scores, costs)
        below, above = members_along(scores, costs, np.array([found.lambda_below, found.lambda_above]))
        weights, rows = np.zeros((n, m)), np.arange(n)
        weights[rows, below] = 1.0
        differ = np.flatnonzero(below != above)
        weights[differ, below[differ]] = 1 - found.share_above
        weights[differ, above[differ]] = found.share_above
        return Choice(weights)

    def state(self) -> State:
        """Budget, the two lambdas, the mixture, and the range of budgets that validation could meet."""
        return {key: finite(value) for key, value in asdict(self._learnt()).items()}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        self._found = _Found(*(number_in(state, key, self) for key in _Found.__dataclass_fields__))

    def notes(self) -> tuple[str, ...]:
        """Where the budget could not be met, or was not needed."""
        found = self._learnt()
        rounding = MEAN * size_of(found.least, found.most)
        if found.budget < found.least - rounding:
            return (
                "The budget is less than the cheapest choice costs on validation: every prompt goes to its cheapest "
                "member, above the budget",
            )
        if found.budget > found.most + rounding:
            return (
                "The budget is more than the router spends on validation where cost is free: it does not bind, and "
                "lambda is 0",
            )
        return ()

    def _learnt(self) -> _Found:
        if self._found is None:
            raise not_calibrated(self)
        return self._found
