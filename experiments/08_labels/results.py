"""More prompts or more samples; other statistics than the mean: python results.py <sweep.json> [<kinds.json>].

Writes results.csv to stdout. Prompts of all splits together, at lambda = 0, all samples of test; intervals are over
groups of prompts. Rows: a cell of the grid; how well theory orders them; a contrast, mean over the grid's neighbours; a
statistic that a router learnt and is judged by.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.config import validate
from erp.decisions.choice import choose
from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.tested import read_tested
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.variance import budget_curve, decompose
from erp.programs.compare import find_runs
from erp.runs import RunFolder
from erp.table.schema import RewardTable
from erp.table.source import load_table
from erp.targets import expected_reward

Floats = NDArray[np.float64]
NUMBERS = ("r2", "r2_differences", "reward", "gain")
STEPS = {"twice the prompts": (2, 1), "twice the samples": (1, 2), "twice the prompts, half the samples": (2, 0.5)}


def tested(sweep: str) -> list[TestedRun]:
    """The sweep's runs, by split."""
    content = list(find_runs([sweep], Path(sweep).parent.parent).runs.items())
    runs = [run for run in read_tested(content)[0] if isinstance(run, TestedRun)]
    return sorted(runs, key=lambda run: run.split_seed)


def cells(run: TestedRun, column: str) -> Floats:
    """(N, M) of a column of the run's predictions, on its test prompts."""
    frame = pd.read_parquet(RunFolder(run.folder).predictions, filters=[("split", "==", "test")])
    table = frame.pivot_table(index="prompt_id", columns="model", values=column)
    return table.loc[list(run.ids), list(run.panel[2])].to_numpy()


def resampling(runs: list[TestedRun]) -> GroupBootstrap:
    """Over the groups of prompts of runs that stand one below the other."""
    return GroupBootstrap(np.unique(np.concatenate([run.groups for run in runs]), return_inverse=True)[1])


def squares(run: TestedRun) -> Floats:
    """(N, 4) per prompt: errors and spread about the members' test means, of the rewards and of their differences."""
    columns, scores = [], cells(run, "predicted")
    for values in (lambda x: x, lambda x: x - x.mean(axis=1, keepdims=True)):  # all pairs: M times the centred ones
        seen = values(run.observed)
        columns += [((seen - values(scores)) ** 2).sum(1), ((seen - seen.mean(axis=0)) ** 2).sum(1)]
    return np.stack(columns, axis=1)


class Cell:
    """N prompts with K samples, on R rows: test prompts of every split.

    Attributes:
        learnt: prompts learnt from, mean over splits; fewer than were asked for where there are no more.
        rows: (R, 6) errors and spreads (`squares`), reward, reward above the best single.
    """

    def __init__(self, runs: list[TestedRun]) -> None:
        split = [RunFolder(run.folder).load_split()["split"] for run in runs]
        self.learnt = np.mean([part.isin(["train", "validation"]).sum() for part in split])
        parts = [np.column_stack([squares(run), run.reward, run.gain]) for run in runs]
        self.rows = np.concatenate(parts)


def statistics(means: Floats) -> Floats:
    """R^2, R^2 of differences, reward and gain from means (..., 6) of a cell's rows."""
    errors, spreads = means[..., 0:4:2], means[..., 1:4:2]
    return np.concatenate([1 - errors / spreads, means[..., 4:]], axis=-1)


def grid(runs: list[TestedRun]) -> Iterator[dict[str, object]]:
    """Rows of the cells, each beside what theory says and the cell of the same budget with most prompts; contrasts."""
    parted: dict[tuple[int, int], list[TestedRun]] = {}
    for run in runs:
        size = (int(run.settings["labels.prompts"]), int(run.settings["labels.samples"]))
        parted.setdefault(size, []).append(run)
    found = {size: Cell(parted[size]) for size in sorted(parted)}
    bootstrap = resampling(next(iter(parted.values())))
    rows = []
    for size, cell in found.items():
        rival = max(other for other in found if other[0] * other[1] == size[0] * size[1])
        row = {"of": "cell", "name": f"{size[0]} x {size[1]}", "prompts": size[0], "samples": size[1],
               "labels": size[0] * size[1], "learnt": cell.learnt, **theory(runs[0], *size),
               **named(NUMBERS, bootstrap.of_means(cell.rows, statistics))}  # fmt: skip
        rows.append(row | ({} if rival == size else less(bootstrap, [(cell, found[rival])])))
    yield from rows
    if "se_mean" in rows[0]:
        frame = pd.DataFrame(rows)
        yield {"of": "theory", "name": "rank correlation with its errors, sign turned"} | {
            number: -frame[number].corr(frame[error], method="spearman")
            for number, error in (("r2", "se_mean"), ("r2_differences", "se_difference"))
        }  # fmt: skip
    for name, (more, times) in STEPS.items():
        pairs = [(found[n * more, k * times], cell) for (n, k), cell in found.items() if (n * more, k * times) in found]
        if pairs:
            yield {"of": "contrast", "name": name, **less(bootstrap, pairs)}


def theory(run: TestedRun, prompts: int, samples: int) -> dict[str, float]:
    """What the variance shares of the whole table say of such labels; nothing where they are not known (K = 1)."""
    table = table_of(run.folder)
    found = decompose(expected_reward(table)).components
    if found is None:
        return {}
    point = vars(budget_curve(found, len(table.members), prompts * samples, [samples])[0])
    return {key: value for key, value in point.items() if key not in ("prompts", "samples")}


@cache
def table_of(path: Path) -> RewardTable:
    """The table that a run read."""
    config = validate("train", RunFolder(path).load_config())
    return load_table(config.data, config.reward_model, config.pool)


def less(bootstrap: GroupBootstrap, pairs: list[tuple[Cell, Cell]]) -> dict[str, float]:
    """Intervals of the first cell's R^2, R^2 of differences and reward less those of the second, mean over pairs."""

    def differences(means: Floats) -> Floats:
        parts = np.split(means, 2 * len(pairs), axis=-1)
        each = [statistics(a) - statistics(b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        return np.mean(each, axis=0)[..., :3]

    found = bootstrap.of_means(np.concatenate([cell.rows for pair in pairs for cell in pair], axis=1), differences)
    return named(tuple(f"{name}_less" for name in NUMBERS[:3]), found)


def named(names: tuple[str, ...], intervals: list[Interval]) -> dict[str, float]:
    """Three columns for each interval."""
    return {f"{name}{end}": value for name, i in zip(names, intervals, strict=True)
            for end, value in (("", i.mean), ("_low", i.low), ("_high", i.high))}  # fmt: skip


def kinds(runs: list[TestedRun]) -> Iterator[dict[str, object]]:
    """For each statistic: a router that learnt it, less one that learnt the mean, both judged by that statistic."""
    by_kind: dict[str, list[TestedRun]] = {}
    for run in runs:
        by_kind.setdefault(json.loads(run.settings["target.kind"]), []).append(run)
    for kind, own in by_kind.items():
        learnt, mean = (chosen(some) for some in (own, by_kind["mean"]))
        observed = np.concatenate([run.observed for run in own])
        of_mean = np.concatenate([run.observed for run in by_kind["mean"]])
        at = np.arange(len(learnt))
        bootstrap = resampling(own)
        gain = bootstrap.interval(np.concatenate([run.gain for run in own]))
        row = {"of": "statistic", "name": kind, **named(("gain",), [gain]), "other_choice": np.mean(learnt != mean)}
        yield row | named(("statistic_less", "mean_less"), bootstrap.intervals(np.stack([
            observed[at, learnt] - observed[at, mean], of_mean[at, learnt] - of_mean[at, mean]], axis=1)))  # fmt: skip


def chosen(runs: list[TestedRun]) -> NDArray[np.int64]:
    """(R,) the members that the runs send their test prompts to."""
    return np.concatenate([choose(cells(run, "predicted"), cells(run, "predicted_cost"), 0.0) for run in runs])


if __name__ == "__main__":
    rows = [*grid(tested(sys.argv[1])), *(kinds(tested(sys.argv[2])) if len(sys.argv) > 2 else [])]
    pd.DataFrame(rows).round(5).to_csv(sys.stdout, index=False)
