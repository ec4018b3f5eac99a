"""R^2 and gain of every backbone, and both less minilm's: python results.py <sweep.json> > results.csv.

Prompts of all splits together, at lambda = 0; intervals are over groups of prompts. R^2 is that of all members
together, and that of the differences between every two of them, which routing lives on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp import load
from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.tested import read_tested
from erp.metrics.intervals import GroupBootstrap
from erp.programs.compare import find_runs
from erp.runs import RunFolder

BASE = "minilm"
Floats = NDArray[np.float64]


def rows(sweep: str) -> Iterator[dict[str, object]]:
    """A row for every reward model and backbone, reward models by name."""
    content = dict(find_runs([sweep], Path(sweep).parent.parent).runs)
    parted: dict[tuple[str, str], list[TestedRun]] = {}
    for run in read_tested(list(content.items()))[0]:
        if isinstance(run, TestedRun):
            parted.setdefault((run.panel[1], run.backbone), []).append(run)
    for (reward_model, backbone), own in sorted(parted.items(), key=lambda item: item[0][0]):
        runs = sorted(own, key=lambda run: run.split_seed)
        base = sorted(parted.get((reward_model, BASE), own), key=lambda run: run.split_seed)
        values = np.concatenate([np.column_stack([numbers(a), numbers(b)]) for a, b in zip(runs, base, strict=True)])
        groups = np.unique(np.concatenate([run.groups for run in runs]), return_inverse=True)[1]
        found = GroupBootstrap(groups).of_means(values, statistics)
        names = ("r2", "r2_differences", "gain", "r2_less", "r2_differences_less", "gain_less")
        predictions = pd.DataFrame([content[run.folder]["prediction"] for run in runs])
        yield {
            "reward_model": reward_model, "backbone": backbone, "dimension": load(runs[0].folder).card.dimension,
            "parameters": RunFolder(runs[0].folder).load_config()["backbone"].get("active_parameters"),
            "best_single": np.concatenate([run.single for run in runs]).mean(),
            "r2_ceiling": predictions["r2_pooled_ceiling"].astype(float).mean(),
            "r2_differences_ceiling": predictions["r2_differences_ceiling"].astype(float).mean(),
            **{f"{name}{end}": value for name, i in zip(names, found, strict=True)
               for end, value in (("", i.mean), ("_low", i.low), ("_high", i.high))},
        }  # fmt: skip


def numbers(run: TestedRun) -> Floats:
    """(N, 5) per prompt: errors and spread about the members' test means, of rewards and of differences; the gain."""
    frame = pd.read_parquet(RunFolder(run.folder).predictions, filters=[("split", "==", "test")])
    table = frame.pivot_table(index="prompt_id", columns="model", values="predicted")
    predicted = table.loc[list(run.ids), list(run.panel[2])].to_numpy()
    columns = []
    for values in (lambda x: x, lambda x: x - x.mean(axis=1, keepdims=True)):  # all pairs: M times the centred ones
        seen = values(run.observed)
        columns += [((seen - values(predicted)) ** 2).sum(1), ((seen - seen.mean(axis=0)) ** 2).sum(1)]
    return np.column_stack([*columns, run.gain])


def statistics(means: Floats) -> Floats:
    """R^2, that of differences and gain, and each less that of the base, from means (..., 10)."""
    own, base = (
        np.concatenate([1 - part[..., 0:4:2] / part[..., 1:4:2], part[..., 4:]], axis=-1)
        for part in np.split(means, 2, axis=-1)
    )
    return np.concatenate([own, own - base], axis=-1)


if __name__ == "__main__":
    pd.DataFrame(rows(sys.argv[1])).round(5).to_csv(sys.stdout, index=False)
