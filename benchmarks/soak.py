"""``python -m benchmarks.soak [minutes]``: a gateway under steady requests of all kinds, and what it grows by.

Routed ones, streamed and not, members by name, callers that go away within an answer, bodies that are no JSON. Memory
and open files are the operating system's. Exits 1 where memory grew, a connection was left open, or a good request
failed. Writes a section of ``benchmarks/SERVING.md``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.__main__ import machine
from benchmarks.loopback import (
    Caller,
    asked,
    chat,
    cpu_s,
    end_in_order,
    gateway,
    instant,
    memory_mb,
    open_files,
    prompts,
    trained,
    write,
)  # fmt: skip

CALLERS = 16
MOST_GROWTH = 0.05
"""Share of its memory after the first minutes by which a gateway may have grown at the end."""
RESTING_S = 12  # after the last request: no connection of a member is kept for longer, once it is asked again
SETTLED_S = 120  # at most a fifth of the whole: buffers and threads are there by then


@dataclass
class Soak:
    """What is seen of a gateway.

    Attributes:
        at: seconds since the start, of each sample.
        memory: MB, of each sample.
        files: open ones, of each sample.
        statuses: of answers, by what was asked.
        faults: answers that should have been others, with their second.
    """

    at: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[float] = field(default_factory=list)


async def one(caller: Caller, i: int, text: str, member: str, seen: Soak, second: float) -> None:
    """A request of the kind that its number says."""
    kind = {7: "away", 13: "broken"}.get(i % 20, ("routed", "streamed", "named")[i % 3])
    if kind == "away":
        await caller.send(chat("erp/auto", text, stream=True))
        await asyncio.sleep(0.002 * (i % 7))
        caller.close()
        seen.statuses[kind, 0] += 1
        return
    body = (
        b'{"model": '
        if kind == "broken"
        else chat(member if kind == "named" else "erp/auto", text, stream=kind == "streamed")
    )
    answer = await caller.ask(body, time.perf_counter())
    seen.statuses[kind, answer.status] += 1
    if answer.status != (400 if kind == "broken" else 200):
        seen.faults.append(second)


async def soak(url: str, pid: int, member: str, seconds: float, rate: float) -> Soak:
    """Ask for so long, and look at the process all the while."""
    seen, began, texts = Soak(), time.perf_counter(), prompts(int(seconds * rate))
    given = iter(enumerate(texts))

    async def ask() -> None:
        caller = Caller(url)
        for i, text in given:
            await asyncio.sleep(began + i / rate - time.perf_counter())
            await one(caller, i, text, member, seen, i / rate)
        caller.close()

    async def look() -> None:
        while True:
            seen.at.append(time.perf_counter() - began)
            seen.memory.append(memory_mb(pid))
            seen.files.append(open_files(pid))
            await asyncio.sleep(1)

    looking = asyncio.create_task(look())
    await asyncio.gather(*(ask() for _ in range(CALLERS)))
    looking.cancel()
    return seen


def at_rest(url: str, pid: int, members: Sequence[str]) -> int:
    """Open files where nobody asks: of the connections to a member, all but one are closed when it is asked again."""
    time.sleep(RESTING_S)
    for name in members:
        asyncio.run(asked(url, name, prompts(1), 1, None))
    time.sleep(1)
    return open_files(pid)


def judged(seen: Soak, before: int, after: int) -> tuple[list[str], list[str]]:
    """Lines of the page, and what is wrong."""
    at, memory, files = np.array(seen.at), np.array(seen.memory), np.array(seen.files)
    settled = min(SETTLED_S, at[-1] / 5)
    part = (at[-1] - settled) / 4
    early, late = ((at >= start) & (at <= start + part) for start in (settled, at[-1] - part))
    first, last = float(np.median(memory[early])), float(np.median(memory[late]))
    an_hour = np.polyfit(at[at >= settled], memory[at >= settled], 1)[0] * 3600
    faults = np.array(seen.faults)
    at_first = int((faults < 60).sum())
    lines = [
        "| | after the first minutes | at the end |", "|---|---|---|",
        f"| memory, MB | {first:.1f} | {last:.1f} |",
        f"| open files under load, at most | {files[early].max()} | {files[late].max()} |",
        f"| open files at rest | {before} | {after} |",
        f"| answers that should have been others | {at_first} in the first minute | {len(faults) - at_first} since |",
        "", f"Memory after the first minutes: {an_hour:+.1f} MB an hour.",
    ]  # fmt: skip
    wrong = []
    if last > first * (1 + MOST_GROWTH):
        wrong.append(f"memory grew from {first:.1f} to {last:.1f} MB")
    if after > before:
        wrong.append(f"{after - before} files or connections were left open")
    if len(faults):
        wrong.append(f"{len(faults)} answers should have been others: {dict(seen.statuses)}")
    return lines, wrong


def main() -> None:
    """Soak a gateway."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("minutes", nargs="?", type=float, default=30)
    parser.add_argument("--rate", type=float, default=20, help="requests a second")
    parser.add_argument("--run", type=Path, help="a run to serve, in place of one that is trained first")
    options = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = options.run or trained("minilm_onnx", folder)
        with instant() as (server, _), gateway(run, server, folder) as (url, pid, members):
            asyncio.run(soak(url, pid, members[0], 10, CALLERS))  # threads, the log's part
            before, cpu = at_rest(url, pid, members), cpu_s(pid)
            seen = asyncio.run(soak(url, pid, members[0], options.minutes * 60, options.rate))
            cpu = cpu_s(pid) - cpu
            after = at_rest(url, pid, members)
    lines, wrong = judged(seen, before, after)
    total = sum(seen.statuses.values())
    counts = ", ".join(f"{kind} {status or 'gone'}: {n:,}" for (kind, status), n in sorted(seen.statuses.items()))
    what = (
        f"`python -m benchmarks.soak`: {options.minutes:g} minutes at {options.rate:g} requests a second "
        f"({total:,}; by kind and status: {counts}), {CALLERS} connections, `router=ridge backbone=minilm_onnx`, "
        f"pins in a file, a decision log; {cpu / total * 1e3:.1f} ms of CPU a request."
    )
    verdict = f"**{'; '.join(wrong)}**" if wrong else "No growth, nothing left open."
    write("Soak", [what, "", machine()[0], "", *lines, "", verdict])
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
