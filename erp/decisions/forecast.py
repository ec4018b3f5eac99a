"""What is known of prompts before anybody is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is known of n prompts before anybody is asked.

    Attributes:
        scores: (n, M) the router's.
        costs: (n, M) predicted, of one answer, without scoring it.
        spread: (n, M) predicted standard deviation between answers; None for a router that tells none.
        points: (n, M, Q) predicted quantiles of an answer's reward; None likewise.
        weights: (Q,) of each of them in the distribution.
    """

    scores: Floats
    costs: Floats
    spread: Floats | None = None
    points: Floats | None = None
    weights: Floats | None = None

    def take(self, rows: NDArray[np.int64]) -> Forecast:
        """These prompts only, by position."""
        spread, points = (None if each is None else each[rows] for each in (self.spread, self.points))
        return Forecast(self.scores[rows], self.costs[rows], spread, points, self.weights)
