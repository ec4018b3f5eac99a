"""``python -m benchmarks [--small]``: time everything, print as it goes, write ``benchmarks/RESULTS.md``."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets them, before torch and numpy come
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

import datetime
import platform
import sys
from pathlib import Path

import numpy
import scipy
import sklearn
import torch
from threadpoolctl import threadpool_info

from benchmarks.subjects import SUBJECTS, Row

HEADER = "| what | against | ours | the other | ratio | target | met |"


def machine() -> list[str]:
    """What the numbers were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    blas = sorted({f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"})
    return [
        f"* {datetime.date.today().isoformat()}; {cpu}, {os.cpu_count()} cores; Python {platform.python_version()}",
        f"* numpy {numpy.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; BLAS of numpy: {', '.join(blas)}",
        "* medians of runs in turn after a warm-up, in brackets the range over pairs",
        "* RidgeCV and scipy's bootstrap: two runs without a warm-up, ours the median of three each time",
    ]


def line(row: Row) -> str:
    """A row of the table."""
    met = "-" if row.target == "-" else "yes" if row.met else "**no**"
    cells = (row.what, row.against, row.ours, row.other, row.ratio, row.target, met)
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run every subject."""
    small = "--small" in sys.argv
    lines = [HEADER, "|---|---|---|---|---|---|---|"]
    print("\n".join(lines))
    for subject in SUBJECTS:
        for row in subject(small):
            lines.append(line(row))
            print(lines[-1], flush=True)
    if not small:
        text = ["# Benchmarks", "", "`make bench` rewrites this page.", "", *machine(), "", *lines, ""]
        Path(__file__).with_name("RESULTS.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
