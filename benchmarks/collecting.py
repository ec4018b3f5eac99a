"""``python -m benchmarks.collecting [PROMPTS [LARGER...]]``: what ``erp collect`` itself costs, beside the models.

Engine and reward model answer at once; store, journals, parts and manifests are real. Two sizes tell how it grows: a
third of PROMPTS and PROMPTS, five members, K = 32, blocks as large as at the paper's 1.42 million prompts. Then the
same command once more, which finds all done. Then PROMPTS anew, and LARGER where they are given, killed (SIGKILL) amid
sampling and amid scoring: how long the same command takes, from its start, until the first response that was not
there is asked for, and the first score. The paper's prompts themselves are read too, and killed once something is
sampled, and once more is asked for. Each is a process of its own. Writes
``benchmarks/COLLECT.md`` of what stands in ``collect.json`` beside it, and measures what does not stand there.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet

from erp import cli
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.store import Store
from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Request, Response
from erp.files import replacing

PROMPTS, MEMBERS, K, BLOCK = 14_209, 5, 32, 512  # a hundredth of open-perfectblend
PAPER = 1_420_909
FACTS = Path(__file__).with_name("collect.json")
_TEXT = "An answer of some sixty words, as long as small models like to give one. " * 5
_noted: Callable[[str], object] = print  # what is done with the name of a step at which this process is


class Instant(Engine):
    """Answers at once."""

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """The same words, and which request and sample it was."""
        del member
        for position, request in enumerate(requests):
            _noted("sampling")
            for sample in request.samples:
                yield position, sample, Response(f"{_TEXT}{request.seed} {sample}", 30, 70, "stop")


class Length(RewardAdapter):
    """Scores by length."""

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """Characters."""
        _noted("scoring")
        return [float(len(pair.response)) for pair in pairs]


def work(prompts: int, folder: Path) -> int:
    """A collection in this process; notes the CPU time at which each step begins, and every list of a folder."""
    from benchmarks import collecting  # which engine and reward model are of, whatever this module is called

    config, seen = folder / "conf", set[str]()
    for group, name in (("engine", Instant), ("reward_model", Length)):
        (config / group).mkdir(parents=True, exist_ok=True)
        (config / group / "fake.yaml").write_text(f"name: fake\n_target_: benchmarks.collecting.{name.__name__}\n")
    source, lists, names = folder / "prompts.jsonl", folder / "lists", Store.names
    if not source.exists():
        words = " ".join(["word"] * 60)
        rows = ({"prompt_id": f"p{i}", "prompt": f"{words} {i}?"} for i in range(prompts))
        with source.open("w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)

    def noted(step: str) -> None:
        if step not in seen:
            seen.add(step)
            with replacing(folder / f"{step}-{os.getpid()}") as there:
                there.write_text(f"{time.process_time()}")

    def counted(store: Store, folder: str) -> set[str]:
        with lists.open("a") as stream:
            stream.write(".")
        return names(store, folder)

    collecting._noted, Store.names = noted, counted  # type: ignore[method-assign, assignment]
    members = ",".join(f"m{i}" for i in range(MEMBERS))
    return cli.main([
        "collect", f"--config-dir={config}", "prompts=jsonl", f"prompts.path={source}", "pool=all",
        f"pool.members=[{members}]", "engine=fake", "reward_model=fake", f"k={K}", f"block={BLOCK}", f"out={folder}",
        "name=table", "progress=false",
    ])  # fmt: skip


@dataclass
class Cost:
    """What processes took, one after the other; ``waits``: seconds until one was at work, by the wall and of CPU."""

    prompts: int
    cpu: float = 0.0
    wall: float = 0.0
    peak_mb: float = 0.0
    lists: int = 0
    files: int = 0
    mb: float = 0.0
    waits: tuple[tuple[float, float], ...] = ()


class Process:
    """A collection in a process of its own."""

    def __init__(self, cost: Cost, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.collecting", "work", str(cost.prompts), str(folder)]
        self.cost, self.folder, self.since = cost, folder, time.perf_counter()
        self.of = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1])

    def until(self, there: Callable[[], bool], every_s: float = 0.01) -> float:
        """Seconds from its start until something is there, for which is looked so often."""
        while not there():
            assert self.of.poll() is None, "the collection ended before it was killed"
            time.sleep(every_s)
        return time.perf_counter() - self.since

    def at(self, step: str) -> tuple[float, float]:
        """Seconds from its start until it is at a step, by the wall and of CPU."""
        noted = self.folder / f"{step}-{self.of.pid}"
        return self.until(noted.exists), float(noted.read_text())

    def parts(self, folder: str, count: int) -> float:
        """Seconds from its start until so many parts are in a folder of the table."""
        return self.until(lambda: len(list((self.folder / "table" / folder).glob("part-*"))) >= count, 0.5)

    def ended(self, killed: bool = False) -> None:
        """Wait for its end, and add what it took."""
        cost = self.cost
        _, status, used = os.wait4(self.of.pid, 0)
        self.of.returncode = os.waitstatus_to_exitcode(status)
        assert self.of.returncode == (-9 if killed else 0), self.of.returncode
        cost.cpu += used.ru_utime + used.ru_stime
        cost.wall += time.perf_counter() - self.since
        cost.peak_mb = max(cost.peak_mb, used.ru_maxrss / 1e3)
        files = [path for path in (self.folder / "table").rglob("*") if path.is_file()]
        cost.files, cost.mb = len(files), sum(path.stat().st_size for path in files) / 1e6
        lists = self.folder / "lists"
        cost.lists += lists.stat().st_size if lists.exists() else 0
        lists.unlink(missing_ok=True)


def undisturbed(cost: Cost, folder: Path) -> None:
    """One process to the end."""
    Process(cost, folder).ended()


def killed_twice(cost: Cost, folder: Path) -> None:
    """Killed amid sampling, again amid scoring; the table is whole in the end."""
    blocks = math.ceil(cost.prompts / BLOCK)
    first = Process(cost, folder)
    first.parts("samples", MEMBERS * blocks // 2)
    first.of.kill()
    first.ended(killed=True)
    second = Process(cost, folder)
    waits = [second.at("sampling")]
    second.parts("rewards/fake", blocks // 2)
    second.of.kill()
    second.ended(killed=True)
    third = Process(cost, folder)
    waits.append(third.at("scoring"))
    third.ended()
    for where in ("samples", "rewards/fake"):
        parts = (folder / "table" / where).glob("part-*")
        rows = sum(pyarrow.parquet.read_metadata(part).num_rows for part in parts)
        assert rows == cost.prompts * MEMBERS * K, (where, rows)
    cost.waits = tuple(waits)


def begun(cost: Cost, folder: Path) -> None:
    """Killed as soon as something is sampled, and when more is asked for: of prompts that are too many to wait for."""
    first = Process(cost, folder)
    first.parts("samples", 2)
    first.of.kill()
    first.ended(killed=True)
    second = Process(cost, folder)
    cost.waits = (second.at("sampling"),)
    second.of.kill()
    second.ended(killed=True)


def main() -> None:
    """Measure what is not measured yet, print, write."""
    whole, *larger = [int(argument) for argument in sys.argv[1:]] or [PROMPTS]
    facts = json.loads(FACTS.read_text()) if FACTS.exists() else {}

    def measure(what: str, cost: Cost, how: Callable[[Cost, Path], None], folder: Path) -> None:
        how(cost, folder)
        facts[what] = {"load": os.getloadavg()[0], **asdict(cost)}
        print(_row(what, facts[what]), flush=True)
        FACTS.write_text(json.dumps(facts, indent=1) + "\n")

    for size in (whole // 3, whole):
        if (what := f"{size:,} prompts") not in facts:
            with tempfile.TemporaryDirectory() as name:
                measure(what, Cost(size), undisturbed, Path(name))
                if size == whole:
                    measure("the same again: all done", Cost(size), undisturbed, Path(name))
    for size, how in ((whole, killed_twice), *((size, killed_twice) for size in larger), (PAPER, begun)):
        if (what := f"{size:,} prompts, {'begun' if how is begun else 'killed twice'}") not in facts:
            with tempfile.TemporaryDirectory() as name:
                measure(what, Cost(size), how, Path(name))
    _write(facts)


def _write(facts: dict[str, dict[str, Any]]) -> None:
    from benchmarks.__main__ import machine  # here: it imports torch, which a collection does not

    costs: dict[int, dict[str, Any]] = {}
    for what, cost in facts.items():
        if not what.startswith("the same") and not what.endswith("begun"):
            costs.setdefault(cost["prompts"], cost)  # undisturbed, where it was
    small, large = min(costs), max(costs)
    growth = math.log(costs[large]["cpu"] / costs[small]["cpu"]) / math.log(large / small)
    at_paper = {name: _at_paper(costs, name) for name in ("cpu", "files", "mb")}
    peak = max(cost["peak_mb"] for cost in facts.values())
    loads = [cost["load"] for cost in facts.values()]
    lines = [
        "# Collecting",
        "",
        f"`python -m benchmarks.collecting`: {MEMBERS} members, K = {K}, blocks of {BLOCK:,} prompts; an engine and a "
        "reward model that answer at once. Sampling and scoring together, in one process.",
        "",
        machine()[0],
        f"* beside other work: {min(loads):.1f} to {max(loads):.1f} processes wanted a core when a row ended, so that "
        "times by the wall are longer than need be",
        "",
        "| | responses | CPU | wall | peak memory | files | size | times a folder was listed | at work again after |",
        "|---|---|---|---|---|---|---|---|---|",
        *[_row(what, cost) for what, cost in facts.items()],
        "",
        "*Killed twice*: `kill -9` when half of the responses, and again when half of the scores are written; the "
        "table is whole in the end. *At work again after*: from the start of the same command until the first response "
        "that was not there is asked for, and until the first score that was not there is; in brackets the CPU time, "
        "which is what it takes where nothing else runs. *Begun*: killed when two blocks of a member are sampled, and "
        "when the first response after them is asked for.",
        "",
        f"CPU time grows as prompts to the power of {growth:.2f}. By the lines through the smallest and the "
        f"largest that is whole, {PAPER:,} prompts take {at_paper['cpu'] / 3600:.1f} hours of one core beside the "
        f"models, {at_paper['files']:,.0f} files and {at_paper['mb'] / 1e3:,.1f} GB. "
        "Memory is at its most while a block is scored, or, of many prompts, while those of the source are held "
        f"against those of the table; before the first is asked they are let go: {peak:,.0f} MB at that size. "
        "How often a command lists folders does not depend on how many prompts there are.",
        "",
    ]
    Path(__file__).with_name("COLLECT.md").write_text("\n".join(lines), encoding="utf-8")


def _at_paper(costs: Mapping[int, Mapping[str, Any]], name: str) -> float:
    """A cost at the paper's size, by the line through the smallest and the largest."""
    small, large = min(costs), max(costs)
    a, b = float(costs[small][name]), float(costs[large][name])
    return b + (b - a) / (large - small) * (PAPER - large)


def _row(what: str, cost: Mapping[str, Any]) -> str:
    units = {"cpu": " s", "wall": " s", "peak_mb": " MB", "files": "", "mb": " MB", "lists": ""}
    costs = [f"{cost[name]:,.0f}{unit}" for name, unit in units.items()]
    waits = ", ".join(f"{wall:.0f} s ({cpu:.0f} s)" for wall, cpu in cost["waits"])
    responses = "-" if what.endswith("begun") else f"{cost['prompts'] * MEMBERS * K:,}"
    cells = [what, responses, *costs, waits]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        sys.exit(work(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        main()
