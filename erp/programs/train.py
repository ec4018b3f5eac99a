"""``erp train``: a table in, a trained and tested router in a run folder out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.build import build
from erp.compose import compose
from erp.config import TrainConfig, validate
from erp.config.resolved import read_resolved
from erp.decisions.policy import Calibration, Policy
from erp.errors import ErpError
from erp.evaluation.bins import binned
from erp.evaluation.choices import choose
from erp.evaluation.evaluate import area, utility
from erp.evaluation.held_out import HeldOut
from erp.evaluation.measure import held_out, measure, practice
from erp.evaluation.predictions import predictions
from erp.evaluation.routing import Sampled
from erp.programs.launch import launch
from erp.report.write import write_report
from erp.results import Results, whole
from erp.table.source import TableSource, table_label
from erp.tracking import Tracker, asked_by_agent, tracked
from erp.trained.bundle import Bundle
from erp.trained.checkpoint import save_bundle
from erp.training.data import RoutingData
from erp.training.plan import Plan, prepare
from erp.training.scoring import scores_of
from erp.training.suited import spread_notes


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run.

    Attributes:
        folder: where everything lies.
        results: the content of ``results.json``.
        fresh: False where the run was found finished.
    """

    folder: Path
    results: dict[str, Any]
    fresh: bool = True

    @property
    def objective(self) -> float:
        """What a sweeper maximises: on validation, never on test."""
        value = (self.results.get("objective") or {}).get("value")
        return float("nan") if value is None else float(value)


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("train", arguments, _job, _require_sources)


def _job(container: dict[str, Any]) -> float:
    plan = prepare(validate("train", container))
    container["run_folder"] = str(plan.folder.path)  # a sweep records where a job worked, even if it fails
    result = execute(plan)
    if not result.fresh:
        print("This run is finished already; delete its folder to make it again.")
    print(result.results.get("verdict") or "")
    print(f"report: {result.folder / 'report.html'}")
    print(result.folder)
    return result.objective


def _require_sources(jobs: Sequence[dict[str, Any]]) -> None:
    """Build the table source of every job before the first starts. Raises ErpError with the faults of all."""
    faults: list[ErpError] = []
    seen: list[Any] = []
    for node in (job["data"] for job in jobs):
        if node in seen:
            continue
        seen.append(node)
        try:
            build(node, TableSource, key="data")
        except ErpError as error:
            faults.append(error)
    if faults:
        raise ErpError.all_of(faults)


def train(config: TrainConfig | Mapping[str, Any] | Sequence[str] = ()) -> Result:
    """Fit one router and test it, as ``erp train`` does.

    Args:
        config: overrides as on the command line (``["router=knn", "data=table", "data.path=scores.parquet"]``), or a
            whole resolved config (a run's ``config.yaml`` as a mapping, or a ``TrainConfig``).

    Raises:
        ErpError: one line for every fault of the input.
    """
    if isinstance(config, str):
        raise ErpError(f"config = {config}: is one text; give a list of overrides, like [{config!r}]")
    if isinstance(config, TrainConfig):
        return execute(prepare(config))
    if isinstance(config, Mapping):
        return execute(prepare(validate("train", read_resolved(config, "config"))))
    return execute(prepare(validate("train", compose("train", list(config)))))


def execute(plan: Plan) -> Result:
    """Make the run, or find it finished. An unfinished one goes on from its last epoch and its cached embeddings."""
    config, folder = plan.config, plan.folder
    plain_config = config.model_dump(mode="json", by_alias=True)
    with folder.running(plain_config) as needed:
        copied = partial(tracked, config.tracking, folder.path, plain_config, plan.whole, table_label(config.data))
        if not needed:
            results = folder.load_results()
            if not os.access(folder.path, os.W_OK):  # a mount to read from: nothing can be added to what is there
                return Result(folder.path, results, fresh=False)
            if config.figures and not folder.figures.exists():  # made without, and asked for now
                with folder.retold():
                    frame = pd.read_parquet(folder.predictions)
                    told, _ = write_report(folder.path, whole(results), frame, binned(results, frame))
                    results = told.plain()
            # A W&B agent waits for the numbers of every run that it asked for. Others get a copy that was not made yet,
            # or that was lost: W&B writes its file after a run has ended, and may be killed before.
            if asked_by_agent() or not any(folder.path.glob("wandb/*/*.wandb")):
                with copied() as tracker:
                    tracker.log_results(results)
            return Result(folder.path, results, fresh=False)
        from erp.training.learn import assemble  # here: what is refused or finished needs no Lightning

        start = time.perf_counter()
        data = assemble(plan)
        with copied() as tracker:
            results = _fit_and_test(plan, data, tracker, start)
            tracker.log_results(results)
    return Result(folder.path, results)


def _fit_and_test(plan: Plan, data: RoutingData, tracker: Tracker, start: float) -> dict[str, Any]:
    """Learn, choose on validation, read test once, write the report."""
    from erp.training.learn import learn

    config, folder = plan.config, plan.folder
    begun = time.perf_counter()
    bundle, data = learn(plan, data, tracker.log)
    fitted = time.perf_counter()
    at_once = config.trainer.batch_size
    scores = scores_of(bundle, data, data.split.validation, at_once)
    policy = build(bundle.card.policy, Policy, key="policy")
    validation = held_out(data, bundle, data.split.validation, scores, policy)
    practised = practice(data, data.split.validation, policy, config)
    _calibrate(policy, plan, data, bundle, validation, practised)
    objective = utility(validation, policy, practised) if config.objective == "utility" else area(validation)
    results, test = measure(
        data,
        bundle,
        config,
        policy,
        scores_of(bundle, data, data.split.test, at_once),
        choose(data, validation, config, for_each_cost=policy.needs_samples),
        [
            *plan.split.notes,
            *(plan.votes.votes.notes if plan.votes else ()),
            *spread_notes(bundle.router, plan.targets),
        ],
        label=table_label(config.data),
        whole=plan.whole,
    )
    results["objective"] = {"name": config.objective, "value": objective}
    took = {"seconds": time.perf_counter() - start, "fit_seconds": fitted - begun}
    results["run"] |= {"name": folder.path.name, **{name: round(value, 2) for name, value in took.items()}}
    parts = [("validation", validation, data.split.validation), ("test", test, data.split.test)]
    folder.keep_split(plan.split.frame(plan.table.prompts))
    plan.origin.keep(folder)
    frame = predictions(data, parts, policy)
    told, _ = write_report(folder.path, Results.of(results), frame, binned(results, frame), config.figures)
    return told.plain()


def _calibrate(
    policy: Policy, plan: Plan, data: RoutingData, bundle: Bundle, validation: HeldOut, practised: Sampled
) -> None:
    """Let the policy learn what it learns after training; that goes into the checkpoint too."""
    calibration, samples = None, practised.samples
    if samples is not None:
        samples = replace(samples, rows=np.flatnonzero(validation.targets.complete)[samples.rows])
    if policy.needs_calibration:
        rows = data.split.calibration
        scores = scores_of(bundle, data, rows, plan.config.trainer.batch_size)
        calibration = held_out(data, bundle, rows, scores, policy).observed
    policy.calibrate(
        Calibration(
            data.table.members, bundle.router.scale, validation.train_mean_reward, validation.train_mean_cost,
            replace(validation.observed, samples=samples), calibration, practised.scoring,
        )
    )  # fmt: skip
    bundle.card = replace(bundle.card, policy_state=policy.state())
    save_bundle(bundle, plan.folder.checkpoint)
