"""A member that fails time after time is left alone for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class _Member:
    failures: int = 0  # in a row
    until: float = 0.0  # left alone until then


class Breakers:
    """A circuit breaker for each member.

    Closed while a member answers. After ``failures`` in a row it is open: nobody asks the member for ``seconds``. Then
    it is half open: one request is let through, and its answer closes the breaker or opens it again.

    Args:
        failures: in a row, that open it.
        seconds: how long it stays open.
        clock: seconds, never going back.
    """

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = failures, seconds, clock
        self._members: dict[str, _Member] = {}

    def open(self, member: str) -> bool:
        """Whether the member is to be left alone now. Looking changes nothing."""
        found = self._members.get(member)
        return found is not None and found.failures >= self._most and self._clock() < found.until

    def asked(self, member: str) -> None:
        """A request goes to the member: where its breaker is half open, this is the one that tries it.

        Where no answer comes back, because the client went away for instance, the next one tries after ``seconds``.
        """
        found = self._members.get(member)
        if found is not None and found.failures >= self._most:
            found.until = self._clock() + self._seconds

    def failed(self, member: str) -> None:
        """The member gave no answer."""
        found = self._members.setdefault(member, _Member())
        found.failures += 1
        if found.failures >= self._most:
            found.until = self._clock() + self._seconds

    def answered(self, member: str) -> None:
        """The member began to answer."""
        self._members.pop(member, None)
