"""Reservation values: Pandora's box, opened in the order that is best where rewards are independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from erp.decisions.forecast import Forecast
from erp.decisions.policy import Floats
from erp.decisions.sequential.laws import Law, reservation
from erp.decisions.sequential.policy import STOP, Plan, Rows, Seen
from erp.decisions.sequential.priced import Learnt, PricedPolicy


@dataclass(frozen=True, eq=False)
class ByIndex(Plan):
    """Ask by falling index; stop when the best reward in hand is at least every index left; return the best answer.

    Attributes:
        index: (n, M) reservation values; of two equal ones the cheaper member comes first, then pool order.
        price: (n, M) of asking.
        repeats: how often one member may be asked: each time it is the same box again.
    """

    index: Floats
    price: Floats
    repeats: int = 1

    def next(self, seen: Seen) -> Rows:
        """The largest index that is left, where it is above the best reward in hand."""
        index, price = self.index[seen.rows], self.price[seen.rows]
        left = seen.left(self.repeats) > 0
        z = np.where(left, index, -np.inf)
        member = np.where(z == z.max(axis=1, keepdims=True), price, np.inf).argmin(axis=1)
        return np.where(z.max(axis=1) > seen.best, member, STOP)


class ReservationPolicy(PricedPolicy):
    """Weitzman's rule for Pandora's box.

    Every member's law gives an index z that solves E[(Y - z)^+] = price. Optimal for reward less price where the
    laws are right and rewards independent given the prompt; asking a member again is another box with the same law.
    """

    name = "reservation"

    def _plan(self, known: Learnt, forecast: Forecast, laws: Law, price: Floats) -> Plan:
        del known, forecast
        return ByIndex(reservation(laws, price), price, self.repeats)
