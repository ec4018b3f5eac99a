"""Answers that are read before a decision: set apart when a run is planned, handed to the backbone that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from erp.backbones.attempt import attempts_in
from erp.backbones.base import Backbone, build_backbone
from erp.build import build
from erp.config import TrainConfig
from erp.costs.base import Costs
from erp.shared import shared
from erp.table.attempts import Attempts, set_apart
from erp.table.schema import RewardTable
from erp.table.source import TableSource


def without_attempts(config: TrainConfig, table: RewardTable) -> tuple[RewardTable, tuple[Attempts, ...]]:
    """The table without the answers that the backbone reads, and these, one for each part that reads any.

    Raises:
        ErpError: the table does not hold them.
    """
    found: list[Attempts] = []
    folder: Path | None = None
    for one in attempts_in(build(config.backbone, Backbone, key="backbone")):
        folder = folder or build(config.data, TableSource, key="data").folder()
        apart = partial(set_apart, table, folder, one.member, one.samples)
        table, attempts = shared("attempts", apart, table, str(folder), one.member, one.samples)
        found.append(attempts)
    return table, tuple(found)


def backbone_with(config: TrainConfig, attempts: Sequence[Attempts]) -> Backbone:
    """The run's backbone, with the answers that it reads."""
    backbone = build_backbone(config.backbone, config.weights_dir)
    for one, said in zip(attempts_in(backbone), attempts, strict=True):
        one.take(said)
    return backbone


def cost_of_attempts(config: TrainConfig, table: RewardTable, costs: Costs) -> float:
    """What the answers cost that are read before one prompt is decided, in the unit of the costs; 0 where none is.

    Each costs what answers of its member cost on average, and in FLOPs what its encoder spends on reading it.
    """
    total = 0.0
    for one in attempts_in(build(config.backbone, Backbone, key="backbone")):
        member = table.members.index(one.member)
        each = float(costs.values[:, member].mean()) / config.target.responses
        if costs.kind == "flops":
            lengths = table.samples.loc[table.samples["member"] == member, "completion_tokens"]
            tokens = lengths.mean() if lengths.notna().any() else config.cost.assume_completion_tokens or 0.0
            each += 2 * (one.encoder.parameters_per_token() or 0.0) * float(tokens)
        total += one.samples * each
    return total
