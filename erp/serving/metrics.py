"""Counts for ``/metrics``, as Prometheus reads them; those of several workers are added up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which workers share counts; it holds from before its library is imported."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What is counted. No label is a client's text: paths, statuses and members are all known beforehand.

    Args:
        folder: where workers keep their counts, the one that ``FOLDER`` names; None where there is one worker.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._registry, self._folder = CollectorRegistry(), folder
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=self._registry)

        def seconds(name: str, about: str) -> Histogram:
            return Histogram(name, about, registry=self._registry, buckets=_SECONDS)

        self.requests = counter("erp_requests", "Requests by path asked and status answered", "path", "status")
        self.decisions = counter("erp_decisions", "Decisions by member and why", "member", "path")
        self.failures = counter("erp_upstream_failures", "Members that did not begin to answer", "member")
        self.broken = counter("erp_upstream_broken", "Answers that ended before their end", "member")
        self.usd = counter("erp_usd", "USD by usage, where prices and usage are known", "member")
        self.judge_calls = counter("erp_judge_calls", "Answers that a judge was asked about")
        self.judge_failures = counter("erp_judge_failures", "Answers of which it gave no reward")
        self.judge_usd = counter("erp_judge_usd", "USD of its calls")
        self.asked = Histogram("erp_asked", "Members asked for a request whose answers were judged",
                               registry=self._registry, buckets=range(1, 11))  # fmt: skip
        self.overhead = seconds("erp_overhead_seconds", "From a whole request to the first call of a member")
        self.first_byte = seconds("erp_first_byte_seconds", "From a whole request to the first byte of its answer")
        self.active = Gauge("erp_active", "Requests that are being answered", registry=self._registry,
                            multiprocess_mode="livesum")  # fmt: skip

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """A number that somebody else counts, read after each request."""
        self._watched.append((Gauge(name, about, registry=self._registry, multiprocess_mode="sum"), read))

    def settle(self) -> None:
        """Read what others count."""
        for gauge, read in self._watched:
            gauge.set(read())

    def text(self) -> bytes:
        """All of it, in Prometheus' text form."""
        self.settle()
        if self._folder is None:
            return generate_latest(self._registry)
        for file in Path(self._folder).glob("gauge_live*.db"):  # of a worker that was killed amid requests
            if not _lives(worker := int(file.stem.rpartition("_")[2])):
                mark_process_dead(worker, self._folder)  # type: ignore[no-untyped-call]
        every = CollectorRegistry()
        MultiProcessCollector(every, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(every)


def _lives(worker: int) -> bool:
    try:
        os.kill(worker, 0)
    except (ProcessLookupError, PermissionError):  # gone, or its number is another user's by now
        return False
    return True
