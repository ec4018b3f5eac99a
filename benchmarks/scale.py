"""``python -m benchmarks.scale [10000 100000 1000000]``: describe and train end to end at growing sizes.

Beside them what one would write instead: pandas and RidgeCV. Each command is a process of its own, on one
thread; CPU seconds and peak memory are the operating system's. Writes ``benchmarks/SCALE.md``.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from benchmarks.__main__ import machine

SIZES = (10_000, 100_000, 1_000_000)
MEMBERS = 5
RESPONSES = 32  # behind every mean
WORDS = 60  # of a prompt, at the median
ALIKE = 0.05  # share of prompts that are another with one word changed
AT_ONCE = 50_000
MOST_GB = 16  # that what one would write instead may take
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        cpu: seconds, of the system's work for it too.
        wall: seconds.
        peak: MB.
        phases: CPU seconds by what it did, where it tells.
    """

    cpu: float
    wall: float
    peak: float
    phases: dict[str, float] = field(default_factory=dict)


def make_table(prompts: int, path: Path) -> None:
    """A long table of one file: a row a mean of `RESPONSES` rewards, texts of words by Zipf's law, eight categories."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(rng.choice(letters, size=rng.integers(2, 11))) for _ in range(30_000)], dtype=object)
    chance = np.cumsum(1 / np.arange(1, len(words) + 1) ** 0.9)
    writer = None
    for start in range(0, prompts, AT_ONCE):
        n = min(AT_ONCE, prompts - start)
        lengths = np.clip(rng.lognormal(math.log(WORDS), 0.7, n), 4, 600).astype(int)
        drawn = words[np.searchsorted(chance / chance[-1], rng.random(lengths.sum()))]
        ends = np.cumsum(lengths)
        texts = [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
        for i in np.flatnonzero(rng.random(n) < ALIKE).tolist():
            changed = texts[int(rng.integers(n))].split()
            changed[int(rng.integers(len(changed)))] = "changed"
            texts[i] = " ".join(changed)
        category = rng.integers(0, 8, n)
        mean = 0.7 * rng.normal(size=(n, 1)) + np.sin(np.outer(category + 1, np.arange(1, MEMBERS + 1))) / 2
        table = pyarrow.table({
            "prompt_id": np.repeat([f"p{i:07d}" for i in range(start, start + n)], MEMBERS),
            "prompt": pyarrow.array(np.repeat(np.array(texts, dtype=object), MEMBERS)),
            "category": np.repeat([f"category {c}" for c in category], MEMBERS),
            "model": np.tile([f"member-{m}" for m in range(MEMBERS)], n),
            "reward": (mean + 0.4 * rng.normal(size=(n, MEMBERS))).ravel(),
            "n_samples": np.full(n * MEMBERS, RESPONSES),
            "completion_tokens": rng.lognormal(5, 0.5, n * MEMBERS).round(1),
        })  # fmt: skip
        writer = writer or pyarrow.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def spent(folder: Path, *arguments: str, most_gb: int | None = None) -> Cost | None:
    """Run Python in a process of its own; None where it needs more memory than it is given."""
    environment = {**os.environ, **THREADS, "ERP_CACHE": str(folder / "cache")}
    bound = None if most_gb is None else partial(resource.setrlimit, resource.RLIMIT_AS, (most_gb << 30, most_gb << 30))
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, preexec_fn=bound
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode and bound is not None:
        return None
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def measured(folder: Path, *arguments: str, most_gb: int | None = None) -> Cost | None:
    """Run a module of this package, which may tell its phases; None as `spent`."""
    told = folder / "phases.json"
    told.unlink(missing_ok=True)
    cost = spent(folder, "-m", *arguments, str(told), most_gb=most_gb)
    return cost and replace(cost, phases=json.loads(told.read_text()) if told.exists() else {})


def at(prompts: int, folder: Path) -> dict[str, Cost | None]:
    """All costs at one size."""
    table = folder / "table.parquet"
    make_table(prompts, table)
    phases = "benchmarks.phases"
    run = ["train", f"data.path={table}", f"out={folder / 'runs'}", "router=ridge", "figures=false", "tracking=off"]
    describe = measured(folder, phases, "describe", f"data.path={table}")
    measured(folder, phases, *run, "seed=1")  # makes the features
    train = measured(folder, phases, *run)
    by_hand = measured(folder, "benchmarks.by_hand", str(table), str(folder), most_gb=MOST_GB)
    return {"describe": describe, "train, features given": train, "pandas and RidgeCV, features given": by_hand}


def exponents(found: dict[int, dict[str, Cost | None]]) -> list[str]:
    """How CPU time grows from each size to the next: the power of the number of prompts."""
    lines = []
    for small, large in pairwise(sorted(found)):
        for what, cost in found[small].items():
            after = found[large][what]
            if cost is not None and after is not None:
                power = math.log(after.cpu / cost.cpu) / math.log(large / small)
                lines.append(f"| {what} | {small:,} to {large:,} | {power:.2f} |")
    return lines


def page(found: dict[int, dict[str, Cost | None]]) -> list[str]:
    """The tables."""
    lines = ["| prompts | what | CPU | wall | peak memory |", "|---|---|---|---|---|"]
    for size, costs in sorted(found.items()):
        for what, cost in costs.items():
            told = f"- | - | more than {MOST_GB} GB"
            if cost is not None:
                told = f"{cost.cpu:.1f} s | {cost.wall:.1f} s | {cost.peak:,.0f} MB"
            lines.append(f"| {size:,} | {what} | {told} |")
    lines += ["", "CPU seconds by phase:", ""]
    for what in ("describe", "train, features given"):
        spent = {size: cost.phases for size, costs in sorted(found.items()) if (cost := costs[what]) is not None}
        phases = list(dict.fromkeys(phase for row in spent.values() for phase in row))
        lines += [f"| {what} | {' | '.join(phases)} |", "|---" * (len(phases) + 1) + "|"]
        lines += [
            f"| {n:,} | {' | '.join(f'{row.get(phase, 0.0):.1f}' for phase in phases)} |" for n, row in spent.items()
        ]
        lines.append("")
    return [*lines, "| CPU time grows as a power of the prompts | | |", "|---|---|---|", *exponents(found)]


def main() -> None:
    """Measure the sizes asked for, and write the page of all that have been."""
    kept = Path(__file__).with_name("scale.json")
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for size in [int(word) for word in sys.argv[1:]] or SIZES:
        with tempfile.TemporaryDirectory() as name:
            costs = at(size, Path(name))
        known[str(size)] = {what: None if cost is None else asdict(cost) for what, cost in costs.items()}
        kept.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    found = {
        int(size): {what: None if cost is None else Cost(**cost) for what, cost in costs.items()}
        for size, costs in known.items()
    }
    about = (
        f"`python -m benchmarks.scale`: a synthetic long table of {MEMBERS} members, a row a mean of {RESPONSES} "
        f"responses, prompts of {WORDS} words at the median; hashed features, ridge, no figures. `describe` starts "
        "with an empty cache; near-duplicates and features are in it when `train` starts. Parts within a part count "
        "twice: near-duplicates are looked for by `describe` and by the split. One run each, one thread."
    )
    lines = page(found)
    print("\n".join(lines))
    text = ["# Scale", "", about, "", machine()[0], "", *lines, ""]
    Path(__file__).with_name("SCALE.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
