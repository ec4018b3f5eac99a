"""Times of alternating calls, so that a machine that slows down slows both sides."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """How many times longer ``other`` takes than ``ours``: the median over pairs, and the range."""

    ours_s: float
    other_s: float
    median: float
    low: float
    high: float
    pairs: int


def seconds(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call: wall, or with ``time.process_time`` CPU seconds of all threads."""
    start = clock()
    call()
    return clock() - start


def paired(
    ours: Callable[[], object],
    other: Callable[[], object],
    pairs: int,
    slow: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Ratio:
    """Time both in turn, ``pairs`` times, after one call of each that does not count.

    Where the other is ``slow``, it is not warmed up, and ours is the median of three calls in each pair.
    """
    ours()
    if not slow:
        other()
    calls = 3 if slow else 1
    times = [
        (statistics.median(seconds(ours, clock) for _ in range(calls)), seconds(other, clock)) for _ in range(pairs)
    ]
    ratios = [b / a for a, b in times]
    return Ratio(
        statistics.median(a for a, _ in times), statistics.median(b for _, b in times),
        statistics.median(ratios), min(ratios), max(ratios), pairs,
    )  # fmt: skip
