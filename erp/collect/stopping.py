"""Leaving work before its end, by Ctrl-C, SIGTERM or an error, without losing the answers that have come."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

A = TypeVar("A")
Stop = Callable[[], bool]  # ends what gives answers, after those that have come; False where it cannot


@contextmanager
def interruptible(stop: Stop) -> Iterator[None]:
    """Ctrl-C stops the work and is raised when that has ended; at once where it cannot be stopped, or at a second one.

    Raised at once, it may come between an answer and the line that keeps it. SIGTERM, with which schedulers of jobs
    ask for an end, does the same: it would end the process without a word.
    """
    ends: dict[int, Callable[[int, FrameType | None], object]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        if callable(before):  # else it is ignored, and stays so
            ends[number] = before
        elif number == signal.SIGTERM and before == signal.SIG_DFL:
            ends[number] = _end
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1 or not stop():
            ends[number](number, frame)

    handlers = {number: signal.signal(number, interrupt) for number in ends}
    try:
        yield
    finally:
        for replaced, handler in handlers.items():
            signal.signal(replaced, handler)
        if asked:
            ends[asked[0]](asked[0], None)
            _end(asked[0], None)  # somebody's handler that returns: what was left is not to pass for done


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """What a shell makes of a process that a signal ended."""
    raise SystemExit(128 + number)


def rest(answers: Iterator[A], stop: Stop) -> Iterator[A]:
    """What has come of answers that are left before their end; they are closed where they cannot be stopped."""
    if stop():
        yield from answers
    elif isinstance(answers, Generator):
        answers.close()
