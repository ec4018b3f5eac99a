"""``erp train``: a table in, a trained and tested router in a run folder out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from erp.backbones.base import Backbone, build_backbone
from erp.backbones.cache import cached_embeddings
from erp.backbones.fitted import fit_once
from erp.build import as_built, build
from erp.compose import compose
from erp.config import TrainConfig, validate
from erp.config.resolved import resolved
from erp.costs.base import Costs
from erp.costs.expected import table_costs
from erp.costs.prices import member_facts
from erp.decisions.policy import Calibration, Policy, require_suited
from erp.errors import ErpError
from erp.evaluation.choices import choose
from erp.evaluation.evaluate import area, utility
from erp.evaluation.held_out import HeldOut
from erp.evaluation.measure import held_out, measure
from erp.evaluation.predictions import predictions
from erp.files import cache_folder, replacing, sha256_file
from erp.programs.inputs import table_split
from erp.programs.launch import launch
from erp.programs.origin import Origin
from erp.programs.suited import (
    require_categories,
    require_judged,
    require_spread,
    require_train_rewards,
    spread_notes,
)
from erp.report.write import write_report
from erp.routers.base import Router
from erp.runs import RunFolder, run_hash, run_name
from erp.table.categories import category_codes
from erp.table.groups import text_key
from erp.table.labels import limit_labels
from erp.table.schema import RewardTable
from erp.table.source import load_table, table_label, with_absolute_path
from erp.table.splits import Split
from erp.targets import expected_target
from erp.tracking import Tracker, asked_by_agent, tracked
from erp.trained.bundle import Bundle
from erp.trained.card import Card
from erp.trained.checkpoint import load_bundle, save_bundle
from erp.training.data import RoutingData
from erp.training.datamodule import RoutingDataModule
from erp.training.finetuning import require_loss, settled
from erp.training.fitting import fit
from erp.training.module import RoutingModule
from erp.training.scoring import scores_of
from erp.units import with_base_lambda

CALIBRATION = 0.1  # share of prompts carved out of the train half for a policy that promises something
PLUGS: dict[str, type] = {"router": Router, "backbone": Backbone, "policy": Policy}  # `data`: the table stands for it


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before it is made: everything that can be wrong with the input has been checked.

    Attributes:
        config: with absolute paths.
        table: of the run's reward model and pool, with the labels that are learnt from.
        whole: the same with all of its labels: what a report says of the table itself.
        costs: what each answer cost.
        split: which prompts are train, validation and test.
        folder: where the run goes; its name ends in the run's hash.
    """

    config: TrainConfig
    table: RewardTable
    whole: RewardTable
    costs: Costs
    split: Split
    folder: RunFolder


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
    launch("train", arguments, _job)


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
        return execute(prepare(validate("train", resolved(config, "config"))))
    return execute(prepare(validate("train", compose("train", list(config)))))


def prepare(config: TrainConfig) -> Plan:
    """Check the plug points, read the table, split it, name the run. Raises ErpError with every fault found."""
    faults = _plug_faults(config)
    try:
        table = whole = load_table(config.data, config.reward_model, config.pool)
    except ErpError as error:
        raise ErpError.all_of([*faults, error]) from None
    if faults:
        raise ErpError.all_of(faults)
    router = build(config.router, Router, key="router")
    require_categories(router, config.router.get("name"), table, config.category)
    require_spread(router, config.router.get("name"), table)
    if config.category_block > 0 and not table.has_categories:
        raise ErpError(
            f"category_block = {config.category_block}: the table has no column `category`; add one, or give 0"
        )
    policy = build(config.policy, Policy, key="policy")
    calibration = CALIBRATION if policy.needs_calibration else 0.0
    split, content = table_split(table, config.split, calibration)
    table, split = limit_labels(table, split, seed=config.split.seed, **config.labels.model_dump())
    costs = table_costs(table, config.pool, config.cost, train=split.train, responses=config.target.responses)
    require_suited(
        policy, router=str(config.router.get("name")), scale=router.scale, cost_kind=costs.kind, members=table.members,
        has_neighbours=hasattr(router, "neighbour_rewards"),
    )  # fmt: skip
    _require_area(config, costs)
    targets = expected_target(table, **config.target.model_dump())  # refuses what the samples cannot tell
    require_train_rewards(table, split)
    require_judged(table, targets, split)
    prices = sha256_file(Path(config.cost.prices)) if config.cost.prices else ""
    identity = run_hash(_as_built(config), table.fingerprint(), prices, *table.members, *content)
    name = run_name(config.router, config.backbone, identity)
    return Plan(_with_absolute_paths(config), table, whole, costs, split, RunFolder(Path(config.out) / name))


def _as_built(config: TrainConfig) -> dict[str, Any]:
    """The config with the plug points' arguments as they were built: ``policy.lambda=0`` and ``0.0`` are one run."""
    plain = config.model_dump(mode="json", by_alias=True)
    return plain | {key: as_built(plain[key], expected, key=key) for key, expected in PLUGS.items()}


def _plug_faults(config: TrainConfig) -> list[ErpError]:
    """What is wrong with the parts that are plugged in; construction is cheap, and knows which values make no sense."""
    faults: list[ErpError] = []
    built: dict[str, Any] = {}
    for key, expected in PLUGS.items():
        try:
            built[key] = build(getattr(config, key), expected, key=key)
        except ErpError as error:
            faults.append(error)
    if "router" in built and "backbone" in built:
        try:
            require_loss(built["router"], config.router.get("name"), built["backbone"])
        except ErpError as error:
            faults.append(error)
    return faults


def _require_area(config: TrainConfig, costs: Costs) -> None:
    """There is no area under a curve without a cost axis."""
    if costs.kind == "none" and config.objective == "area":
        raise ErpError(
            "objective = area: no costs are known, so there is no area; give the table costs or tokens, the pool "
            "prices, or cost.assume_completion_tokens, or objective=utility"
        )


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
                    results, _ = write_report(folder.path, results, pd.read_parquet(folder.predictions))
            # A W&B agent waits for the numbers of every run that it asked for. Others get a copy that was not made yet,
            # or that was lost: W&B writes its file after a run has ended, and may be killed before.
            if asked_by_agent() or not any(folder.path.glob("wandb/*/*.wandb")):
                with copied() as tracker:
                    tracker.log_results(results)
            return Result(folder.path, results, fresh=False)
        start = time.perf_counter()
        data = assemble(plan)
        with copied() as tracker:
            results = _fit_and_test(plan, data, tracker, start)
            tracker.log_results(results)
    return Result(folder.path, results)


def assemble(plan: Plan) -> RoutingData:
    """Targets and embeddings of the plan's table."""
    config, table = plan.config, plan.table
    backbone = build_backbone(config.backbone, config.weights_dir)
    prompts, cache = table.prompts["prompt"], cache_folder(config.cache_dir)
    backbone_state = fit_once(backbone, prompts.iloc[plan.split.train].tolist(), cache)
    embeddings = cached_embeddings(prompts.tolist(), backbone, cache, config.trainer.progress)
    category = table.prompts["category"]
    categories = tuple(sorted({str(c) for c in category.iloc[plan.split.train] if isinstance(c, str)}))
    return RoutingData(
        table, expected_target(table, **config.target.model_dump()), plan.costs,
        plan.split, embeddings, categories,
        category_codes(category.tolist(), categories), backbone_state, config.target.kind == "mean",
    )  # fmt: skip


def _fit_and_test(plan: Plan, data: RoutingData, tracker: Tracker, start: float) -> dict[str, Any]:
    """Fit on train, choose on validation, read test once, write the report."""
    config, folder = plan.config, plan.folder
    pl.seed_everything(config.seed, verbose=False)
    router_node, policy_node = (
        with_base_lambda(node, data.costs.kind, config.cost.lambda_per) for node in (config.router, config.policy)
    )
    card = Card(
        router_node, config.backbone, policy_node, data.table.members, data.categories,
        data.embeddings.dimension, data.table.reward_model, data.costs.kind, data.costs.unit, config.category,
        config.cost.predict, config.category_block, backbone_state=data.backbone_state,
        prompt_from=data.table.prompt_from,
    )  # fmt: skip
    bundle = Bundle(card, build(router_node, Router, key="router"), build_backbone(config.backbone, config.weights_dir))
    module = RoutingModule(bundle, config.trainer.learning_rate, config.trainer.weight_decay)
    datamodule = RoutingDataModule(data, config.trainer.batch_size, config.seed)
    fit(module, datamodule, config.trainer, folder.path, tracker.log)

    # From here on the saved router is used, never the one in memory.
    bundle = load_bundle(folder.checkpoint, trust=True, weights_dir=config.weights_dir)
    datamodule = settled(bundle, datamodule, folder.checkpoint, cache_folder(config.cache_dir), config.trainer.progress)
    data, at_once = datamodule.data, config.trainer.batch_size
    scores = scores_of(bundle, data, data.split.validation, at_once)
    policy = build(policy_node, Policy, key="policy")
    validation = held_out(data, bundle, data.split.validation, scores, policy)
    _calibrate(policy, plan, data, bundle, validation)
    objective = utility(validation, policy) if config.objective == "utility" else area(validation)
    results, test = measure(
        data,
        bundle,
        config,
        policy,
        scores_of(bundle, data, data.split.test, at_once),
        choose(data, validation, config),
        [*plan.split.notes, *spread_notes(bundle.router, plan.table)],
        label=table_label(config.data),
        whole=plan.whole,
    )
    results["objective"] = {"name": config.objective, "value": objective}
    results["run"] |= {"name": folder.path.name, "seconds": round(time.perf_counter() - start, 2)}
    parts = [("validation", validation, data.split.validation), ("test", test, data.split.test)]
    _write_split(plan)
    Origin.of(plan.whole, member_facts(plan.whole, config.pool, config.cost)).keep(folder)
    results, _ = write_report(folder.path, results, predictions(data, parts, policy), config.figures)
    return results


def _calibrate(policy: Policy, plan: Plan, data: RoutingData, bundle: Bundle, validation: HeldOut) -> None:
    """Let the policy learn what it learns after training; that goes into the checkpoint too."""
    calibration = None
    if policy.needs_calibration:
        rows = data.split.calibration
        scores = scores_of(bundle, data, rows, plan.config.trainer.batch_size)
        calibration = held_out(data, bundle, rows, scores, policy).observed
    policy.calibrate(
        Calibration(
            data.table.members, bundle.router.scale, validation.train_mean_reward, validation.train_mean_cost,
            validation.observed, calibration,
        )
    )  # fmt: skip
    bundle.card = replace(bundle.card, policy_state=policy.state())
    save_bundle(bundle, plan.folder.checkpoint)


def _write_split(plan: Plan) -> None:
    """Which prompts the router has seen: `erp evaluate` leaves them and their groups out of another table."""
    table = plan.table
    frame = pd.DataFrame(
        {
            "prompt_id": table.prompts["prompt_id"],
            "split": plan.split.parts,
            "text_key": [text_key(prompt) for prompt in table.prompts["prompt"]],
            "group_key": plan.split.keys[plan.split.groups],
        }
    )
    with replacing(plan.folder.split) as temporary:
        frame.to_parquet(temporary, index=False)


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """So that ``config.yaml`` repeats the run from any working directory."""
    cost, split = config.cost, config.split
    if cost.prices is not None:
        cost = cost.model_copy(update={"prices": str(Path(cost.prices).expanduser().resolve())})
    if split.from_ is not None:
        split = split.model_copy(update={"from_": str(Path(split.from_).expanduser().resolve())})
    return config.model_copy(update={"data": with_absolute_path(config.data), "cost": cost, "split": split})
