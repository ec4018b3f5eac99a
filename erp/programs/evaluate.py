"""``erp evaluate``: a trained router tested again, on its own test split or on another table with its members."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from erp.backbones.cache import cached_embeddings
from erp.build import build
from erp.config import (
    Cost,
    EvaluateConfig,
    Pool,
    RewardModel,
    SameData,
    SyntheticData,
    TableData,
    TrainConfig,
    validate,
)
from erp.costs import Costs
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError
from erp.files import cache_folder
from erp.programs.inputs import load_table, require_same_members, table_costs, table_label
from erp.programs.launch import launch
from erp.programs.train import data_facts, held_out, run_facts
from erp.report.evaluation import evaluate
from erp.report.markdown import plain_summary
from erp.report.write import predictions_frame, write_report
from erp.runs import RunFolder, run_hash
from erp.table.groups import group_keys, text_key
from erp.table.schema import RewardTable
from erp.table.splits import Split, split_table
from erp.targets import expected_reward
from erp.training.data import RoutingData, RoutingDataModule, Rows, category_codes
from erp.training.fitting import test_scores
from erp.training.trained import TrainedRouter, load


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("evaluate", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    folder, results = run(validate("evaluate", container))
    print(plain_summary(results))
    print(f"report: {folder / 'report.md'}")
    print(folder)


def run(config: EvaluateConfig) -> tuple[Path, dict[str, Any]]:
    """Test the run's router; returns the folder of the new report, under the run's, and its results."""
    start = time.perf_counter()
    trained = load(config.run, config.trust, config.weights_dir)
    folder = RunFolder(Path(config.run))
    of_run: TrainConfig = validate("train", folder.load_config())
    source = of_run.data if isinstance(config.data, SameData) else config.data
    table = require_same_members(_scored(source, config.reward_model, trained.card.reward_model), trained.members)
    same = isinstance(config.data, SameData)
    cost = _cost(config.cost, of_run.cost, of_run.cost.kind if same else trained.card.cost_kind)
    costs = table_costs(table, of_run.pool, cost)
    if costs.kind != trained.card.cost_kind:
        raise ErpError(
            f"cost.kind = {costs.kind}: the router's costs are in {trained.card.cost_kind}; "
            f"give a table with costs of that kind, or the prices for it"
        )
    split = _split(folder, of_run, table)
    data = _data(config, trained, table, costs, split)
    datamodule = RoutingDataModule(data, of_run.trainer.batch_size, of_run.seed)
    test = held_out(data, trained.module, split.test, test_scores(trained.module, datamodule))
    policy = build(of_run.policy, LambdaPolicy, key="policy", trust=config.trust)
    facts = run_facts(of_run, table, trained.module)
    results = {
        "run": {
            "name": folder.path.name, **facts, "table": table_label(source),
            "seconds": round(time.perf_counter() - start, 2),
        },
        **data_facts(data, len(split.train), len(split.validation), test, [*split.notes, *_audit(trained, table)]),
        **evaluate(test, policy, of_run.bootstrap.model_dump()),
        "objective": {"name": of_run.objective, "value": None},
        "level": of_run.bootstrap.level,
    }  # fmt: skip
    ids = table.prompts["prompt_id"].iloc[split.test]
    predictions = predictions_frame(test, ids, data.targets.count[split.test], "test", policy)
    priced = hashlib.sha256(costs.values.tobytes()).hexdigest()
    target = folder.path / "evaluations" / run_hash({}, table.fingerprint(), costs.kind, priced)
    plain, _ = write_report(target, results, predictions)
    return target, plain


def _scored(source: TableData | SyntheticData, wanted: RewardModel, trained_on: str) -> RewardTable:
    """The table under the reward model asked for, else the router's own where the table has it, else its only one."""
    if wanted.name is None:
        with contextlib.suppress(ErpError):
            return load_table(source, RewardModel(name=trained_on), Pool())
    return load_table(source, wanted, Pool())


def _cost(asked: Cost, of_run: Cost, kind: str) -> Cost:
    """The run's cost settings, under those given now; in the unit the router was trained in."""
    given = {key: value for key, value in asked.model_dump().items() if value not in (None, "auto")}
    return of_run.model_copy(update={"kind": kind, **given})


def _audit(trained: TrainedRouter, table: RewardTable) -> list[str]:
    """What a reader must know where rewards are not those the router predicts."""
    mine = trained.card.reward_model
    if table.reward_model == mine:
        return []
    return [f"the router predicts rewards of {mine}; it is tested here on rewards of {table.reward_model}"]


def _split(folder: RunFolder, of_run: TrainConfig, table: RewardTable) -> Split:
    """The run's own split of its own table; of another table, all prompts whose text the run did not learn from."""
    seen = pd.read_parquet(folder.path / "split.parquet")
    texts = [text_key(prompt) for prompt in table.prompts["prompt"]]
    if set(zip(seen["prompt_id"], seen["text_key"], strict=True)) == set(
        zip(table.prompts["prompt_id"], texts, strict=True)
    ):
        split = split_table(table, **of_run.split.model_dump())
        tested = set(seen.loc[seen["split"] == "test", "prompt_id"])
        if set(table.prompts["prompt_id"].iloc[split.test]) == tested:
            return split
    learnt = set(seen.loc[seen["split"].isin(["train", "validation"]), "text_key"])
    fresh = np.array([text not in learnt for text in texts])
    if not fresh.any():
        raise ErpError("data: the router was trained on every prompt of this table; give prompts it has not seen")
    _, groups = np.unique(group_keys(table.prompts).astype(str), return_inverse=True)
    left_out = int((~fresh).sum())
    notes = (f"{left_out} prompts were left out: the router was fitted or chosen on their texts",) if left_out else ()
    nothing: Rows = np.zeros(0, dtype=np.int64)
    return Split(nothing, nothing, nothing, np.flatnonzero(fresh), groups, notes)


def _data(
    config: EvaluateConfig, trained: TrainedRouter, table: RewardTable, costs: Costs, split: Split
) -> RoutingData:
    embeddings = cached_embeddings(
        table.prompts["prompt"].tolist(), trained.backbone, cache_folder(config.cache_dir), progress=True
    )
    codes = category_codes(table.prompts["category"].tolist(), trained.card.categories)
    return RoutingData(table, expected_reward(table), costs, split, embeddings, trained.card.categories, codes)
