"""A decision is a `Choice`: for every prompt, the weight of every pool member.

Routers, constants, random and oracles are all choices, so one function, `outcome`, scores them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_costs, require_finite, require_lambda, require_matrix
from erp.errors import ErpError
from erp.rounding import CELL, snapped, tied_for_most

BLOCK = 16_384
"""Rows decided at once: utilities of a block stay in cache, whatever the number of prompts."""


@dataclass(frozen=True, eq=False)
class Choice:
    """Who answers what.

    Attributes:
        weights: (N, M) float64, row-stochastic; a row with one 1 sends the prompt to one member.
    """

    weights: NDArray[np.float64]

    def __post_init__(self) -> None:
        require_matrix("choice weights", self.weights)
        # Not `abs(...) > tolerance`: a NaN must fail too.
        if not ((self.weights >= 0).all() and (np.abs(self.weights.sum(axis=1) - 1) <= 1e-9).all()):
            raise ErpError(
                "choice weights: a row is negative or does not sum to 1; probabilities are allowed; normalise"
            )


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a choice earned and cost.

    Attributes:
        reward: (N,) expected reward of every prompt under the choice's weights.
        cost: (N,) the same of cost.
        shares: (M,) share of prompts that went to every member.
    """

    reward: NDArray[np.float64]
    cost: NDArray[np.float64]
    shares: NDArray[np.float64]

    @property
    def mean_reward(self) -> float:
        """Mean reward over prompts."""
        return float(self.reward.mean())

    @property
    def mean_cost(self) -> float:
        """Mean cost over prompts."""
        return float(self.cost.mean())


def choose(
    scores: NDArray[np.floating],
    costs: NDArray[np.floating],
    lambda_: float,
    allowed: NDArray[np.bool_] | None = None,
    rounding: float = CELL,
) -> NDArray[np.int64]:
    """The decision rule: argmax of scores - lambda * cost.

    Ties go to the cheapest, then to pool order. At lambda = infinity the cheapest member wins; among equally cheap
    ones the best score, then pool order. What differs by rounding ties, at every scale of scores and costs.

    Args:
        scores: (N, M) predicted rewards.
        costs: (M,) or (N, M) predicted costs.
        lambda_: reward per unit of cost, 0 to infinity.
        allowed: (N, M) who may answer, at least one in every row; None: all.
        rounding: share of a score or cost that may be rounding.

    Returns:
        (N,) position of the chosen member.

    Raises:
        ErpError: on a score or cost that is not finite, on shapes that do not fit, on a lambda below 0.
    """
    lambda_ = require_lambda(lambda_)
    shape = require_matrix("scores", scores)
    require_costs("costs", costs, shape)
    chosen = np.empty(len(scores), dtype=np.int64)
    order = np.argsort(snapped(costs, rounding), kind="stable") if costs.ndim == 1 and allowed is None else None
    for start in range(0, len(scores), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.asarray(scores[rows], dtype=np.float64)
        require_finite("scores", block, start)
        if order is not None:
            chosen[rows] = _choose_in_order(block, costs, order, lambda_, rounding)
        else:
            of_rows = np.broadcast_to(costs, shape)[rows]
            may = None if allowed is None else allowed[rows]
            chosen[rows] = _choose_by_cell_cost(block, of_rows, lambda_, may, rounding)
    return chosen


def _choose_in_order(
    scores: NDArray[np.float64], costs: NDArray[np.floating], order: NDArray[np.int64], lambda_: float, rounding: float
) -> NDArray[np.int64]:
    """`choose` with one cost per member: columns in order of cost make argmax's "first" mean "cheapest"."""
    if math.isinf(lambda_):
        cheapest = snapped(costs, rounding)[order]
        order, lambda_ = order[cheapest == cheapest[0]], 0.0
    utility = scores[:, order]
    errors = np.abs(utility)
    if lambda_ > 0:
        price = lambda_ * costs[order]
        utility = utility - price
        errors += np.abs(price)
    errors *= rounding
    chosen: NDArray[np.int64] = order[tied_for_most(utility, errors).argmax(axis=1)]
    return chosen


def _choose_by_cell_cost(
    scores: NDArray[np.float64],
    costs: NDArray[np.floating],
    lambda_: float,
    allowed: NDArray[np.bool_] | None,
    rounding: float,
) -> NDArray[np.int64]:
    """`choose` with a cost per prompt and member: the first criterion's ties are decided by the second."""
    sizes = np.abs(costs)
    if math.isinf(lambda_):
        tied = tied_for_most(-costs, rounding * sizes, allowed)
        tied = tied_for_most(scores, rounding * np.abs(scores), tied)
    else:
        errors = rounding * (np.abs(scores) + lambda_ * sizes)
        tied = tied_for_most(scores - lambda_ * costs, errors, allowed)
        tied = tied_for_most(-costs, rounding * sizes, tied)
    chosen: NDArray[np.int64] = tied.argmax(axis=1)
    return chosen


def one_hot(members: NDArray[np.integer], m: int) -> Choice:
    """The choice that sends prompt i to ``members[i]`` (N,), out of ``m`` members."""
    weights = np.zeros((len(members), m))
    weights[np.arange(len(members)), members] = 1.0
    return Choice(weights)


def constant(member: int, n: int, m: int) -> Choice:
    """The choice that sends all ``n`` prompts to one of ``m`` members."""
    return one_hot(np.full(n, member), m)


def uniform(n: int, m: int) -> Choice:
    """Random routing of ``n`` prompts over ``m`` members, as an exact expectation rather than a draw."""
    return Choice(np.full((n, m), 1.0 / m))


def outcome(choice: Choice, rewards: NDArray[np.floating], costs: NDArray[np.floating]) -> Outcome:
    """What a choice earns and costs on a table.

    A missing reward (NaN) of a member that has no weight does not matter; of one that has weight, it stays NaN.

    Args:
        choice: weights (N, M).
        rewards: (N, M) observed rewards.
        costs: (N, M) or (M,) observed costs.

    Raises:
        ErpError: when the shapes do not fit.
    """
    weights = choice.weights
    if rewards.shape != weights.shape or costs.shape not in (weights.shape, weights.shape[1:]):
        raise ErpError(
            f"outcome: weights of shape {weights.shape} do not fit rewards of shape {rewards.shape} and costs of shape "
            f"{costs.shape}; equal shapes are allowed; take the same prompts and members for all three"
        )
    used = weights > 0
    return Outcome(
        reward=np.where(used, weights * rewards, 0.0).sum(axis=1),
        cost=np.where(used, weights * costs, 0.0).sum(axis=1),
        shares=weights.mean(axis=0),
    )
