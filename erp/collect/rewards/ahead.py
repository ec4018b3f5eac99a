"""Work that is done while the one before it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
R = TypeVar("R")


def one_ahead(work: Callable[[Job], R], jobs: Iterable[Job]) -> Iterator[R]:
    """What comes of each job, in order; the next is worked on in a thread while the caller is busy with one."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting = None
        for job in jobs:
            before, waiting = waiting, pool.submit(work, job)
            if before is not None:
                yield before.result()
        if waiting is not None:
            yield waiting.result()
