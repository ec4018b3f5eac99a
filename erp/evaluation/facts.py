"""What was run, on what: the sections ``run``, ``data`` and ``cost``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from erp.config import TrainConfig
from erp.decisions.policy import Policy
from erp.evaluation.held_out import HeldOut
from erp.metrics.routing import cost_range
from erp.table.complete import lacking
from erp.table.schema import RewardTable
from erp.targets import samples_per_cell
from erp.trained.bundle import Bundle
from erp.training.data import RoutingData

# What a number may depend on beside config and table.
RECORDED = ("erp", "torch", "sentence-transformers", "scikit-learn", "numpy")


def run_section(
    config: TrainConfig, label: str, table: RewardTable, bundle: Bundle, policy: Policy, scale: str
) -> dict[str, Any]:
    """The section ``run``: what was run. ``label`` is what reports call the table."""
    return {
        "router": config.router.get("name", "router"),
        "backbone": config.backbone.get("name", "backbone")
        + (" (fine-tuned)" if config.backbone.get("finetune") else ""),
        "reward_model": table.reward_model,
        "table": label,
        "members": list(table.members),
        "seed": config.seed,
        "split_by": config.split.by,
        "split_seed": config.split.seed,
        "policy": config.policy.get("name", "policy"),
        "lambda": None if config.policy.get("lambda", 0.0) is None else policy.lambda_ or 0.0,
        "target": config.target.label,
        "category": config.category,
        "scale": scale,
        "chosen": bundle.router.chosen(),
        "versions": {package: version(package) for package in RECORDED},
        "sweep": config.sweep,
    }


def data_sections(data: RoutingData, test: HeldOut, notes: Sequence[str], long: str) -> dict[str, Any]:
    """The sections ``data`` and ``cost``: ``long`` is what is read of a long prompt, ``notes`` are on the split."""
    tested, complete = len(test.rewards), test.complete()
    return {
        "data": {
            "prompts": len(data.table.prompts),
            "members": len(data.table.members),
            "train": len(data.split.train),
            "validation": len(data.split.validation),
            "test": tested,
            "excluded": tested - len(complete.rewards),
            "lacking": lacking(data.table.members, test.targets.count > 0),
            "categories": len(data.categories) or None,
            "samples_per_cell": list(samples_per_cell(data.targets)),
            "reading": {
                "window": data.embeddings.window,
                "long": None if data.embeddings.window is None else long,
                "cut": float((data.embeddings.unread > 0).mean()),
                "alike": data.embeddings.shared(),
            },
            "notes": [*data.table.notes, *notes],
        },
        "cost": {
            "kind": data.costs.kind,
            "unit": data.costs.unit,
            "range": list(cost_range(complete.costs)) if len(complete.costs) else [None, None],
            "read_first": data.read_first,
            "fell_back": data.costs.fell_back,
            "notes": list(data.costs.notes),
        },
    }
