"""Counts for ``/metrics``, as Prometheus reads them; each worker has its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """What is counted. No label is a client's text: paths, statuses and members are all known beforehand."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(name, about, labels, registry=self._registry)

        def seconds(name: str, about: str) -> Histogram:
            return Histogram(name, about, registry=self._registry, buckets=_SECONDS)

        self.requests = counter("erp_requests", "Requests by path asked and status answered", "path", "status")
        self.decisions = counter("erp_decisions", "Decisions by member and why", "member", "path")
        self.failures = counter("erp_upstream_failures", "Members that did not begin to answer", "member")
        self.broken = counter("erp_upstream_broken", "Answers that ended before their end", "member")
        self.usd = counter("erp_usd", "USD by usage, where prices and usage are known", "member")
        self.overhead = seconds("erp_overhead_seconds", "From a whole request to the first call of a member")
        self.first_byte = seconds("erp_first_byte_seconds", "From a whole request to the first byte of its answer")
        self.active = Gauge("erp_active", "Requests that are being answered", registry=self._registry)

    def watch(self, name: str, about: str, read: Callable[[], float]) -> None:
        """A number that somebody else counts, read when it is asked for."""
        Gauge(name, about, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """All of it, in Prometheus' text form."""
        return generate_latest(self._registry)
