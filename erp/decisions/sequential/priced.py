"""What the policies share that weigh a reward against a price: laws of what answers may be worth, and a lambda."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_lambda
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Calibration, Floats, State, finite, not_calibrated, number_in
from erp.decisions.sequential.laws import Beta, Law, Normal, Points, ZeroOne
from erp.decisions.sequential.policy import Plan, SequentialPolicy, numbers_in
from erp.decisions.sequential.residuals import Residuals
from erp.decisions.sequential.tuning import Practice
from erp.errors import ErpError

Kind = Literal["predicted", "zero_one", "beta", "normal"]
LAMBDAS = 30
"""Prices tried on validation, and shown along the curve; one more is 0."""


@dataclass(frozen=True, eq=False)
class Learnt:
    """What validation told.

    Attributes:
        kind: of the laws.
        residuals: of single rewards.
        low, high: the least and the largest single reward; ends of Beta laws.
        scoring: what scoring one answer costs.
        lambda_: reward per unit of cost.
    """

    kind: Kind
    residuals: Residuals
    low: float
    high: float
    scoring: float
    lambda_: float = math.nan


class PricedPolicy(SequentialPolicy):
    """Asks as long as what an answer may add is worth its price, lambda * (its cost + that of scoring it).

    A router that predicts a distribution (``quantile``) or a spread (``mean_and_spread``) is taken at its word; the
    spread of other routers is what their predictions missed of single rewards on validation.

    Args:
        lambda_: reward per unit of cost, finite; None: the one that earns the most on validation within the budget.
        budget: mean cost of a prompt on validation to stay within, scoring included, in units of the cost; read where
            lambda is None. None: what the router costs there at lambda = 0.
        law: of the rewards: ``zero_one``, ``beta`` on their range, ``normal``, or the router's ``predicted`` quantiles;
            ``auto``: predicted if it has some, zero_one and beta for rewards of 0 or 1 and in [0, 1], else normal.
        repeats: how often one member may be asked (best of n).

    Raises:
        ErpError: on a negative, infinite or NaN lambda, a negative budget, repeats below 1.
    """

    needs_reward_scale: ClassVar[bool] = True

    def __init__(
        self,
        lambda_: float | None = None,
        budget: float | None = None,
        law: Literal["auto", "predicted", "zero_one", "beta", "normal"] = "auto",
        repeats: int = 1,
    ) -> None:
        if lambda_ is not None and math.isinf(require_lambda(lambda_)):
            raise ErpError("policy.lambda = inf: no reward would count; a finite price is allowed; lower it")
        if budget is not None and not budget >= 0:
            raise ErpError(f"policy.budget = {budget}: no mean cost to keep; 0 or more is allowed; raise it")
        if repeats < 1:
            raise ErpError(f"policy.repeats = {repeats}: nobody could be asked; 1 or more is allowed; raise it")
        self.lambda_, self.budget, self.law, self.repeats = lambda_, budget, law, repeats
        self._known: Learnt | None = None

    @property
    def label(self) -> str:
        """With its lambda."""
        return f"{self.name}, lambda = {'chosen on validation' if self.lambda_ is None else f'{self.lambda_:g}'}"

    def calibrate(self, known: Calibration) -> None:
        """Measure what predictions miss, and choose lambda, on validation."""
        practice = Practice.of(known, self.name, self.repeats)
        rewards = practice.samples.reward
        seen = rewards[~np.isnan(rewards)]
        residuals = Residuals.of(practice.forecast.scores, rewards)
        kind = self._kind(seen, practice.forecast)
        self._known = Learnt(kind, residuals, float(seen.min()), float(seen.max()), known.scoring)
        if self.lambda_ is None:
            self.lambda_ = practice.tune(self, self.dials(practice.forecast.costs), self.budget)

    def dials(self, costs: Floats) -> list[float]:
        """Lambdas: 0, and a geometric row up to where no reward in their range is worth the cheapest answer."""
        known = self._learnt()
        priced = np.asarray(costs, dtype=np.float64) + known.scoring
        most, least = float(priced.max()), float(priced[priced > 0].min(initial=np.inf))
        width = known.high - known.low
        if not math.isfinite(least) or width <= 0:
            return [0.0]
        return [0.0, *np.geomspace(0.001 * width / most, 2 * width / least, LAMBDAS).tolist()]

    def start(self, forecast: Forecast, dial: float | None = None) -> Plan:
        """The plan for n prompts, at the policy's lambda or at another."""
        known, lambda_ = self._learnt(), self.lambda_ if dial is None else dial
        assert lambda_ is not None
        return self._plan(known, forecast, self._laws(forecast), lambda_ * (forecast.costs + known.scoring))

    @abstractmethod
    def _plan(self, known: Learnt, forecast: Forecast, laws: Law, price: Floats) -> Plan:
        """With what validation told; laws and prices are (n, M)."""

    def state(self) -> State:
        """What validation told."""
        known = self._learnt()
        assert self.lambda_ is not None
        return {
            "lambda": finite(self.lambda_),
            "law": known.kind,
            "low": known.low,
            "high": known.high,
            "scoring": known.scoring,
            "shared": known.residuals.shared.ravel().tolist(),
            "single": known.residuals.single.tolist(),
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        single, shared = numbers_in(state, "single", self), numbers_in(state, "shared", self)
        if state.get("law") not in ("predicted", "zero_one", "beta", "normal") or len(shared) != len(single) ** 2:
            raise ErpError(f"policy = {self.name}: its state is damaged; what `state` gave is allowed; train again")
        low, high, scoring = (number_in(state, key, self) for key in ("low", "high", "scoring"))
        kind: Kind = state["law"]  # type: ignore[assignment]  # one of these, as was checked
        self._known = Learnt(kind, Residuals(shared.reshape(len(single), -1), single), low, high, scoring)
        self.lambda_ = number_in(state, "lambda", self)

    def _laws(self, forecast: Forecast) -> Law:
        """What an answer of each member may be worth, (n, M)."""
        known = self._learnt()
        scores = np.asarray(forecast.scores, dtype=np.float64)
        if known.kind == "zero_one":
            return ZeroOne(scores)
        if known.kind == "predicted":
            if forecast.points is None or forecast.weights is None:  # scores alone tell where it lies, not its shape
                return Normal(scores, np.broadcast_to(np.sqrt(known.residuals.single), scores.shape))
            return Points(np.asarray(forecast.points), np.asarray(forecast.weights))
        spread = np.broadcast_to(np.sqrt(known.residuals.single), scores.shape)
        if forecast.spread is not None and not np.isnan(forecast.spread).any():
            # Answers differ by the predicted spread; what is shared by all of a member's is the prediction's own error.
            spread = np.sqrt(np.square(forecast.spread) + np.diag(known.residuals.shared))
        return Beta(scores, spread, known.low, known.high) if known.kind == "beta" else Normal(scores, spread)

    def _kind(self, seen: NDArray[np.float64], forecast: Forecast) -> Kind:
        """Of the laws, by the single rewards that were seen. Raises ErpError where it cannot be the one asked for."""
        told, zero_one = forecast.points is not None, bool(np.isin(seen, (0.0, 1.0)).all())
        if self.law == "predicted" and not told:
            raise ErpError(
                "policy.law = predicted: the router predicts no quantiles; router=quantile does; choose it, or law=auto"
            )
        if self.law == "zero_one" and not zero_one:
            raise ErpError("policy.law = zero_one: rewards are not all 0 or 1; beta and normal are allowed; choose one")
        if self.law == "beta" and seen.min() == seen.max():
            raise ErpError("policy.law = beta: all rewards are equal; choose law=normal")
        if self.law != "auto":
            return self.law
        if zero_one:
            return "zero_one"
        bounded = seen.min() >= 0 and seen.max() <= 1 and seen.min() < seen.max()
        return "predicted" if told else "beta" if bounded else "normal"

    def _learnt(self) -> Learnt:
        if self._known is None:
            raise not_calibrated(self)
        return self._known
