"""What passes between a loop and other threads: several at a time, since to wake a thread costs as a call does."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Generic, TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")
HELD_S = 0.01  # that what is done waits for more to be handed over with it
MANY = 32  # calls at once, beside which what a kill finds waiting is little


class Ahead(Generic[Job]):
    """Numbered jobs, for the tasks of one loop: taking one may read a disk, and no call waits for that.

    Args:
        jobs: what is taken.
        room: how many may be taken and not yet begun, 1 or more.
        name: of the thread.
    """

    def __init__(self, jobs: Iterable[Job], room: int, name: str) -> None:
        self._jobs, self._room = jobs, threading.Semaphore(room - 1)
        self._some, self._begun = room // 2, 0  # begun since the thread was told
        self._taken = deque[tuple[int, Job] | None]()  # None, last: there are no more
        self._here: asyncio.Queue[tuple[int, Job] | None] = asyncio.Queue()
        self._told = self._left = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._take, name=name, daemon=True)

    def begin(self) -> None:
        """Take jobs, for the loop that runs here."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def following(self) -> tuple[int, Job] | None:
        """The next job and its number; None where there are no more. Raises what taking it raised."""
        job = await self._here.get()
        if job is not None:
            self._begun += 1
            if self._begun > self._some or self._here.empty():
                self._room.release(self._begun)
                self._begun = 0
            return job
        self._here.put_nowait(None)  # for whoever asks next
        if self._error is not None:
            raise self._error
        return None

    def leave(self) -> None:
        """Take no more; returns when none is being taken. The loop may be closed."""
        self._left = True
        self._room.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _take(self) -> None:
        try:
            for job in enumerate(self._jobs):
                self._hand(job)
                self._room.acquire()
                if self._left:
                    return
        except BaseException as error:
            self._error = error
        self._hand(None)

    def _hand(self, job: tuple[int, Job] | None) -> None:
        self._taken.append(job)
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop is closed: nobody asks any longer
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._told = False  # first: what is taken from here on is told of again
        while self._taken:
            self._here.put_nowait(self._taken.popleft())


class Come(Generic[Done]):
    """What tasks of a loop have done, for another thread: it iterates until the end, and gets what ended it raised.

    Args:
        at_once: how much may be under way at once. Where that is much, what is done is held for a moment: what a killed
            process had not handed over is then little beside what was under way.
    """

    def __init__(self, at_once: int) -> None:
        self._held_s = HELD_S if at_once >= MANY else 0.0
        self._handed: queue.SimpleQueue[list[Done] | BaseException | None] = queue.SimpleQueue()
        self._here: list[Done] = []

    def add(self, done: Done) -> None:
        """Hand this over soon, with all that comes meanwhile."""
        self._here.append(done)
        if len(self._here) == 1:
            asyncio.get_running_loop().call_later(self._held_s, self._hand_over)

    def end(self, error: BaseException | None = None) -> None:
        """There is no more than what is here; called where the loop is closed."""
        self._hand_over()
        self._handed.put(error)

    def __iter__(self) -> Iterator[Done]:
        while (handed := self._handed.get()) is not None:
            if isinstance(handed, BaseException):
                raise handed
            yield from handed

    def _hand_over(self) -> None:
        self._handed.put(self._here.copy())
        self._here.clear()
