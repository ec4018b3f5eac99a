"""From scores on held-out prompts to the numbers of a report: what ``train`` and ``evaluate`` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.config import TrainConfig
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError
from erp.metrics.routing import cost_range
from erp.programs.inputs import table_label
from erp.report.evaluation import HeldOut, evaluate
from erp.report.write import predictions_frame
from erp.routers.base import Router
from erp.table.schema import RewardTable
from erp.targets import reliability, samples_per_cell, split_half_oracle
from erp.training.data import RoutingData, Rows
from erp.training.module import RoutingModule
from erp.training.trained import category_scores

# What a number may depend on beside config and table.
RECORDED = ("erp", "torch", "sentence-transformers", "scikit-learn", "numpy")


def measure(
    data: RoutingData,
    module: RoutingModule,
    config: TrainConfig,
    policy: LambdaPolicy,
    scores: NDArray[np.float64],
    notes: Sequence[str] = (),
) -> tuple[dict[str, Any], HeldOut]:
    """Every section of ``results.json`` that follows from the scores of the test rows.

    Args:
        data: the table; its split's test rows are read.
        module: as it was saved.
        config: of the run.
        policy: of the run, built by the caller, who knows whether the run's folder is trusted.
        scores: (test rows, M) the router's.
        notes: what a reader must know of the split.
    """
    test = held_out(data, module, data.split.test, scores)
    sections = evaluate(test, policy, config.bootstrap.model_dump())
    complete = data.complete(data.split.test)
    return {
        "run": _run_facts(config, data.table, module),
        **_data_facts(data, test, notes),
        **sections,
        "oracle_split_half": _split_half(data.table, complete),
        "level": config.bootstrap.level,
    }, test


def require_categories(router: Router, name: object, table: RewardTable) -> None:
    """Refuse a router that reads what the table does not have. Raises ErpError naming the router."""
    if router.reads_category and not table.has_categories:
        raise ErpError(
            f"router = {name}: reads the prompt's category, and the table has no column `category`; add one, or "
            f"choose a router that needs none (ridge, knn)"
        )


def held_out(data: RoutingData, module: RoutingModule, rows: Rows, scores: np.ndarray[Any, Any]) -> HeldOut:
    """The router's scores on some rows of a table, beside what was observed there."""
    return HeldOut(
        members=data.table.members,
        scores=scores,
        category_scores=category_scores(module, data.category[rows]) if module.card.categories else None,
        rewards=data.targets.mean[rows],
        costs=data.costs.values[rows],
        predicted_costs=module.train_mean_cost.numpy(),
        train_mean_reward=module.train_mean_reward.numpy(),
        train_mean_cost=module.train_mean_cost.numpy(),
        ceilings=reliability(data.targets, rows),
        groups=data.split.groups[rows],
        scale=module.router.scale,
    )


def predictions(data: RoutingData, parts: Sequence[tuple[str, HeldOut, Rows]], policy: LambdaPolicy) -> pd.DataFrame:
    """``predictions.parquet`` of some splits, each with its name, what was held out, and its rows."""
    ids, counts = data.table.prompts["prompt_id"], data.targets.count
    return pd.concat(
        [predictions_frame(part, ids.iloc[rows], counts[rows], name, policy) for name, part, rows in parts]
    )


def _split_half(table: RewardTable, rows: Rows) -> dict[str, float] | None:
    """What an oracle reaches that cannot profit from luck; None where one sample per cell cannot tell."""
    found = split_half_oracle(table, rows)
    return None if found is None else {"reward": found[0], "sd_over_halves": found[1]}


def _run_facts(config: TrainConfig, table: RewardTable, module: RoutingModule) -> dict[str, Any]:
    """What a run is, for its results."""
    return {
        "router": config.router.get("name", "router"),
        "backbone": config.backbone.get("name", "backbone"),
        "reward_model": table.reward_model,
        "table": table_label(config.data),
        "members": list(table.members),
        "seed": config.seed,
        "split_by": config.split.by,
        "split_seed": config.split.seed,
        "lambda": config.policy.get("lambda", 0.0),
        "scale": module.router.scale,
        "chosen": module.router.chosen(),
        "versions": {package: version(package) for package in RECORDED},
        "sweep": config.sweep,
    }


def _data_facts(data: RoutingData, test: HeldOut, notes: Sequence[str]) -> dict[str, Any]:
    """The sections ``data`` and ``cost`` of the results."""
    tested = len(test.rewards)
    return {
        "data": {
            "prompts": len(data.table.prompts),
            "members": len(data.table.members),
            "train": len(data.split.train),
            "validation": len(data.split.validation),
            "test": tested,
            "excluded": tested - len(test.complete().rewards),
            "categories": len(data.categories) or None,
            "samples_per_cell": list(samples_per_cell(data.targets)),
            "notes": [*data.table.notes, *notes],
        },
        "cost": {
            "kind": data.costs.kind,
            "unit": data.costs.unit,
            "range": list(cost_range(test.complete().costs)),
            "notes": list(data.costs.notes),
        },
    }
