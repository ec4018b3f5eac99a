"""How long things that are waited for may take: one timer for all of them, as one of its own is a tenth of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


class Patience:
    """Ends what tasks of one loop wait for, where it takes too long: ``asyncio.timeout`` for many at once.

    Args:
        longest_s: how long each of them may take, so that who came first is late first.
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self._ends: dict[asyncio.Task[Any], float] = {}  # by the loop's clock, in order
        self._timer: asyncio.TimerHandle | None = None

    async def wait_for(self, work: Coroutine[Any, Any, R]) -> R:
        """What it returns. Raises TimeoutError where it takes longer; one at a time in each task."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._ends[task] = end = loop.time() + self.longest_s
        if self._timer is None:
            self._timer = loop.call_at(end, self._look)
        try:
            return await work
        except asyncio.CancelledError:
            if task in self._ends or task.cancelling() > 1:  # not for being late, or not for that alone
                raise
            raise TimeoutError from None
        finally:
            if self._ends.pop(task, None) is None:
                task.uncancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for task, end in list(self._ends.items()):
            if end > loop.time():
                self._timer = loop.call_at(end, self._look)
                break
            del self._ends[task]
            task.cancel()
