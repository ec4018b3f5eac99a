"""Policies turn scores and costs into a `Choice`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_lambda
from erp.decisions.choice import Choice, choose, one_hot


class LambdaPolicy:
    """The paper's rule: the member with the best predicted reward less lambda times its cost.

    Args:
        lambda_: reward per unit of cost, from 0 (cost is free) to infinity (always the cheapest).

    Raises:
        ErpError: on a negative or NaN lambda.
    """

    def __init__(self, lambda_: float = 0.0) -> None:
        self.lambda_ = require_lambda(lambda_)

    def choose(self, scores: NDArray[np.floating], costs: NDArray[np.floating]) -> Choice:
        """Decide for scores (N, M) and costs (M,) or (N, M); see `erp.decisions.choice.choose`."""
        return one_hot(choose(scores, costs, self.lambda_), scores.shape[1])
