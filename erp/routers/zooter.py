"""Zooter: the softmax of the rewards, distilled into a classifier over the members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.category_mean import CategoryMean
from erp.routers.losses import RewardUnits, masked_log_softmax, masked_mean, softmax_target
from erp.routers.mlp import Trunk, require_temperature, require_trunk


class Zooter(Router):
    """KL(softmax(R / T) || softmax f(x)), rewards smoothed by their prompt's tag (2311.08692).

    Tags are the categories: R becomes beta R + (1 - beta) (train mean of the member in the category). A prompt without
    a known category keeps its R. Both softmaxes are over the members whose reward is present. Scores are T * logit:
    T log E[exp(R / T)], were the fit perfect and the rewards sure, and not E[R]; and beta rescales them. So they are
    ordinal. Ours: T in units of the rewards, and labels shrunk toward their member's mean by their reliability.

    Args:
        hidden: units of each hidden layer of f; empty for a linear one.
        dropout: in training, after every hidden layer.
        temperature: T, in standard deviations of the rewards between the members of a prompt.
        beta: the paper's .3; 1 smooths nothing.
        shrink: shrink rewards first, where cells have two samples or more; changes nothing elsewhere.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), a temperature of 0 or less, or a beta outside [0, 1].
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False

    def __init__(
        self,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        temperature: float = 1.0,
        beta: float = 0.3,
        shrink: bool = True,
    ) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        require_temperature(temperature)
        if not 0 <= beta <= 1:
            raise ErpError(f"router.beta = {beta}: give a share from 0 (the category's mean) to 1 (no smoothing)")
        self.hidden, self.dropout = tuple(hidden), dropout
        self.temperature, self.beta, self.shrink = temperature, beta, shrink

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.units = RewardUnits(dimensions.members)
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, dimensions.members)
        shape = dimensions.categories + 1, dimensions.members
        self.tags = CategoryMean()
        self.tags.prepare(dimensions)
        self.tags.means = torch.zeros(shape, dtype=torch.float64)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards, and their means by category."""
        self.units.measure(train)
        device = self.tags.means.device
        self.tags.fit(train, ())
        self.tags.to(device)

    def scores(self, features: Features) -> Tensor:
        """T * logit, (B, M) float64."""
        logits: Tensor = self.trunk(features.embedding)
        return self._temperature() * logits.to(self.units.within.dtype)

    def target(self, batch: Batch) -> Tensor:
        """What is distilled, q of every prompt, (B, M) float64; 0 for members without a reward."""
        rewards = self.units.shrunk(batch) if self.shrink else batch.rewards
        smoothed = self.beta * rewards + (1 - self.beta) * self.tags.scores(batch.features)
        tagged = batch.features.category[:, None] >= 0
        return softmax_target(torch.where(tagged, smoothed, rewards), self._temperature())

    def loss(self, batch: Batch) -> Tensor:
        """Mean KL divergence over the prompts with at least two rewards, a scalar."""
        present = ~torch.isnan(batch.rewards)
        q = self.target(batch)
        entropy = torch.special.entr(q).sum(dim=1).float()
        cross = -(q.float() * masked_log_softmax(self.trunk(batch.features.embedding), present)).sum(dim=1)
        return masked_mean(cross - entropy, present.sum(dim=1) >= 2)

    def _temperature(self) -> Tensor:
        return self.temperature * self.units.within
