"""``python -m benchmarks.collecting [PROMPTS]``: what ``erp collect`` itself costs, beside the models.

Engine and reward model answer at once; store, journals, parts and manifests are real. Two sizes tell how it grows: a
third of PROMPTS and PROMPTS, five members, K = 32, blocks as large as at the paper's 1.42 million prompts. Then the
same command once more, which finds all done. Each is a process of its own. Writes ``benchmarks/COLLECT.md``.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.__main__ import machine
from erp import cli
from erp.collect.rewards.base import Pair, RewardAdapter
from erp.collect.store import Store
from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Request, Response

PROMPTS, MEMBERS, K, BLOCK = 14_209, 5, 32, 512  # a hundredth of open-perfectblend
PAPER = 1_420_909
_TEXT = "An answer of some sixty words, as long as small models like to give one. " * 5


class Instant(Engine):
    """Answers at once."""

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """The same words, and which request and sample it was."""
        del member
        for position, request in enumerate(requests):
            for sample in request.samples:
                yield position, sample, Response(f"{_TEXT}{request.seed} {sample}", 30, 70, "stop")


class Length(RewardAdapter):
    """Scores by length."""

    def score(self, pairs: Sequence[Pair]) -> list[float | Failure | None]:
        """Characters."""
        return [float(len(pair.response)) for pair in pairs]


def work(prompts: int, folder: Path) -> None:
    """A collection in this process; prints what it took as JSON."""
    config = folder / "conf"
    for group, name in (("engine", Instant), ("reward_model", Length)):
        (config / group).mkdir(parents=True, exist_ok=True)
        (config / group / "fake.yaml").write_text(f"name: fake\n_target_: benchmarks.collecting.{name.__name__}\n")
    source = folder / "prompts.jsonl"
    if not source.exists():
        words = " ".join(["word"] * 60)
        rows = ({"prompt_id": f"p{i}", "prompt": f"{words} {i}?"} for i in range(prompts))
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lists, names = [0], Store.names

    def counted(store: Store, where: str) -> set[str]:
        lists[0] += 1
        return names(store, where)

    Store.names = counted  # type: ignore[method-assign]
    members = ",".join(f"m{i}" for i in range(MEMBERS))
    wall = time.perf_counter()
    code = cli.main([
        "collect", f"--config-dir={config}", "prompts=jsonl", f"prompts.path={source}", "pool=all",
        f"pool.members=[{members}]", "engine=fake", "reward_model=fake", f"k={K}", f"block={BLOCK}", f"out={folder}",
        "name=table", "progress=false",
    ])  # fmt: skip
    assert code == 0
    files = [path for path in (folder / "table").rglob("*") if path.is_file()]
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {
        "cpu": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - wall, "peak_mb": used.ru_maxrss / 1e3,
        "lists": lists[0], "files": len(files), "mb": sum(path.stat().st_size for path in files) / 1e6,
    }  # fmt: skip
    print(json.dumps(facts))


def measured(prompts: int, folder: Path) -> dict[str, float]:
    """The facts of such a process."""
    command = [sys.executable, "-m", "benchmarks.collecting", "work", str(prompts), str(folder)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    facts: dict[str, float] = json.loads(said.splitlines()[-1])
    return facts


def main() -> None:
    """Measure, print, write."""
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS
    sizes, rows, found = [largest // 3, largest], [], []
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            found.append(measured(size, folder))
            rows.append(_row(f"{size:,} prompts", size, found[-1]))
            print(rows[-1], flush=True)
            if size == largest:
                rows.append(_row("the same again: all done", size, measured(size, folder)))
                print(rows[-1], flush=True)
    growth = math.log(found[1]["cpu"] / found[0]["cpu"]) / math.log(sizes[1] / sizes[0])
    slope = (found[1]["cpu"] - found[0]["cpu"]) / (sizes[1] - sizes[0])
    lines = [
        "# Collecting",
        "",
        f"`python -m benchmarks.collecting {largest}`: {MEMBERS} members, K = {K}, blocks of {BLOCK:,} prompts; an "
        "engine and a reward model that answer at once. Sampling and scoring together.",
        "",
        machine()[0],
        "",
        "| | responses | CPU | wall | peak memory | files | size | times a folder was listed |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"CPU time grows as prompts to the power of {growth:.2f}. By the slope between the two, {PAPER:,} prompts take "
        f"{slope * PAPER / 3600:.1f} hours of one core beside the models.",
        "",
    ]
    Path(__file__).with_name("COLLECT.md").write_text("\n".join(lines), encoding="utf-8")


def _row(name: str, prompts: int, facts: dict[str, float]) -> str:
    cells = [
        name, f"{prompts * MEMBERS * K:,}", f"{facts['cpu']:.0f} s", f"{facts['wall']:.0f} s",
        f"{facts['peak_mb']:,.0f} MB", f"{facts['files']:,.0f}", f"{facts['mb']:,.0f} MB", f"{facts['lists']:.0f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
