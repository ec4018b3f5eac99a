"""``python -m benchmarks.importing [ROWS]``: ``erp import`` of a sheet and of JSON lines, beside pandas by hand.

By hand is what one would write instead: ``read_csv``, ``melt``, ``to_parquet``; nothing is checked or counted by it.
Each is a process of its own, on one thread; CPU seconds and peak memory are the operating system's. Writes
``benchmarks/IMPORT.md``.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.__main__ import machine
from benchmarks.scale import Cost, spent

ROWS = 1_000_000
MEMBERS = 5
HAND = """
import pandas, sys
sheet = pandas.read_{kind}
members = [name for name in sheet if name.startswith("score_")]
long = sheet.melt(id_vars=["id", "prompt", "task"], value_vars=members, var_name="model", value_name="reward")
long.to_parquet(sys.argv[2])
"""
READ = {"csv": "csv(sys.argv[1])", "jsonl": "json(sys.argv[1], lines=True)"}


def make_sheets(rows: int, folder: Path) -> dict[str, Path]:
    """The same sheet twice: 20 words a prompt, a score of three digits for each member."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(5000)])
    paths = {kind: folder / f"sheet.{kind}" for kind in READ}
    names = [f"score_m{m}" for m in range(MEMBERS)]
    with paths["csv"].open("w", encoding="utf-8") as sheet, paths["jsonl"].open("w", encoding="utf-8") as lines:
        sheet.write(",".join(["id", "prompt", "task", *names]) + "\n")
        for i in range(rows):
            text, scores = " ".join(words[rng.integers(0, len(words), 20)]), rng.random(MEMBERS).round(3).tolist()
            sheet.write(f'q{i},"{text}",task{i % 20},{",".join(map(str, scores))}\n')
            record = {"id": f"q{i}", "prompt": text, "task": f"task{i % 20}", **dict(zip(names, scores, strict=True))}
            lines.write(json.dumps(record) + "\n")
    return paths


def main() -> None:
    """Measure, and write the page."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    table = [
        "| | bytes | ours, CPU s | by hand, CPU s | ratio | ours, MB | by hand, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, path in make_sheets(rows, folder).items():
            ours = spent(
                folder, "-m", "erp", "import", f"path={path}", f"out={folder / kind}",
                'source.pattern="score_{member}"',
                "source.columns.prompt_id=id", "source.columns.category=task", "progress=false",
            )  # fmt: skip
            hand = spent(folder, "-c", HAND.format(kind=READ[kind]), str(path), str(folder / "long.parquet"))
            assert ours is not None
            assert hand is not None
            table.append(_row(kind, path.stat().st_size, ours, hand))
            print(table[-1], flush=True)
    text = ["# Import", "", f"`python -m benchmarks.importing {rows}`: {rows:,} rows x {MEMBERS} members.", ""]
    Path(__file__).with_name("IMPORT.md").write_text(
        "\n".join([*text, *machine()[:2], "", *table, ""]), encoding="utf-8"
    )


def _row(kind: str, size: int, ours: Cost, hand: Cost) -> str:
    return (
        f"| {kind} | {size / 1e6:,.0f} MB | {ours.cpu:.1f} | {hand.cpu:.1f} | {ours.cpu / hand.cpu:.1f} | "
        f"{ours.peak:,.0f} | {hand.peak:,.0f} |"
    )


if __name__ == "__main__":
    main()
