"""How fast an address may be called: freely, until it says that it is too much."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import deque
from collections.abc import Mapping

WINDOW_S = 1.0  # over which answers are counted
BELOW = 0.95  # of what was answered lately: the pace after a refusal
LONGEST_S = 60.0  # that all calls wait because one was refused, or that one waits for another
GROWTH = 0.02  # of the pace, in a second without a refusal
AT_A_TURN = 32  # workers that begin before the loop looks again which answers are there
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:([\d.]+)ms)?")


class Turns:
    """Lets few workers begin in one turn of a loop, so that the answers that are there are read before more is asked.

    As many as there are have something under way only where the address makes them wait. Where it answers at once, more
    would get no more done: each connection, and what its calls hold, is only slower to come by. For the same reason
    whoever came last begins first: what it uses is still at hand, and nobody waits for a worker that has nothing to do.
    """

    def __init__(self) -> None:
        self._left = AT_A_TURN
        self._waiting: list[asyncio.Future[None]] = []

    async def mine(self) -> None:
        """Wait until one may begin."""
        loop = asyncio.get_running_loop()
        if self._left:
            self._left -= 1
        else:
            self._waiting.append(loop.create_future())
            await self._waiting[-1]
        loop.call_soon(self._pass_on)

    def _pass_on(self) -> None:
        while self._waiting:
            last = self._waiting.pop()
            if not last.done():  # else it was cancelled
                last.set_result(None)
                return
        self._left += 1


class Pace:
    """Calls a second that an address is given, learnt from its answers.

    After a 429 calls start no faster than they were answered in the last second, which slowly grows again. Where the
    address tells what is left (``x-ratelimit-*-requests``, as OpenAI's does), calls slow down before it is used up.
    """

    def __init__(self) -> None:
        self.per_second = math.inf
        self._answered: deque[float] = deque()
        self._next = 0.0
        self._lock = asyncio.Lock()
        self._cut = -math.inf

    async def turn(self) -> None:
        """Wait until the next call may start."""
        if self._next == 0.0:  # never was too much
            return
        async with self._lock:  # one waits, the others stand in line: a refusal meanwhile is for all of them
            while (left_s := self._next - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            self._next = time.monotonic() + 1 / self.per_second

    def answered(self, headers: Mapping[str, str]) -> None:
        """A call was answered."""
        now = time.monotonic()
        self._answered.append(now)
        self._forget(now)
        if now - self._cut > WINDOW_S:
            self.per_second += GROWTH  # times the pace, over as many answers
        refilled = _refilled(headers)
        if refilled is not None:
            self.per_second = min(self.per_second, refilled)
            self._next = max(self._next, now)

    def refused(self, after_s: float) -> None:
        """A call was refused as one too many; the address wants to be left alone for so long."""
        now = time.monotonic()
        self._forget(now)
        if now - self._cut > WINDOW_S:  # those that were under way say the same
            self._cut = now
            self.per_second = max(1.0, BELOW * len(self._answered) / WINDOW_S)
        self._next = max(self._next, now + min(after_s, LONGEST_S))

    def _forget(self, now: float) -> None:
        while self._answered and now - self._answered[0] > WINDOW_S:
            self._answered.popleft()


def _refilled(headers: Mapping[str, str]) -> float | None:
    """Requests a second that an address gives back, where a tenth or less is left of what it allows."""
    if "x-ratelimit-reset-requests" not in headers:  # as of most servers, at every answer
        return None
    try:
        limit, left = (float(headers[f"x-ratelimit-{name}-requests"]) for name in ("limit", "remaining"))
        match = _DURATION.fullmatch(headers["x-ratelimit-reset-requests"])
    except (KeyError, ValueError):
        return None
    if match is None or not match[0] or not 0 <= left <= limit / 10:
        return None
    hours, minutes, seconds, thousandths = (float(part or 0) for part in match.groups())
    reset_s = 3600 * hours + 60 * minutes + seconds + thousandths / 1000
    return max(1 / LONGEST_S, (limit - left) / reset_s) if reset_s > 0 and limit > left else None
