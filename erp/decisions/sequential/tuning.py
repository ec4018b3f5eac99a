"""Choosing a sequential policy's dial on validation: the most reward within a mean cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import choose
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Calibration
from erp.decisions.sequential.policy import SequentialPolicy
from erp.decisions.sequential.simulate import simulate
from erp.errors import ErpError
from erp.rounding import MEAN, size_of
from erp.table.samples import Samples


@dataclass(frozen=True, eq=False)
class Practice:
    """Validation prompts whose single rewards are known: what a policy is tuned on.

    Attributes:
        forecast: of the n prompts.
        samples: rewards (n, M, K).
        costs: (n, M) observed, of one answer.
        scoring: of one answer.
    """

    forecast: Forecast
    samples: Samples
    costs: NDArray[np.floating]
    scoring: float

    @classmethod
    def of(cls, known: Calibration, policy: str, repeats: int) -> Practice:
        """From what a policy may learn from. Raises ErpError where no prompt has enough single rewards."""
        seen = known.validation
        samples = seen.samples
        if samples is None or seen.forecast is None or seen.costs is None:
            raise ErpError(
                f"policy = {policy}: looks at the rewards of single answers, and no validation prompt has one of every "
                "member; give the separate responses (target.kind=mean), or choose another policy"
            )
        enough = (samples.count >= repeats).all(axis=1)
        if not enough.any():
            raise ErpError(
                f"policy.repeats = {repeats}: no validation prompt has so many single rewards of every member; "
                f"{int(samples.count.min(axis=1).max())} at most are allowed; lower it"
            )
        some = Samples(samples.reward[enough], samples.count[enough], samples.rows[enough])
        return cls(seen.forecast.take(some.rows), some, seen.costs[some.rows], known.scoring)

    @property
    def budget(self) -> float:
        """What the router costs here at lambda = 0."""
        chosen = choose(self.forecast.scores, self.forecast.costs, 0.0)
        return float(self.costs[np.arange(len(chosen)), chosen].mean())

    def tune(self, policy: SequentialPolicy, dials: Sequence[float], budget: float | None) -> float:
        """The dial that earns the most within the budget (None: the router's); of equal ones the cheapest.

        Where none fits, the cheapest of all.
        """
        found = [simulate(policy.start(self.forecast, dial), self.samples, self.costs, self.scoring) for dial in dials]
        cost = np.array([each.mean_cost for each in found])
        reward = np.array([each.mean_reward for each in found])
        limit = self.budget if budget is None else budget
        fits = cost <= limit + MEAN * size_of(cost)
        if not fits.any():
            return dials[int(cost.argmin())]
        fits &= reward >= reward[fits].max() - MEAN * size_of(reward)
        return dials[int(np.where(fits, cost, np.inf).argmin())]
