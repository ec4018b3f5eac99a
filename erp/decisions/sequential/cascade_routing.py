"""Cascade routing: after every answer the sets of members that are left are priced again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.forecast import Floats, Forecast
from erp.decisions.sequential.laws import Beta, Law
from erp.decisions.sequential.policy import STOP, Plan, Rows, Seen
from erp.decisions.sequential.priced import Learnt, PricedPolicy
from erp.decisions.sequential.residuals import Residuals

KNOTS = 25  # rewards at which distributions are held beside each other
BLOCK = 2048  # prompts priced at once: their distributions are M x KNOTS numbers each
_WIDE = 5.0  # standard deviations beyond the predictions that a normal law still counts


@dataclass(frozen=True, eq=False)
class Repriced(Plan):
    """Take the set of members left that is worth the most; ask its cheapest; stop where no set pays.

    A set S is worth E[max(best in hand, Y_m of S)] less the prices of all its members, by the laws given the answers
    that came; rewards are taken to be independent given these. Sets grow greedily, by the member that adds the most.

    Attributes:
        laws: (n, M) before anybody is asked.
        price: (n, M) of asking.
        scores: (n, M) predicted rewards.
        residuals: what answers say of each other.
        knots: (G,) rewards, rising.
        repeats: how often one member may be asked.
    """

    laws: Law
    price: Floats
    scores: Floats
    residuals: Residuals
    knots: NDArray[np.float64]
    repeats: int = 1

    def next(self, seen: Seen) -> Rows:
        """The cheapest of the best set; `STOP` where no set pays."""
        starts = range(0, len(seen.rows), BLOCK)
        parts = (seen.part(slice(start, start + BLOCK)) for start in starts)
        return np.concatenate([self._next(part) for part in parts]) if len(seen.rows) else seen.rows

    def _next(self, seen: Seen) -> Rows:
        left = seen.left(self.repeats)
        price = self.price[seen.rows]
        mean, ratio = self.residuals.posterior(self.scores[seen.rows], seen)
        below, at_most = self._distributions(self.laws.take(seen.rows).moved(mean, ratio))
        chosen = self._best_set(below, at_most, price, left, seen.best)
        member = np.where(chosen, price, np.inf).argmin(axis=1)
        return np.where(chosen.any(axis=1), member, STOP)

    def _distributions(self, laws: Law) -> tuple[Floats, Floats]:
        """P(Y < y) and P(Y <= y) at the knots, (k, M, G) each."""
        if isinstance(laws, Beta):  # whose knots are these
            return (at_most := laws.at_most(len(self.knots))), at_most
        knots = self.knots[:, None, None]  # (G, 1, 1): every law answers for all of them at once
        at_most = 1 - np.moveaxis(laws.above(knots), 0, -1)
        return at_most if laws.continuous else 1 - np.moveaxis(laws.reaches(knots), 0, -1), at_most

    def _best_set(self, below: Floats, at_most: Floats, price: Floats, left: Rows, best: Floats) -> Floats:
        """(k, M) whether a member is in the set."""
        k, m, g = below.shape
        share = np.clip((self.knots[None, 1:] - best[:, None]) / np.diff(self.knots), 0.0, 1.0)  # of a step above best
        steps = np.diff(self.knots) * share
        start, end = np.ones((k, g)), np.ones((k, g))  # of the set: P(all <= y), P(all < y)
        chosen, left = np.zeros((k, m), dtype=bool), left.copy()
        someone = np.isinf(best)  # nothing in hand yet: somebody is asked, whatever it costs
        for _ in range(int(left.sum(axis=1).max(initial=0))):
            # E max = best + sum over steps of 1 - P(all below): by the ends of each step, right at jumps on the knots.
            adds = (
                steps[:, None, :]
                * 0.5
                * (start[:, None, :-1] * (1 - at_most[:, :, :-1]) + end[:, None, 1:] * (1 - below[:, :, 1:]))
            ).sum(axis=2) - price
            adds = np.where(left > 0, adds, -np.inf)
            member = adds.argmax(axis=1)
            gain = adds[np.arange(k), member]
            rows = np.flatnonzero((gain > 0) | (someone & ~chosen.any(axis=1) & (gain > -np.inf)))
            if not len(rows):
                break
            at = member[rows]
            chosen[rows, at] = True
            left[rows, at] -= 1
            start[rows] *= at_most[rows, at]
            end[rows] *= below[rows, at]
        return chosen


class CascadeRoutingPolicy(PricedPolicy):
    """After every answer the members left are priced again by the posterior; it stops when no expected gain pays.

    Source: cascade routing (Dekoninck et al., 2410.10347). Ours in three things: a quality is the reward itself, seen
    and not estimated again; the posterior is the best linear prediction from the rewards that came, with the covariance
    of what predictions missed on validation; sets of members grow greedily.
    """

    name = "cascade_routing"

    def _plan(self, known: Learnt, forecast: Forecast, laws: Law, price: Floats) -> Plan:
        scores = np.asarray(forecast.scores, dtype=np.float64)
        if known.kind == "zero_one":
            knots = np.array([0.0, 1.0])
        elif known.kind == "beta":
            knots = np.linspace(known.low, known.high, KNOTS)
        else:
            far = _WIDE * float(np.sqrt(known.residuals.single.max()))
            knots = np.linspace(
                min(known.low, float(scores.min()) - far), max(known.high, float(scores.max()) + far), KNOTS
            )
        return Repriced(laws, price, scores, known.residuals, knots, self.repeats)
