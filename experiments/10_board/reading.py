"""Runs of the board's sweeps, read back, and why a router has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.decisions.choice import choose
from erp.results import costs_differ, look_up
from erp.runs import RunFolder
from erp.sweeps import Sweep, read_sweep
from erp.table.source import table_label

LIMIT = "not finished within its limit"  # of minutes, in run.sh
CELLS = ["predicted", "observed", "predicted_cost", "cost"]


@dataclass(frozen=True, eq=False)
class Run:
    """A run on its n test prompts whose cells are all present.

    Attributes:
        folder: of the run.
        panel: table and reward model.
        router: its name, and how it gets the category where that is not the usual way.
        split: seed of the split.
        fit_seconds: that fitting took; None where the run did not tell.
        ids, groups: (n,) of the prompts.
        predicted, observed, predicted_cost, cost: (n, M).
        single: the member that was best on train.
        costs_differ: whether there is a cost axis.
        curve: (P,) lambdas of its curve, from 0, in reward per base unit of cost.
        cheapest: the lambda that is to keep the best single's reward, chosen on validation; None where there is none.
    """

    folder: Path
    panel: tuple[str, str]
    router: str
    split: int
    fit_seconds: float | None
    ids: np.ndarray
    groups: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray
    predicted_cost: np.ndarray
    cost: np.ndarray
    single: int
    costs_differ: bool
    curve: np.ndarray
    cheapest: float | None

    @property
    def alone(self) -> np.ndarray:
        """(n,) reward of the best single member."""
        return self.observed[:, self.single]

    @property
    def alone_cost(self) -> np.ndarray:
        """(n,) its cost."""
        return self.cost[:, self.single]

    @cached_property
    def reward(self) -> np.ndarray:
        """(n,) of its choices at lambda = 0."""
        return self.earned([0.0])[0][:, 0]

    def lambdas(self, most: int) -> np.ndarray:
        """Some of the curve's lambdas, its ends among them."""
        kept = np.unique(np.linspace(0, len(self.curve) - 1, min(most, len(self.curve))).round().astype(int))
        return self.curve[kept]

    def earned(self, lambdas: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, P) rewards and costs of the choices at each lambda."""
        rows = np.arange(len(self.ids))
        chosen = [choose(self.predicted, self.predicted_cost, float(price)) for price in lambdas]
        return tuple(np.stack([cells[rows, one] for one in chosen], axis=1) for cells in (self.observed, self.cost))


def read_runs(sweeps: Iterable[Path]) -> list[Run]:
    """Every finished run of some sweeps, each once."""
    folders = {RunFolder(folder(text, path)).path.resolve() for path in sweeps for text in read_sweep(path).runs}
    return [read_run(RunFolder(path)) for path in sorted(folders) if RunFolder(path).finished]


def folder(text: str, sweep: Path) -> Path:
    """A run of a sweep, also where both were moved together."""
    return Path(text) if Path(text).exists() else sweep.parent.parent / Path(text).name


def read_run(kept: RunFolder) -> Run:
    """One run. Raises AssertionError where its predictions are not those of its results."""
    results = kept.load_results()
    run, members, size = results["run"], results["run"]["members"], results["cost"]["shown_size"]
    frame = pd.read_parquet(kept.predictions, filters=[("split", "==", "test")])
    cells = frame.set_index(["prompt_id", "model"])
    tables = [cells[name].unstack()[members] for name in CELLS]  # noqa: PD010 - each cell is there once
    complete = tables[1].notna().all(axis=1).to_numpy()
    ids = tables[0].index[complete]
    split = pd.read_parquet(kept.split, columns=["prompt_id", "group_key"]).drop_duplicates("prompt_id")
    curve, saving = look_up(results, "curves", "router", "lambda"), look_up(results, "cost_save")
    prices = sorted({np.inf if price is None else price / size for price in curve})
    found = Run(
        kept.path, (run["table"], run["reward_model"]), called(run), run["split_seed"], run.get("fit_seconds"),
        ids.to_numpy(), split.set_index("prompt_id")["group_key"].reindex(ids).to_numpy(),
        *(table.to_numpy(np.float64)[complete] for table in tables),
        members.index(results["routing"]["best_single"]["member"]), costs_differ(results), np.array(prices),
        None if saving is None else (np.inf if saving["lambda"] is None else saving["lambda"] / size),
    )  # fmt: skip
    assert np.isclose(found.reward.mean(), results["routing"]["router"]["reward"], rtol=1e-9, atol=1e-9), kept.path
    return found


def called(run: dict[str, Any]) -> str:
    """The router's name on the board."""
    return run["router"] + (", predicted" if run["category"] == "predicted" else "")


def blanks_of(sweeps: Iterable[Path], runs: Sequence[Run]) -> Iterator[tuple[str, str, str, str]]:
    """Table, reward model and router that a sweep was to make and has no run of, and why."""
    there = {(*run.panel, run.router) for run in runs}
    panels = {run.panel for run in runs}
    said: dict[tuple[str, str, str], str] = {}
    for path in sweeps:
        for about, error in failed(read_sweep(path)):
            label = table_label({"path": about["data.path"]}) if "data.path" in about else about.get("data", "mini")
            for table, reward_model in panels:
                asked = about.get("reward_model.name", reward_model)
                if table == label and asked == reward_model:
                    said.setdefault((table, reward_model, about["router"]), error)
    for key, error in said.items():
        if key not in there:
            yield *key, error


def failed(sweep: Sweep) -> Iterator[tuple[dict[str, str], str]]:
    """Overrides and error of every job that came to nothing."""
    for job in sweep.jobs.values():
        if job.status != "ok":
            about = {key: value.strip('"') for key, value in (o.split("=", 1) for o in job.overrides)}
            yield about, LIMIT if "KeyboardInterrupt" in str(job.error) else wrong(str(job.error))


def wrong(error: str) -> str:
    """What an error says is wrong, without what to do about it and the names."""
    return error.splitlines()[0].partition(": ")[2].partition(";")[0].partition(": ")[0]
