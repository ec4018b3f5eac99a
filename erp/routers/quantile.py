"""Quantile heads: the distribution of a member's rewards on a prompt, not only its mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_mean
from erp.routers.mlp import Trunk, require_trunk


class Quantile(Router):
    """Quantiles of the single responses' rewards by pinball loss; they never cross, as each adds a softplus; ours.

    The score is by default the mean of the distribution: the integral of the quantile function, linear between levels
    and flat beyond the outer ones. It is in reward units, as the expected reward of the other routers is. A level
    instead (``score=0.1``) routes by what a response reaches with some certainty.

    Args:
        levels: of the quantiles, rising, each between 0 and 1; by default the middles of five equal parts.
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.
        score: ``mean``, or one of the levels.

    Raises:
        ErpError: on levels that do not rise within (0, 1), a score that is none of them, or a trunk that is none.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False
    learns_spread = True
    reads_samples = True

    def __init__(
        self,
        levels: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        score: Literal["mean"] | float = "mean",
    ) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        edges = [0.0, *levels, 1.0]
        if len(levels) == 0 or any(b <= a for a, b in pairwise(edges)):
            raise ErpError(f"router.levels = {list(levels)}: give one or more levels between 0 and 1, rising")
        if score != "mean" and score not in levels:
            raise ErpError(f"router.score = {score}: give mean, or one of router.levels {list(levels)}")
        self.levels, self.hidden, self.dropout, self.score = tuple(levels), tuple(hidden), dropout, score

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.units = RewardUnits(dimensions.members)
        # The start is a normal distribution about the member's train mean; softplus makes its gaps of these.
        normal = torch.special.ndtri(torch.tensor(self.levels, dtype=torch.float64))
        start = torch.cat([normal[:1], normal.diff().expm1().log()]).repeat(dimensions.members)
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, len(start), start)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)

    def quantiles(self, features: Features) -> Tensor:
        """Predicted quantiles of a response's reward, (B, M, levels) float64, rising."""
        outputs = self._outputs(features)
        return self.units.in_rewards(outputs.flatten(0, 0).movedim(2, 1)).movedim(1, 2)

    def scores(self, features: Features) -> Tensor:
        """Mean of the predicted distribution, or its quantile at the level asked for, (B, M) float64."""
        if self.score == "mean":
            shares = torch.tensor(mean_weights(self.levels), dtype=torch.float64, device=self.units.center.device)
        else:
            shares = torch.tensor([float(level == self.score) for level in self.levels], dtype=torch.float64)
        return self.quantiles(features) @ shares.to(self.units.center.device)

    def loss(self, batch: Batch) -> Tensor:
        """Mean pinball loss of the standardised samples: over levels, a cell's samples, the present cells; a scalar."""
        assert batch.samples is not None  # what `reads_samples` asks for
        samples = self.units.standardised(batch.samples.movedim(2, 1)).movedim(1, 2)
        return pinball(self._outputs(batch.features), samples, self.levels)

    def _outputs(self, features: Features) -> Tensor:
        """Standardised quantiles, (B, M, levels)."""
        raw = self.trunk(features.embedding).unflatten(1, (-1, len(self.levels)))
        return torch.cat([raw[..., :1], softplus(raw[..., 1:])], dim=2).cumsum(dim=2)


def mean_weights(levels: Sequence[float]) -> list[float]:
    """Weight of each quantile in the mean of a distribution: half the way to either neighbour, all of it to 0 and 1."""
    between = [(a + b) / 2 for a, b in pairwise(levels)]
    edges = [0.0, *between, 1.0]
    return [b - a for a, b in pairwise(edges)]


def pinball(quantiles: Tensor, samples: Tensor, levels: Sequence[float]) -> Tensor:
    """Mean pinball loss max(t e, (t - 1) e), e = sample - quantile; every cell counts once, a scalar.

    Args:
        quantiles: (B, M, Q).
        samples: (B, M, K), NaN where there is none; a cell without any does not count.
        levels: t, Q of them.
    """
    there = ~torch.isnan(samples)
    error = torch.where(there, samples, 0.0)[..., None] - quantiles[:, :, None, :]  # (B, M, K, Q)
    t = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device)
    loss = torch.maximum(t * error, (t - 1) * error).mean(dim=3)
    number = there.sum(dim=2)
    cells = (loss * there).sum(dim=2) / number.clamp(min=1)
    return masked_mean(cells, number > 0)
