"""Mean and spread: how good a response is, and how much responses to one prompt differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_mean, masked_squared_error, shrunk_variances
from erp.routers.mlp import Trunk, require_trunk


class MeanAndSpread(Router):
    """A network with two outputs a member: expected reward, and log variance between its responses; ours.

    The mean is trained by squared error. The variance is regressed on the variances seen between samples, each shrunk
    toward its member's pooled one, by the gamma deviance with a log link, whose optimum is their conditional mean. It
    is no joint Gaussian likelihood, which would learn the mean's error as spread. With one sample a cell, only means
    are learnt.

    Args:
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.
        spread_weight: of the variance's loss beside the mean's.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), or a negative weight.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.2, spread_weight: float = 0.3) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        if not 0 <= spread_weight < float("inf"):
            raise ErpError(f"router.spread_weight = {spread_weight}: give 0 or more")
        self.hidden, self.dropout, self.spread_weight = tuple(hidden), dropout, spread_weight

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.units = RewardUnits(dimensions.members)
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, 2 * dimensions.members)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.units.in_rewards(self._outputs(features)[0])

    def spread(self, features: Features) -> Tensor:
        """Predicted standard deviation between responses, (B, M) float64; NaN where no train cell had two samples."""
        return (self.units.pooled * self._outputs(features)[1].to(self.units.pooled.dtype).exp()).sqrt()

    def loss(self, batch: Batch) -> Tensor:
        """Squared error of the standardised means plus the weighted deviance of the variances, a scalar."""
        mean, log_ratio = self._outputs(batch.features)
        loss = masked_squared_error(mean, self.units.standardised(batch.rewards))
        pooled = self.units.pooled
        ratio = shrunk_variances(batch.variances, batch.counts, pooled) / pooled
        seen = ~batch.variances.isnan() & (pooled > 0)  # comparison with NaN is false
        return loss + self.spread_weight * gamma_deviance(log_ratio, torch.where(seen, ratio, 1.0).float(), seen)

    def _outputs(self, features: Features) -> tuple[Tensor, Tensor]:
        """Standardised mean, and log of variance / pooled variance, each (B, M)."""
        mean, log_ratio = self.trunk(features.embedding).chunk(2, dim=1)
        return mean, log_ratio


def gamma_deviance(log_predicted: Tensor, observed: Tensor, present: Tensor) -> Tensor:
    """Mean of observed / predicted - 1 - log(observed / predicted) over the present cells, a scalar, at least 0.

    Half the unit deviance of the gamma family. ``observed`` is above 0 everywhere.
    """
    return masked_mean(observed * torch.exp(-log_predicted) - 1 - observed.log() + log_predicted, present)
