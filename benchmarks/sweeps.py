"""``python -m benchmarks.sweeps``: 24 runs as one sweep beside 24 commands, on the table that ships.

Writes ``benchmarks/SWEEPS.md``. The embeddings ship with the package, so that no side embeds anything. Without figures
and W&B copies what the jobs of a process share shows; with them most of a run's time is its own figures.
"""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.timing import seconds

CHOICES = {
    "router": ["ridge", "knn", "category_mean"],
    "reward_model.name": ["verifier", "yes_logit"],
    "pool.members": ["null", "[qwen-0.5b-shots,qwen-1.5b-direct,qwen-1.5b-shots]"],
    "split.seed": ["0", "1"],
}
KINDS = {
    "`figures=false tracking=off`": ["figures=false", "tracking=off"],
    "With figures, and W&B copies offline": [],
}
TWO_WORKERS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def erp(folder: Path, *arguments: str) -> None:
    """One command in a process of its own."""
    command = [sys.executable, "-m", "erp", "train", *arguments, f"out={folder}", f"cache_dir={folder / 'cache'}"]
    subprocess.run(command, check=True, capture_output=True)


def singly(folder: Path, *more: str) -> None:
    """A command for every combination."""
    for values in itertools.product(*CHOICES.values()):
        erp(folder, *(f"{key}={value}" for key, value in zip(CHOICES, values, strict=True)), *more)


def swept(folder: Path, *launcher: str) -> None:
    """One command for all."""
    erp(folder, "-m", *(f"{key}={','.join(values)}" for key, values in CHOICES.items()), *launcher)


def spent(run: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds of what runs in processes of its own."""

    def cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = cpu()
    wall = seconds(run)
    return wall, cpu() - before


def measured(base: Path, *more: str) -> list[str]:
    """The rows of one table."""
    rows = [
        ("24 commands, one after another", spent(lambda: singly(base / "singly", *more))),
        ("one sweep", spent(lambda: swept(base / "basic", *more))),
        ("one sweep, joblib, two workers", spent(lambda: swept(base / "joblib", *TWO_WORKERS, *more))),
    ]
    made = [len(list((base / kind).glob("*/results.json"))) for kind in ("singly", "basic", "joblib")]
    if made != [24, 24, 24]:
        raise SystemExit(f"runs made: {made}, not 24 each")
    of = rows[0][1]
    return [
        "| 24 runs | CPU time | of the single commands | wall time | of the single commands |", "|---|---|---|---|---|",
        *(f"| {what} | {cpu:.0f} s | {cpu / of[1]:.2f}x | {wall:.0f} s | {wall / of[0]:.2f}x |"
          for what, (wall, cpu) in rows),
    ]  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    about = "3 routers x 2 reward models x 2 pools x 2 splits; once each."
    text = ["# Sweeps", "", f"`python -m benchmarks.sweeps`; {about}", "", machine()[0]]
    with tempfile.TemporaryDirectory() as name:
        for number, (what, more) in enumerate(KINDS.items()):
            text += ["", f"{what}:", "", *measured(Path(name, str(number)), *more)]
            print("\n".join(text))
    Path(__file__).with_name("SWEEPS.md").write_text("\n".join([*text, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
