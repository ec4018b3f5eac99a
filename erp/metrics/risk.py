"""Whether policies keep on held-out prompts what they promise: realised beside planned cost, and lost prompts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_finite, require_matrix
from erp.decisions.choice import Choice, outcome
from erp.decisions.policy_risk import lost, one_per_group, upper_bound
from erp.errors import ErpError


@dataclass(frozen=True)
class Spending:
    """A mean budget, what was predicted to be spent, and what was spent, in the unit of the costs.

    Attributes:
        budget: mean cost aimed at.
        predicted: mean predicted cost of the choices.
        realised: mean observed cost of the choices.
    """

    budget: float
    predicted: float
    realised: float

    @property
    def over(self) -> float:
        """What was spent above the budget; below 0 where less was spent."""
        return self.realised - self.budget


@dataclass(frozen=True)
class Coverage:
    """How many prompts were lost, among prompts drawn one to a group.

    Attributes:
        lost: share of prompts whose observed loss against the reference is above the tolerated one.
        low, high: two-sided Clopper-Pearson interval of that share.
        prompts: how many, after one was drawn from each group.
        alpha: share that was promised.
    """

    lost: float
    low: float
    high: float
    prompts: int
    alpha: float

    @property
    def verdict(self) -> str:
        """``kept`` or ``broken`` where the whole interval says so, ``open`` where alpha lies in it."""
        if self.high <= self.alpha:
            return "kept"
        return "broken" if self.low > self.alpha else "open"


def spending(
    choice: Choice, budget: float, predicted_costs: NDArray[np.floating], costs: NDArray[np.floating]
) -> Spending:
    """Realised cost of a choice beside the budget.

    Args:
        choice: weights (N, M).
        budget: mean cost aimed at.
        predicted_costs: (M,) or (N, M) what the policy saw.
        costs: (M,) or (N, M) observed.

    Raises:
        ErpError: when the shapes do not fit.
    """
    nothing = np.zeros_like(choice.weights)
    predicted, realised = (outcome(choice, nothing, values).mean_cost for values in (predicted_costs, costs))
    return Spending(float(budget), predicted, realised)


def coverage(
    choice: Choice,
    rewards: NDArray[np.floating],
    groups: NDArray[np.integer],
    *,
    reference: int,
    tolerated_loss: float,
    alpha: float,
    level: float = 0.95,
    seed: int = 0,
) -> Coverage:
    """Share of prompts that a choice loses against a reference member, with an exact interval.

    As in `erp.decisions.policy_guarantee`, one prompt of each group is drawn, so that the trials are independent. A
    choice that is randomised counts by its weights; its interval lies between those of the whole numbers beside it.

    Args:
        choice: weights (N, M).
        rewards: (N, M) observed, none missing, each the mean of as many samples as the policy was calibrated on.
        groups: (N,) codes.
        reference: position of the reference.
        tolerated_loss: t, reward units.
        alpha: share that was promised.
        level: of the interval.
        seed: which prompt of a group is drawn.

    Raises:
        ErpError: on a reward that is not finite, shapes that do not fit, a reference that is no position, a level out
            of range.
    """
    shape = require_matrix("rewards", rewards)
    require_finite("rewards", rewards)
    if choice.weights.shape != shape or groups.shape != shape[:1] or not 0 <= reference < shape[1] or not 0 < level < 1:
        raise ErpError(
            f"coverage: weights of shape {choice.weights.shape}, groups of shape {groups.shape}, reference {reference} "
            f"and level {level} do not fit rewards of shape {shape}; the same prompts, a position in the pool and a "
            "level between 0 and 1 are allowed; repair them"
        )
    rows = one_per_group(groups, seed)
    weight_lost = np.where(lost(rewards, reference, tolerated_loss), choice.weights, 0.0)[rows].sum(axis=1)
    n, count = len(rows), float(np.minimum(weight_lost, 1.0).sum())
    high, not_lost = upper_bound(np.array([count, n - count]), n, (1 + level) / 2)
    return Coverage(count / n, 1 - float(not_lost), float(high), n, float(alpha))
