"""Units of work: what is done at once, written at once, and at most redone at once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol
from urllib.parse import quote

from erp.config import Member
from erp.engines.base import Failure


@dataclass(frozen=True)
class Unit:
    """A block of prompts, of one member (sampling) or of all of them (scoring).

    Attributes:
        block: number of the block.
        member: name of the member; None where the unit is of all.
    """

    block: int
    member: str | None = None

    @property
    def name(self) -> str:
        """Part of its files' names."""
        return f"{self.block:05d}" if self.member is None else f"{quote(self.member, safe='')}-{self.block:05d}"

    @property
    def part(self) -> str:
        """Name of the file that holds its rows, in the step's folder."""
        return f"part-{self.name}.parquet"

    @property
    def file(self) -> str:
        """Name of its other files: the log, and the failures, which is there only where some prompt failed."""
        return f"{self.name}.json"


@dataclass(frozen=True)
class Blocks:
    """How a collection's prompts are cut: those that were added at a time, into blocks of their own.

    Attributes:
        size: prompts of a block; the last of an addition may have fewer.
        added: how many prompts came at a time.
    """

    size: int
    added: tuple[int, ...]

    @property
    def prompts(self) -> int:
        """How many there are."""
        return sum(self.added)

    @cached_property
    def rows(self) -> tuple[slice, ...]:
        """Which prompts each block holds, by their places."""
        found, start = [], 0
        for count in self.added:
            found += [slice(at, min(at + self.size, start + count)) for at in range(start, start + count, self.size)]
            start += count
        return tuple(found)

    def held_by(self, block: int) -> int:
        """Prompts of a block."""
        rows = self.rows[block]
        return int(rows.stop - rows.start)


@dataclass(frozen=True)
class Report:
    """What became of a unit.

    Attributes:
        unit: which one.
        done: responses sampled, or scored.
        failed: prompt_id -> why.
        tokens: generated.
        seconds: it took.
        lost: why it could not be done at all; None where it was.
    """

    unit: Unit
    done: int
    failed: dict[str, Failure] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    lost: str | None = None

    @property
    def again(self) -> bool:
        """Whether some of what failed may come at another attempt."""
        return not all(why.final for why in self.failed.values())


def rounds(units: Sequence[Unit], retries: int, once: Callable[[Sequence[Unit]], Iterator[Report]]) -> Iterator[Report]:
    """Do the units, and again those of which something may still come, at most ``retries`` times: a report each time.

    Args:
        units: of one model, which stays loaded.
        retries: rounds after the first.
        once: does units.
    """
    for _ in range(1 + retries):
        again = []
        for report in once(units):
            again += [report.unit] if report.again else []
            yield report
        if not again:
            return
        units = again


class Clock:
    """Time between the units of a stream, which are at work side by side: what they took adds up to the whole."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last one was finished."""
        before, self._since = self._since, time.monotonic()
        return self._since - before


class Job(Protocol):
    """What is done with each unit. Pickled to where it is done; loads its models at the first unit.

    Attributes:
        title: of its progress bar.
        ticks: whether it tells of responses within a unit, by calling ``tick`` where there is one.
        tick: set where the job runs in this process.
    """

    title: str
    ticks: bool
    tick: Callable[[int], object] | None

    def run(self, units: Sequence[Unit]) -> Iterator[Report]:
        """Do the units, write what came of each, report as they are finished. What is there already stays.

        Units of which something may still come are done again, and reported again, while their model is loaded.
        """

    def stop(self) -> bool:
        """End ``run`` after what has come, which is kept; False where that cannot be."""

    def loads(self, unit: Unit) -> str:
        """What has to be loaded for this unit: a worker that has it already is given the unit first."""

    def resources(self, unit: Unit) -> dict[str, float]:
        """What a worker needs for this unit on a cluster."""

    def close(self) -> None:
        """Give back memory and connections."""


class Runner:
    """Base of all runners.

    Attributes:
        in_process: whether units are done in this very process.
        here: whether workers are on this machine: what they reach can be seen from it.
    """

    in_process: bool = False
    here: bool = False

    def run(self, job: Job, units: Sequence[Unit]) -> Iterable[Report]:
        """Do the units; their reports as they are finished."""
        raise NotImplementedError(f"{type(self).__name__} defines no run")


def sampling_units(members: Sequence[Member], blocks: int) -> list[Unit]:
    """All units of sampling; those of one model stand together, so that it is loaded once."""
    order = {weights: i for i, weights in enumerate(dict.fromkeys((m.weights, m.file) for m in members))}
    by_weights = sorted(members, key=lambda m: order[m.weights, m.file])
    return [Unit(block, member.name) for member in by_weights for block in range(blocks)]


def request_seed(seed: int, member: str, prompt_id: str) -> int:
    """Seed of a member's samples on a prompt: the same whatever else is collected, in any order, however often."""
    digest = hashlib.sha256(f"{seed}|{member}|{prompt_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 2**16)  # room for + j, within what every engine takes
