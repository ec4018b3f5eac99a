"""A cascade: members in a fixed order, until an answer is good enough."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from erp.decisions.alternatives import best_cascade
from erp.decisions.forecast import Floats, Forecast
from erp.decisions.policy import Calibration, State, finite, not_calibrated, number_in
from erp.decisions.sequential.policy import STOP, Plan, Rows, Seen, SequentialPolicy, numbers_in
from erp.decisions.sequential.tuning import Practice
from erp.errors import ErpError, shorten
from erp.rounding import MEAN, snapped

THRESHOLDS = 40
"""Quantiles tried on validation, and shown along the curve, beside both infinities."""


@dataclass(frozen=True, eq=False)
class InTurn(Plan):
    """Ask a chain of members in turn until a reward reaches its bar.

    Attributes:
        chain: (C,) positions.
        bars: (n, C - 1) rewards at which the answer of each member but the last stands.
        returns_best: whether the best answer is returned; else the last one.
    """

    chain: Rows
    bars: Floats
    returns_best: bool = False

    def next(self, seen: Seen) -> Rows:
        """The next of the chain that is left; nobody behind the last, or behind a reward that reaches its bar."""
        k, began = len(seen.rows), seen.last != STOP
        left = seen.left(1)[:, self.chain] > 0
        member = np.where(left.any(axis=1), self.chain[left.argmax(axis=1)], STOP)
        place = (self.chain == seen.last[:, None]).argmax(axis=1)  # of who answered last
        bars = np.column_stack([self.bars[seen.rows], np.full(k, np.inf)])
        reached = seen.rewards[np.arange(k), seen.last, 0] >= bars[np.arange(k), place]
        return np.asarray(np.where(began & reached, STOP, member))


class CascadePolicy(SequentialPolicy):
    """Members in a fixed order, cheap to dear; the first answer whose reward reaches a threshold stands.

    Source: FrugalGPT (2305.05176), with the reward itself as the scorer. Where the threshold is to be chosen and the
    chain is not given, both are searched for as in `erp.decisions.alternatives.best_cascade`.

    Args:
        threshold: in reward units; None: the one that earns the most on validation within the budget.
        bar: ``constant``, or ``predicted``: the threshold is what the answer must be above the best reward that is
            predicted of the members left, so that easy and hard prompts have bars of their own.
        chain: names of members, in the order they are asked; None: chosen with the threshold, else all, cheap to dear.
        budget: mean cost of a prompt on validation to stay within, scoring included, in units of the cost; read where
            the threshold is None. None: what the router costs there at lambda = 0.
        returns_best: return the best answer that came; by default the last one, which is the one that stands.

    Raises:
        ErpError: on a NaN threshold, an empty chain or one that names a member twice, a negative budget.
    """

    name = "cascade"

    def __init__(
        self,
        threshold: float | None = None,
        bar: Literal["constant", "predicted"] = "constant",
        chain: list[str] | None = None,
        budget: float | None = None,
        returns_best: bool = False,
    ) -> None:
        if threshold is not None and math.isnan(threshold):
            raise ErpError("policy.threshold = nan: no reward reaches it; any number or an infinity is allowed")
        if chain is not None and (not chain or len(set(chain)) < len(chain)):
            raise ErpError(f"policy.chain = {chain}: one or more members, each once, are allowed; repair it")
        if budget is not None and not budget >= 0:
            raise ErpError(f"policy.budget = {budget}: no mean cost to keep; 0 or more is allowed; raise it")
        self.threshold, self.bar, self.chain, self.budget = threshold, bar, chain, budget
        self.returns_best = returns_best
        self._order: Rows | None = None
        self._dials: list[float] = []

    @property
    def needs_reward_scale(self) -> bool:  # type: ignore[override]  # it depends on the bar
        """Only a predicted bar is compared with rewards."""
        return self.bar == "predicted"

    @property
    def label(self) -> str:
        """With its threshold."""
        what = "above what is predicted of the members left" if self.bar == "predicted" else ""
        told = "chosen on validation" if self.threshold is None else f"{self.threshold:g}"
        return f"cascade, threshold = {told} {what}".rstrip()

    def calibrate(self, known: Calibration) -> None:
        """Choose the chain and the threshold, where they are not given, on validation."""
        practice = Practice.of(known, self.name, 1)
        order = np.argsort(snapped(np.asarray(known.train_mean_cost, dtype=np.float64), MEAN), kind="stable")
        self._order = order if self.chain is None else _positions(self.chain, known.members)
        if self.chain is None and self.threshold is None and self.bar == "constant":
            budget = practice.budget if self.budget is None else self.budget
            paid = practice.costs + practice.scoring
            found = best_cascade(practice.samples, paid, np.asarray(known.train_mean_cost), budget)
            # Where not even the cheapest cascade is within the budget, the cheapest member's answer stands.
            self._order = order if found is None else np.array(found.chain)
            self.threshold = -math.inf if found is None else found.threshold
        rewards = practice.samples.reward
        if self.bar == "predicted":
            rewards = (rewards - self._bars(practice.forecast)[:, :, None])[:, self._order[:-1]]
        seen = rewards[~np.isnan(rewards)]
        ends = [-math.inf, math.inf]
        if len(seen):
            ends[1:1] = np.unique(np.quantile(seen, np.linspace(0, 1, THRESHOLDS), method="inverted_cdf")).tolist()
        self._dials = ends
        if self.threshold is None:
            self.threshold = practice.tune(self, self._dials, self.budget)

    def dials(self, costs: Floats) -> list[float]:
        """Thresholds from none, the first answer stands, to one that nothing reaches."""
        del costs
        self._learnt()
        return self._dials

    def start(self, forecast: Forecast, dial: float | None = None) -> Plan:
        """The plan for n prompts, at the policy's threshold or at another."""
        order = self._learnt()
        threshold = self.threshold if dial is None else dial
        assert threshold is not None
        bars = threshold + self._bars(forecast)[:, order[:-1]]
        return InTurn(order, bars, self.returns_best)

    def _bars(self, forecast: Forecast) -> Floats:
        """(n, M) what a member's answer is compared with before the threshold is added: 0, or what is predicted."""
        order, scores = self._learnt(), np.asarray(forecast.scores, dtype=np.float64)
        bars = np.zeros_like(scores)
        if self.bar == "predicted" and len(order) > 1:
            later = np.maximum.accumulate(scores[:, order[::-1]], axis=1)[:, ::-1]
            bars[:, order[:-1]] = later[:, 1:]
        return bars

    def state(self) -> State:
        """The chain, the threshold, and those along the curve."""
        order = self._learnt()
        assert self.threshold is not None
        return {
            "chain": [float(member) for member in order],
            "threshold": finite(self.threshold),
            "dials": [finite(dial) for dial in self._dials],
        }

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what `state` gave."""
        chain = numbers_in(state, "chain", self)
        if not len(chain) or not (np.isin(chain, np.arange(chain.max(initial=0) + 1)).all() and (chain >= 0).all()):
            raise ErpError(f"policy = cascade: the chain {chain} of its state is no order of members; train again")
        self._order = chain.astype(np.int64)
        self.threshold = number_in(state, "threshold", self)
        self._dials = numbers_in(state, "dials", self).tolist()

    def _learnt(self) -> Rows:
        if self._order is None:
            raise not_calibrated(self)
        return self._order


def _positions(chain: Sequence[str], members: Sequence[str]) -> Rows:
    """Of names, in the pool. Raises ErpError."""
    if unknown := [name for name in chain if name not in members]:
        raise ErpError(
            f"policy.chain: {shorten(unknown)} is no member of the pool; {shorten(members)} are allowed; name these"
        )
    return np.array([members.index(name) for name in chain])
