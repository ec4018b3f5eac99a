"""Leaving work before its end, by Ctrl-C or an error, without losing the answers that have come."""

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

    Raised at once, it may come between an answer and the line that keeps it.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    asked: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1 or not stop():
            before(number, frame)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked:
            before(signal.SIGINT, None)


def rest(answers: Iterator[A], stop: Stop) -> Iterator[A]:
    """What has come of answers that are left before their end; they are closed where they cannot be stopped."""
    if stop():
        yield from answers
    elif isinstance(answers, Generator):
        answers.close()
