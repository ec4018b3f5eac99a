"""A policy that looks at rewards: it asks a member, sees what its answer is worth, and asks another or stops.

It is a `Policy` too: what `choose` gives is who is asked first, all that can be decided before there is a reward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice, one_hot
from erp.decisions.forecast import Forecast
from erp.decisions.policy import MOST, Floats, Policy, require_scores_and_costs
from erp.errors import ErpError

Rows = NDArray[np.int64]
STOP = -1
"""In place of a member's position: nobody is asked any more."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What k prompts' answers were worth so far.

    Attributes:
        rows: (k,) positions of these prompts in the forecast.
        rewards: (k, M, J) of each member's answers in the order they came; NaN where there is none yet.
        last: (k,) whose answer came last; `STOP` where none did.
        away: (k, M) who does not answer; None where everybody does.
    """

    rows: Rows
    rewards: NDArray[np.float64]
    last: Rows
    away: NDArray[np.bool_] | None = None

    def part(self, at: slice) -> Seen:
        """Some of these prompts."""
        return Seen(self.rows[at], self.rewards[at], self.last[at], None if self.away is None else self.away[at])

    @property
    def count(self) -> Rows:
        """(k, M) answers of each member."""
        return np.asarray((~np.isnan(self.rewards)).sum(axis=2), dtype=np.int64)

    def left(self, repeats: int) -> Rows:
        """(k, M) answers of each member that may still come, where each may be asked ``repeats`` times."""
        left = repeats - self.count
        return left if self.away is None else np.where(self.away, 0, left)

    @property
    def best(self) -> NDArray[np.float64]:
        """(k,) the best reward in hand; -infinity where there is none."""
        return np.asarray(np.where(np.isnan(self.rewards), -np.inf, self.rewards).max(axis=(1, 2)))

    @classmethod
    def nothing(cls, n: int, members: int, repeats: int) -> Seen:
        """Before anybody is asked."""
        return cls(np.arange(n), np.full((n, members, repeats), np.nan), np.full(n, STOP))


class Plan(ABC):
    """What a policy does with the prompts of one forecast. Deterministic: the same rewards, the same next member.

    Attributes:
        members: M.
        repeats: how often one member may be asked, J.
        returns_best: whether the best answer is returned; else the last one.
    """

    members: int
    repeats: int = 1
    returns_best: bool = True

    @abstractmethod
    def next(self, seen: Seen) -> Rows:
        """(k,) position of the member to ask next, `STOP` for none. Somebody who is not away is always asked first."""

    def returned(self, seen: Seen) -> tuple[Rows, Rows]:
        """(k,) the member whose answer is returned, and which of its answers. Equal rewards: pool order, the first."""
        k, _, j = seen.rewards.shape
        if self.returns_best:
            flat = np.where(np.isnan(seen.rewards), -np.inf, seen.rewards).reshape(k, -1).argmax(axis=1)
            return np.asarray(flat // j), np.asarray(flat % j)
        return seen.last, seen.count[np.arange(k), seen.last] - 1


class SequentialPolicy(Policy):
    """Base of the policies that look at rewards.

    One number, its *dial*, says how much it asks: a price lambda, or a threshold. Where none is given, it is chosen on
    validation.
    """

    needs_samples: ClassVar[bool] = True

    @property
    def needs_costs(self) -> bool:
        """Asking costs."""
        return True

    @abstractmethod
    def dials(self, costs: Floats) -> list[float]:
        """From one end to the other, for answers that cost ``costs``. Raises ErpError before it was calibrated."""

    @abstractmethod
    def start(self, forecast: Forecast, dial: float | None = None) -> Plan:
        """The plan for n prompts, at the policy's own dial or at another. Raises ErpError before it was calibrated."""

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Whom to ask first, by scores and costs alone; see `Policy.choose`."""
        del neighbours
        n, m = require_scores_and_costs(scores, costs)
        return self.first(Forecast(scores, np.broadcast_to(costs, (n, m))))

    def first(self, forecast: Forecast) -> Choice:
        """Whom to ask first, by all that is known."""
        n, m = forecast.scores.shape
        plan = self.start(forecast)
        return one_hot(plan.next(Seen.nothing(n, m, plan.repeats)), m)


def numbers_in(state: Mapping[str, object], key: str, policy: Policy) -> NDArray[np.float64]:
    """A list of numbers of a policy's state. Raises ErpError."""
    value = state.get(key)
    if not isinstance(value, list) or not all(isinstance(each, int | float) and abs(each) <= MOST for each in value):
        raise ErpError(
            f"policy = {policy.name}: its state has no list of numbers under {key}; what `state` gave is allowed; "
            "train the run again"
        )
    return np.array(value, dtype=np.float64)
