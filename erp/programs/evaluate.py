"""``erp evaluate``: a trained router tested again, on its own test split or on another table with its members."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from erp.backbones.base import Backbone
from erp.backbones.cache import Embeddings, cached_embeddings
from erp.build import build
from erp.config import Cost, EvaluateConfig, Target, TrainConfig, validate
from erp.costs.base import Costs
from erp.costs.expected import table_costs
from erp.costs.prices import member_facts
from erp.errors import ErpError
from erp.evaluation.bins import binned
from erp.evaluation.choices import chosen_in
from erp.evaluation.cross import cross_section
from erp.evaluation.drift import drift_section
from erp.evaluation.held_out import HeldOut
from erp.evaluation.measure import held_out, measure
from erp.evaluation.predictions import predictions
from erp.files import cache_folder
from erp.metrics.intervals import GroupBootstrap
from erp.programs.launch import launch
from erp.programs.on_log import as_text, evaluate_on_log
from erp.report.write import write_report
from erp.results import Results
from erp.runs import RunFolder, make_folder, run_hash
from erp.table.categories import category_codes
from erp.table.known import unseen_split
from erp.table.schema import RewardTable
from erp.table.select import require_same_members
from erp.table.source import TableSource, table_label
from erp.table.split import Split
from erp.targets import expected_target
from erp.trained.card import Card
from erp.trained.drift import Measured, called, keep, other_encoder
from erp.trained.origin import UNKNOWN, Origin
from erp.trained.router import TrainedRouter, load
from erp.training.data import RoutingData, Rows
from erp.training.scoring import scores_of
from erp.training.suited import require_categories


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("evaluate", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config = validate("evaluate", container)
    if config.log is not None:
        print(as_text(*evaluate_on_log(config)))
        return
    folder, results, remarks = _evaluate(config)
    print(results.verdict)
    for remark in remarks:
        print(f"note: {remark}")
    print(f"report: {folder / 'report.html'}")
    print(folder)


def run(config: EvaluateConfig) -> tuple[Path, dict[str, Any]]:
    """Test the run's router; returns the folder of the new report, under the run's, and its results.

    Of a gateway's log these are what ``off_policy.json`` holds.

    Raises:
        ErpError: one line for every fault of the input.
    """
    if config.log is not None:
        return evaluate_on_log(config)
    folder, results, _ = _evaluate(config)
    return folder, results.plain()


def _evaluate(config: EvaluateConfig) -> tuple[Path, Results, list[str]]:
    """What `run` returns, and what a reader must know where this is not what the router was trained for."""
    start = time.perf_counter()
    trained = load(config.run, config.trust, config.weights_dir)
    folder = RunFolder(Path(config.run))
    of_run = folder.load_settings()
    encoder = trained.backbone
    if config.backbone is not None:
        encoder = other_encoder(config.backbone, trained, config.weights_dir)
        of_run = of_run.model_copy(update={"backbone": config.backbone})
    node, same = of_run.data if config.same else config.data, config.same
    source = build(node, TableSource, key="data", trust=config.trust or not same)
    origin = Origin.kept_in(folder)
    if origin is not None and same:
        origin.require(_of_run(source, trained), node)
    table = require_same_members(_scored(source, config.reward_model.name, trained.card), trained.members)
    cost = _cost(config.cost, of_run.cost, of_run.cost.kind if same else trained.card.cost_kind)
    split = unseen_split(folder.load_split(), table, of_run.split.near_duplicates, cache=cache_folder(config.cache_dir))
    costs, repriced = _costs(trained, of_run, origin, table, split.train, cost)
    require_categories(
        trained.bundle.router, trained.card.router.get("name"), table, trained.card.category, learning=False
    )
    target = _target(config, folder, table, costs, cost, encoder)
    data = _data(config, trained, encoder, table, costs, split, of_run.target)
    scores = scores_of(trained.bundle, data, data.split.test, of_run.trainer.batch_size)
    crossed = table.reward_model != trained.card.reward_model
    remarks = [UNKNOWN] if same and origin is None else []
    if crossed:
        mine, here = trained.card.reward_model, table.reward_model
        remarks.append(f"the router predicts rewards of {mine}; it is tested here on rewards of {here}")
    remarks += repriced
    choices = chosen_in(folder.load_results(), trained.members)
    results, test = measure(
        data,
        trained.bundle,
        of_run.model_copy(update={"cost": cost}),
        trained.policy,
        scores,
        choices,
        [*data.split.notes, *remarks],
        label=table_label(node),
        in_reward_units=not crossed,
    )
    if crossed:
        results["audits"]["cross_reward_model"] = _cross(source, trained, data, test, of_run)
        if (told := results["policy"]) is not None:  # its lambda is in units of the reward model that was learnt from
            told |= {"utility": None, "utility_gain_vs_best_single": None}
            told["promise"] = None if trained.policy.needs_calibration else told["promise"]
    if config.backbone is not None:
        results["drift"] = _drift(config, trained, data, test, of_run)
    results["objective"] = {"name": of_run.objective, "value": None}
    results["run"] |= {
        "name": folder.path.name,
        "evaluated_on": table_label(node),
        "seconds": round(time.perf_counter() - start, 2),
    }
    predicted = predictions(data, [("test", test, data.split.test)], trained.policy)
    told, _ = write_report(target, Results.of(results), predicted, binned(results, predicted), config.figures)
    if told.drift is not None and not crossed:
        keep(target, Measured.of(folder, encoder, told))
    if told.drift is not None and (crossed or config.out is not None):
        remarks.append("`erp serve` will not use this encoder by it: that takes the run's own reward model, and no out")
    return target, told, remarks


def _costs(
    trained: TrainedRouter, of_run: TrainConfig, origin: Origin | None, table: RewardTable, train: Rows, cost: Cost
) -> tuple[Costs, list[str]]:
    """What answers cost here, in the router's unit, and a sentence where they are priced otherwise than in the run.

    Where this table does not know a cost, the run's train means stand, or this table's train's at new prices: never the
    means of the table itself, which would be those of what is tested.

    Raises:
        ErpError: costs of that kind cannot be had.
    """
    kind, facts = trained.card.cost_kind, member_facts(table, of_run.pool, cost)
    repriced = _repriced(origin, facts, table, of_run, cost, kind)
    as_then = not repriced and cost.assume_completion_tokens == of_run.cost.assume_completion_tokens
    kept = np.asarray(trained.bundle.train_mean_cost) if as_then or not len(train) else None
    costs = table_costs(
        table, facts, cost, train=train if len(train) else None, kept=kept, responses=of_run.target.responses
    )
    if costs.kind != kind:
        raise ErpError(
            f"cost.kind = {costs.kind}: the router's costs are in {kind}; "
            f"give a table with costs of that kind, or the prices for it"
        )
    return costs, repriced


def _target(
    config: EvaluateConfig, folder: RunFolder, table: RewardTable, costs: Costs, cost: Cost, encoder: Backbone
) -> Path:
    """Where the report goes, made before anything is computed. Raises ErpError where there can be no such folder."""
    priced = hashlib.sha256(costs.values.tobytes()).hexdigest()
    other = [] if config.backbone is None else [encoder.fingerprint()]
    scored = () if cost.scoring is None else (str(cost.scoring),)
    name = run_hash(
        {}, table.fingerprint(), table.reward_model, costs.kind, priced, str(cost.router_per_prompt), *other, *scored
    )
    out = folder.path if config.out is None else Path(config.out).expanduser() / folder.path.resolve().name
    make_folder(out / "evaluations" / name, out)
    return out / "evaluations" / name


def _cross(
    source: TableSource, trained: TrainedRouter, data: RoutingData, test: HeldOut, of_run: TrainConfig
) -> dict[str, Any]:
    """The table's rewards by the reward model that the router learnt from, beside those it is scored by here."""
    name, here = trained.card.reward_model, data.table.reward_model
    found: dict[str, Any] = {"learnt_from": name, "scored_by": here}
    try:
        other = _of_run(source, trained)
    except ErpError:
        return {**found, "reason": f"the table has no rewards of {name}, so how far both agree is not known"}
    place = dict(zip(other.prompts["prompt_id"], range(len(other.prompts)), strict=True))
    rows = data.table.prompts["prompt_id"].iloc[data.split.test].map(place).fillna(-1).to_numpy(dtype=np.int64)
    of_other = expected_target(other, **of_run.target.model_dump()).mean
    learnt = np.where(rows[:, None] >= 0, of_other[rows], np.nan)
    both = np.flatnonzero(test.targets.complete & np.isfinite(learnt).all(axis=1))
    if not len(both):
        return {**found, "reason": f"no test prompt has the rewards of every member by both {name} and {here}"}
    train = data.targets.mean[data.complete(data.split.train)]
    own = train.mean(axis=0) if len(train) else np.full(len(trained.members), np.nan)
    bootstrap = GroupBootstrap(test.groups[both], **of_run.bootstrap.model_dump())
    return {**found, "reason": None, **cross_section(test.take(both), learnt[both], own, bootstrap)}


def _of_run(source: TableSource, trained: TrainedRouter) -> RewardTable:
    """The table under the reward model that the router learnt from."""
    return require_same_members(source.read(trained.card.reward_model, trained.card.prompt_from), trained.members)


def _scored(source: TableSource, wanted: str | None, card: Card) -> RewardTable:
    """The table under the reward model asked for, else the router's own where the table has it, else its only one."""
    if wanted is None:
        with contextlib.suppress(ErpError):
            return source.read(card.reward_model, card.prompt_from)
    return source.read(wanted, card.prompt_from)


def _cost(asked: Cost, of_run: Cost, kind: str) -> Cost:
    """The run's cost settings, under those given now; in the unit the router was trained in."""
    given = {key: value for key, value in asked.model_dump().items() if value not in (None, "auto")}
    return of_run.model_copy(update={"kind": kind, **given})


def _repriced(
    origin: Origin | None, facts: Mapping[str, Mapping[str, float]], table: RewardTable, of_run: TrainConfig,
    cost: Cost, kind: str,
) -> list[str]:  # fmt: skip
    """A sentence where answers are priced otherwise than in the run; of an old folder only the file's name is known."""
    if origin is not None:
        return origin.other_prices(facts, table, kind)
    if cost.prices == of_run.cost.prices:
        return []
    return ["the router decides by the costs it was trained with; what it spends is counted at other prices"]


def _drift(
    config: EvaluateConfig, trained: TrainedRouter, data: RoutingData, asked: HeldOut, of_run: TrainConfig
) -> dict[str, Any]:
    """The section ``drift``: the same test prompts with the vectors of the run's own encoder."""
    rows, bundle = data.split.test, trained.bundle
    mine = replace(data, embeddings=_embedded(config, trained.backbone, data.table))
    own = held_out(mine, bundle, rows, scores_of(bundle, mine, rows, of_run.trainer.batch_size), trained.policy)
    prompts = data.table.prompts["prompt"].iloc[rows].tolist()
    found = drift_section(own, asked, trained.policy, prompts, of_run.bootstrap.model_dump())
    return {"backbone": called(trained.card.backbone), "asked_with": called(of_run.backbone), **found}


def _data(
    config: EvaluateConfig, trained: TrainedRouter, encoder: Backbone, table: RewardTable, costs: Costs, split: Split,
    target: Target,
) -> RoutingData:  # fmt: skip
    codes = category_codes(table.prompts["category"].tolist(), trained.card.categories)
    targets = expected_target(table, **target.model_dump())
    embeddings = _embedded(config, encoder, table)
    return RoutingData(table, targets, costs, split, embeddings, trained.card.categories, codes)


def _embedded(config: EvaluateConfig, encoder: Backbone, table: RewardTable) -> Embeddings:
    return cached_embeddings(table.prompts["prompt"].tolist(), encoder, cache_folder(config.cache_dir), progress=True)
