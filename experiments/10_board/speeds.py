"""How long fitting took, and how fast a router decides: python speeds.py <sweep.json>... speeds.csv.

Fitting: the median over the splits, from the least to the most. Decisions: a thousand random embeddings at once, of the
first split's run; the median of nine times, from the slowest to the fastest. What stands in the file is not measured
again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from reading import Run, read_runs

import erp

AT_ONCE, TIMES = 1_000, 9
KEY, DECISIONS = ["table", "reward_model", "router"], ["decisions", "decisions_low", "decisions_high"]


def main(sweeps: Sequence[str], speeds: str) -> None:
    """Write the table."""
    before = pd.read_csv(speeds) if Path(speeds).exists() else pd.DataFrame(columns=[*KEY, *DECISIONS])
    known = before.set_index(KEY)
    found = []
    for key, runs in grouped(read_runs(map(Path, sweeps))).items():
        row = dict(zip(KEY, key, strict=True)) | {"splits": len(runs)}
        row |= spread("fit_seconds", [run.fit_seconds for run in runs])
        measured = key in known.index
        row |= dict(known.loc[key, DECISIONS]) if measured else spread("decisions", decisions(runs[0].folder))
        found.append(row)
    pd.DataFrame(found).to_csv(speeds, index=False, float_format="%.4g")


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str, str], list[Run]]:
    """Runs of a table, reward model and router, by split."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.panel, run.router, run.split)):
        found.setdefault((*run.panel, run.router), []).append(run)
    return found


def decisions(folder: Path) -> list[float]:
    """Decisions per second, each time."""
    router, rng = erp.load(folder), np.random.default_rng(0)
    embedding = rng.standard_normal((AT_ONCE, router.card.dimension)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    category = rng.integers(max(1, len(router.card.categories)), size=AT_ONCE) - (not router.card.categories)
    found = []
    for _ in range(TIMES + 1):
        begun = time.perf_counter()
        router.bundle.predict(embedding, category, neighbours=False).choice(router.policy)
        found.append(AT_ONCE / (time.perf_counter() - begun))
    return found[1:]  # the first one is for what is set up once


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median, the least and the most."""
    return {name: np.median(values), f"{name}_low": np.min(values), f"{name}_high": np.max(values)}


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python speeds.py <sweep.json>... speeds.csv")
    main(sys.argv[1:-1], sys.argv[-1])
