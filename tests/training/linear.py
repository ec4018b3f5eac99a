"""Routers with a loss, as a user would write them in a module of their own."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import masked_squared_error

LOSSES: list[float] = []  # of every training and validation batch, in order
DIES_AFTER: list[int] = []  # raises once this many losses have been computed


class KilledError(RuntimeError):
    """Stands for a process that is killed."""


class Linear(Router):
    """One linear model per member, by gradient."""

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False

    def __init__(self, initial_scale: float = 1.0) -> None:
        super().__init__()
        self.initial_scale = initial_scale

    def prepare(self, dimensions: Dimensions) -> None:
        self.layer = nn.Linear(dimensions.embedding, dimensions.members)
        with torch.no_grad():
            self.layer.weight *= self.initial_scale

    def scores(self, features: Features) -> Tensor:
        return self.layer(features.embedding)

    def loss(self, batch: Batch) -> Tensor:
        if DIES_AFTER and len(LOSSES) >= DIES_AFTER[0]:
            raise KilledError
        loss = masked_squared_error(self.scores(batch.features), batch.rewards.float())
        LOSSES.append(float(loss.detach()))
        return loss


class Drifting(Router):
    """One number for all, which training pushes up forever and validation likes best at ``best``."""

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False

    def __init__(self, best: float) -> None:
        super().__init__()
        self.best = best
        self.level = nn.Parameter(torch.zeros(()))

    def prepare(self, dimensions: Dimensions) -> None:
        self.members = dimensions.members

    def scores(self, features: Features) -> Tensor:
        return self.level.expand(len(features.embedding), self.members)

    def loss(self, batch: Batch) -> Tensor:
        return -self.level if torch.is_grad_enabled() else (self.level - self.best).square()
