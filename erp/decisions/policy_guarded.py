"""A guard: the best single member answers unless a prompt's neighbours say clearly that another does better."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_lambda
from erp.decisions.choice import Choice, choose, one_hot
from erp.decisions.policy import (
    Calibration,
    Floats,
    Policy,
    State,
    not_calibrated,
    position_in,
    require_scores_and_costs,
)
from erp.decisions.references import best_single
from erp.errors import ErpError
from erp.rounding import CELL

BLOCK = 1_000_000  # neighbours' rewards looked at at once: a few copies of 8 MB


class GuardedPolicy(Policy):
    """Leave the best single member b only for a member that is better beyond the noise of the neighbourhood.

    Over the k neighbours j of a prompt, d_j = u_jm - u_jb with u = reward - lambda * predicted cost. Member m may
    answer if mean(d) > z sd(d) / sqrt(k), with k the neighbours where both have a reward and sd with k - 1 below. Of b
    and those who may, the lambda rule takes one. With one such neighbour there is no sd: m may not answer, unless
    z = 0, which asks for no more than mean(d) > 0.

    Args:
        z: standard errors to be ahead, 0 to infinity (always b). 1.645 is a one-sided 95%, for one rival.
        lambda_: reward per unit of cost, finite; b is chosen on train at it.

    Raises:
        ErpError: on a negative or NaN z, on a lambda that is no finite price.
    """

    name = "guarded"
    needs_reward_scale = True
    needs_neighbours = True
    lambda_: float

    def __init__(self, z: float = 1.645, lambda_: float = 0.0) -> None:
        if not z >= 0:
            raise ErpError(f"policy.z = {z}: no number of standard errors; 0 or more is allowed; raise it")
        self.z, self.lambda_ = float(z), require_lambda(lambda_)
        if math.isinf(lambda_):
            raise ErpError(
                "policy.lambda = inf: no reward would count, so there is nothing to guard; a finite price is allowed; "
                "lower it, or choose policy=lambda"
            )
        self._single: int | None = None

    @property
    def needs_costs(self) -> bool:
        """Only a price above 0 weighs costs."""
        return self.lambda_ > 0

    @property
    def label(self) -> str:
        """With z and lambda."""
        return f"guarded, z = {self.z:g}, lambda = {self.lambda_:g}"

    def calibrate(self, known: Calibration) -> None:
        """Which member is the best single one on train."""
        self._single = best_single(known.train_mean_reward, known.train_mean_cost, self.lambda_)

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Decide; see `Policy.choose`. Each row stands for itself, so blocks of prompts can be decided in turn.

        Raises:
            ErpError: as there, and without neighbours.
        """
        single = self._learnt()
        n, m = require_scores_and_costs(scores, costs)
        if neighbours is None:
            raise ErpError(
                "policy = guarded: was given no neighbours' rewards; (prompts, k, members) are allowed; choose "
                "router=knn, or another policy"
            )
        if neighbours.ndim != 3 or (neighbours.shape[0], neighbours.shape[2]) != (n, m) or single >= m:
            raise ErpError(
                f"neighbours = array of shape {neighbours.shape}: does not fit scores of shape {(n, m)} and the best "
                f"single member at position {single}; (prompts, k, members) of one pool are allowed; take the same "
                "prompts and members for both"
            )
        premium = self.lambda_ * (costs - costs[..., single, None])  # (M,) or (N, M) of each member over b
        ahead = _ahead(neighbours, single, np.broadcast_to(premium, (n, m)), self.z)
        ahead[:, single] = True
        return one_hot(choose(scores, costs, self.lambda_, ahead), m)

    def state(self) -> State:
        """The best single member's position."""
        return {"best_single": self._learnt()}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        self._single = position_in(state, "best_single", self)

    def _learnt(self) -> int:
        if self._single is None:
            raise not_calibrated(self)
        return self._single


def _ahead(neighbours: Floats, single: int, premium: Floats, z: float) -> NDArray[np.bool_]:
    """Where mean(d) > z sd(d) / sqrt(k), (N, M)."""
    n, k, m = neighbours.shape
    ahead = np.zeros((n, m), dtype=bool)
    if math.isinf(z):
        return ahead
    step = max(1, BLOCK // (max(k, 1) * m))
    for start in range(0, n, step):
        rows = slice(start, start + step)
        block = np.asarray(neighbours[rows], dtype=np.float64)
        d = block - block[:, :, single, None] - premium[rows, None]
        sizes = np.abs(block) + np.abs(block[:, :, single, None]) + np.abs(premium[rows, None])
        d[np.abs(d) <= CELL * sizes] = 0.0
        present = ~np.isnan(d)
        count = present.sum(axis=1)
        mean = np.where(present, d, 0.0).sum(axis=1) / np.maximum(count, 1)
        rounding = CELL * np.where(present, sizes, 0.0).sum(axis=1) / np.maximum(count, 1)  # .1 + .2 - .3 is no lead
        squares = (np.where(present, d - mean[:, None], 0.0) ** 2).sum(axis=1)
        variance = np.where(count > 1, squares / np.maximum(count - 1, 1), np.inf)
        bar = z * np.sqrt(variance / np.maximum(count, 1)) if z > 0 else np.zeros_like(mean)
        ahead[rows] = (count > 0) & (mean > bar + rounding)
    return ahead
