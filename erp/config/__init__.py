"""The schema every program's config is validated against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from erp.config.collect import CollectConfig
from erp.config.faults import faults_of
from erp.config.importing import ImportConfig
from erp.config.learn import (
    CompareConfig,
    DescribeConfig,
    EvaluateConfig,
    ExportConfig,
    ExtendConfig,
    PushConfig,
    ReportConfig,
    RouteConfig,
    ShowConfig,
    TrainConfig,
)
from erp.config.nodes import Decoding, Member, Node, Plug, Pool, RewardModel, Shot
from erp.config.parts import Bootstrap, Cost, Labels, Split, Target, Tracking, Trainer
from erp.config.programs import PROGRAMS, DashboardConfig
from erp.errors import ErpError

__all__ = [
    "PROGRAMS",
    "Bootstrap",
    "CollectConfig",
    "CompareConfig",
    "Cost",
    "DashboardConfig",
    "Decoding",
    "DescribeConfig",
    "EvaluateConfig",
    "ExportConfig",
    "ExtendConfig",
    "ImportConfig",
    "Labels",
    "Member",
    "Node",
    "Plug",
    "Pool",
    "PushConfig",
    "ReportConfig",
    "RewardModel",
    "RouteConfig",
    "Shot",
    "ShowConfig",
    "Split",
    "Target",
    "Tracking",
    "TrainConfig",
    "Trainer",
    "faults_of",
    "validate",
]


def validate(program: str, container: Mapping[str, Any]) -> Any:
    """The program's config object. Raises ErpError with one line for every fault."""
    model = PROGRAMS[program]
    given = dict(container)
    if "engine" not in model.model_fields:
        given.pop("engine", None)  # a pool names the engine that samples it; only collecting needs one
    required = [f"{key}: is required; give {key}=<value>" for key in _unset(container)]
    try:
        valid = model.model_validate(given)
    except ValidationError as error:
        raise ErpError(*dict.fromkeys([*required, *faults_of(error, model, container)])) from None
    if required:
        raise ErpError(*required)
    return valid


def _unset(node: Any, prefix: str = "") -> list[str]:
    """Keys whose value is Hydra's ``???``: the user has to give them."""
    if isinstance(node, Mapping):
        return [key for name, value in node.items() for key in _unset(value, f"{prefix}.{name}" if prefix else name)]
    return [prefix] if node == "???" else []
