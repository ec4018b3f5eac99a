"""``python -m benchmarks.sweeps``: 24 runs as one sweep beside 24 commands, on the table that ships.

Writes ``benchmarks/SWEEPS.md``. The embeddings ship with the package, so that no side embeds anything.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.__main__ import machine
from benchmarks.timing import seconds

CHOICES = {
    "router": ["ridge", "knn", "category_mean"],
    "reward_model.name": ["verifier", "yes_logit"],
    "pool.members": ["null", "[qwen-0.5b-shots,qwen-1.5b-direct,qwen-1.5b-shots]"],
    "split.seed": ["0", "1"],
}
TWO_WORKERS = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


def erp(folder: Path, *arguments: str) -> None:
    """One command in a process of its own."""
    command = [sys.executable, "-m", "erp", "train", *arguments, f"out={folder}", f"cache_dir={folder / 'cache'}"]
    subprocess.run(command, check=True, capture_output=True)


def singly(folder: Path) -> None:
    """A command for every combination."""
    for values in itertools.product(*CHOICES.values()):
        erp(folder, *(f"{key}={value}" for key, value in zip(CHOICES, values, strict=True)))


def swept(folder: Path, *launcher: str) -> None:
    """One command for all."""
    erp(folder, "-m", *(f"{key}={','.join(values)}" for key, values in CHOICES.items()), *launcher)


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        rows = [
            ("24 commands, one after another", seconds(lambda: singly(base / "singly"))),
            ("one sweep", seconds(lambda: swept(base / "basic"))),
            ("one sweep, joblib, two workers", seconds(lambda: swept(base / "joblib", *TWO_WORKERS))),
        ]
        made = [len(list((base / kind).glob("*/wandb"))) for kind in ("singly", "basic", "joblib")]
    if made != [24, 24, 24]:
        raise SystemExit(f"runs made, with their W&B copies: {made}, not 24 each")
    lines = ["| 24 runs | wall time | of the single commands |", "|---|---|---|"]
    lines += [f"| {what} | {wall:.0f} s | {wall / rows[0][1]:.2f}x |" for what, wall in rows]
    about = "3 routers x 2 reward models x 2 pools x 2 splits, with W&B copies offline; one run each"
    text = ["# Sweeps", "", f"`python -m benchmarks.sweeps`; {about}.", "", machine()[0], "", *lines, ""]
    print("\n".join(lines))
    Path(__file__).with_name("SWEEPS.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
