"""One process: all units, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from erp.collect.units import Job, Report, Runner, Unit


class LocalRunner(Runner):
    """Works in this process; engines keep their own hardware busy."""

    in_process = True
    here = True

    def run(self, job: Job, units: Sequence[Unit]) -> Iterator[Report]:
        """Do the units in order."""
        try:
            yield from job.run(units)
        finally:
            job.close()
