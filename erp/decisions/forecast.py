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
        matches: (n, M, J) predicted chance that the best of 1 to J answers does as well as a reference's; likewise.
    """

    scores: Floats
    costs: Floats
    spread: Floats | None = None
    points: Floats | None = None
    weights: Floats | None = None
    matches: Floats | None = None

    def take(self, rows: NDArray[np.int64]) -> Forecast:
        """These prompts only, by position."""
        of_prompts = (self.spread, self.points, self.matches)
        spread, points, matches = (None if each is None else each[rows] for each in of_prompts)
        return Forecast(self.scores[rows], self.costs[rows], spread, points, self.weights, matches)
