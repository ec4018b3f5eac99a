"""One prompt, asked by the rewards that come: whom to ask next, when to stop, which answer to return."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from erp.decisions.forecast import Forecast
from erp.decisions.sequential.policy import STOP, Seen, SequentialPolicy
from erp.errors import ErpError


@dataclass(frozen=True)
class Returned:
    """The answer to return.

    Attributes:
        member: whose it is.
        at: which of the answers that were observed, from 0.
        reward: of it.
    """

    member: str
    at: int
    reward: float


class Session:
    """Asks one prompt's members in turn: ``next``, then `observe`, until ``next`` is None; then ``answer``.

    The same rewards lead to the same decisions as in the simulation that a report tells of. A member that does not
    answer is passed over: `pass_over`, and ``next`` names another.

    Args:
        policy: of a run.
        members: its pool.
        forecast: of the prompt.
        able: members that may be asked; None for all.

    Attributes:
        next: name of the member to ask; None where nobody is asked any more.
    """

    def __init__(
        self,
        policy: SequentialPolicy,
        members: tuple[str, ...],
        forecast: Forecast,
        able: Collection[str] | None = None,
    ) -> None:
        self._members = members
        self._plan = policy.start(forecast)
        self._away = np.array([[able is not None and name not in able for name in members]])
        self._seen = replace(Seen.nothing(1, len(members), self._plan.repeats), away=self._away)
        self._asked: list[tuple[int, int]] = []  # member, and which of its answers, in the order they came
        self._next = int(self._plan.next(self._seen)[0])

    @property
    def next(self) -> str | None:
        """Whom to ask."""
        return None if self._next == STOP else self._members[self._next]

    def observe(self, reward: float) -> None:
        """The reward of the answer of the member that was to be asked. Raises ErpError: no number, or nobody asked."""
        if self._next == STOP:
            raise ErpError(
                f"reward = {reward}: nobody was to be asked any more; return `answer`, or start a new session"
            )
        if isinstance(reward, bool):
            reward = float(reward)
        if not isinstance(reward, int | float | np.floating) or not np.isfinite(reward):
            raise ErpError(f"reward = {reward!r}: is no reward; a finite number is allowed; score the answer again")
        at = int(self._seen.count[0, self._next])
        self._seen.rewards[0, self._next, at] = float(reward)
        self._seen.last[0] = self._next
        self._asked.append((self._next, at))
        self._next = int(self._plan.next(self._seen)[0])

    def pass_over(self) -> None:
        """The member that was to be asked does not answer, and is not asked again. Raises ErpError: nobody was."""
        if self._next == STOP:
            raise ErpError("next: nobody was to be asked any more; return `answer`, or start a new session")
        self._away[0, self._next] = True
        self._next = int(self._plan.next(self._seen)[0])

    @property
    def answer(self) -> Returned:
        """The answer to return, of those that came so far. Raises ErpError before there is one."""
        if not self._asked:
            raise ErpError(
                "answer: nobody has answered yet; ask the member that `next` names, and `observe` its reward"
            )
        member, which = (int(part[0]) for part in self._plan.returned(self._seen))
        place = self._asked.index((member, which))
        return Returned(self._members[member], place, float(self._seen.rewards[0, member, which]))
