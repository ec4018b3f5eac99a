"""BEST-Route: how many answers of whom to ask for, decided before the first one comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from erp.decisions.forecast import Floats, Forecast
from erp.decisions.policy import Calibration, State, finite, not_calibrated, number_in
from erp.decisions.sequential.policy import STOP, Plan, Rows, Seen, SequentialPolicy, numbers_in
from erp.decisions.sequential.tuning import Practice
from erp.errors import ErpError

THRESHOLDS = 40
"""Quantiles of what is predicted on validation that are tried there, and shown along the curve."""


@dataclass(frozen=True, eq=False)
class BestOf(Plan):
    """Ask the member of the cheapest arm that is likely enough as often as the arm says, and return its best answer.

    Attributes:
        matches: (n, M, J) chance that the best of 1 to J answers is good enough.
        price: (n, M, J) of asking for them.
        threshold: chance that is enough; where no arm reaches it, the likeliest arms are.
        repeats: J.
    """

    matches: Floats
    price: Floats
    threshold: float
    repeats: int = 1

    def arms(self, rows: Rows, away: NDArray[np.bool_] | None = None) -> tuple[Rows, Rows]:
        """Of these prompts (k,) the member, and how often it is asked; 0 where everybody is away (k, M)."""
        absent = np.zeros((len(rows), self.matches.shape[1], 1), bool) if away is None else away[:, :, None]
        matches = np.where(absent, -np.inf, self.matches[rows])
        enough = ~absent & (matches >= np.minimum(self.threshold, matches.max(axis=(1, 2), keepdims=True)))
        arm = np.where(enough, self.price[rows], np.inf).reshape(len(rows), -1).argmin(axis=1)
        times = np.where(enough.any(axis=(1, 2)), arm % self.repeats + 1, 0)
        return np.asarray(arm // self.repeats), times

    def next(self, seen: Seen) -> Rows:
        """The member, until it was asked so often; one that does not answer any more is not followed by another."""
        asked = seen.count.sum(axis=1)
        member, times = self.arms(seen.rows, seen.away)
        goes_on = (asked < times) & ((asked == 0) | (member == seen.last))
        return np.where(goes_on, member, STOP)


class BestRoutePolicy(SequentialPolicy):
    """Of all members and numbers of answers, the cheapest that is likely enough to do as well as the reference.

    BEST-Route (2506.22716): ``router=best_route`` predicts the chance of each, and has 1 for the reference, who answers
    once where nothing cheaper passes the threshold. Asking j times costs j times, scoring included.

    Args:
        threshold: chance that is enough; None: the one that earns the most on validation within the budget.
        budget: mean cost of a prompt on validation to stay within, scoring included, in units of the cost; read where
            the threshold is None. None: what the router costs there at lambda = 0, the reference for every prompt.

    Raises:
        ErpError: on a threshold outside [0, 1], a negative budget.
    """

    name = "best_route"
    needs_matches: ClassVar[bool] = True

    def __init__(self, threshold: float | None = None, budget: float | None = None) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ErpError(f"policy.threshold = {threshold}: is no chance; 0 to 1 is allowed; give one")
        if budget is not None and not budget >= 0:
            raise ErpError(f"policy.budget = {budget}: no mean cost to keep; 0 or more is allowed; raise it")
        self.threshold, self.budget = threshold, budget
        self._scoring: float | None = None
        self._dials: list[float] = []

    @property
    def label(self) -> str:
        """With its threshold."""
        return f"best_route, threshold = {'chosen on validation' if self.threshold is None else f'{self.threshold:g}'}"

    def calibrate(self, known: Calibration) -> None:
        """Choose the threshold on validation, where it is not given."""
        forecast = known.validation.forecast
        practice = Practice.of(known, self.name, 1 if forecast is None else _matches(forecast).shape[2])
        self._scoring = known.scoring
        told = np.unique(np.quantile(_matches(practice.forecast), np.linspace(0, 1, THRESHOLDS), method="higher"))
        self._dials = told.tolist()
        if self.threshold is None:
            self.threshold = practice.tune(self, self._dials, self.budget)

    def dials(self, costs: Floats) -> list[float]:
        """Thresholds from the one that everything passes to the one that only the likeliest does."""
        del costs
        self._learnt()
        return self._dials

    def start(self, forecast: Forecast, dial: float | None = None) -> Plan:
        """The plan for n prompts, at the policy's threshold or at another."""
        scoring, threshold = self._learnt(), self.threshold if dial is None else dial
        assert threshold is not None
        matches = _matches(forecast)
        most = matches.shape[2]
        price = (np.asarray(forecast.costs, dtype=np.float64) + scoring)[:, :, None] * np.arange(1, most + 1)
        return BestOf(matches, price, threshold, most)

    def state(self) -> State:
        """The threshold, those along the curve, and what scoring costs."""
        scoring = self._learnt()
        assert self.threshold is not None
        dials = [finite(dial) for dial in self._dials]
        return {"threshold": finite(self.threshold), "dials": dials, "scoring": scoring}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        self.threshold = number_in(state, "threshold", self)
        self._dials = numbers_in(state, "dials", self).tolist()
        self._scoring = number_in(state, "scoring", self)

    def _learnt(self) -> float:
        """What scoring one answer costs."""
        if self._scoring is None:
            raise not_calibrated(self)
        return self._scoring


def _matches(forecast: Forecast) -> Floats:
    """(n, M, J) chances; scores alone are those of one answer."""
    return forecast.scores[:, :, None] if forecast.matches is None else forecast.matches
