"""Mean and spread: how good a response is, and how much responses to one prompt differ: the worth of best-of-n."""

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
    binary: Tensor

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.2, spread_weight: float = 0.3) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        if not 0 <= spread_weight < float("inf"):
            raise ErpError(f"router.spread_weight = {spread_weight}: give 0 or more")
        self.hidden, self.dropout, self.spread_weight = tuple(hidden), dropout, spread_weight
        self.register_buffer("binary", torch.tensor(False))

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.units = RewardUnits(dimensions.members)
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, 2 * dimensions.members)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards, and see whether every response is right or wrong."""
        self.units.measure(train)
        samples = (batch.samples for batch in train)
        self.binary.fill_(all(bool(((s == 0) | (s == 1) | s.isnan()).all()) for s in samples))

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.units.in_rewards(self._outputs(features)[0])

    def spread(self, features: Features) -> Tensor:
        """Predicted standard deviation between responses, (B, M) float64; NaN where no train cell had two samples."""
        return (self.units.pooled * self._outputs(features)[1].to(self.units.pooled.dtype).exp()).sqrt()

    def best_of_n(self, features: Features, n: int) -> Tensor:
        """Expected reward of the best of n responses, as the reward model sees it, (B, M) float64.

        mean + spread * E[max of n standard normals]; for rewards that are all 0 or 1, 1 - (1 - p)^n with p the mean cut
        to [0, 1].

        Raises:
            ErpError: on an n below 1; where the spread is not identified, because no cell of a member had two samples.
        """
        if n < 1:
            raise ErpError(f"n = {n}: the best of how many responses; give 1 or more")
        if self.binary:
            return 1 - (1 - self.scores(features).clamp(0, 1)) ** n
        if n > 1 and self.units.pooled.isnan().any():
            raise ErpError(
                f"n = {n}: best-of-n needs the spread between responses, which is not identifiable at K=1; "
                f"train on a table with two or more samples of each member"
            )
        if n == 1:
            return self.scores(features)
        return self.scores(features) + expected_maximum(n) * self.spread(features)

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


def expected_maximum(n: int) -> float:
    """E[max of n standard normals], the integral of x n phi(x) Phi(x)^(n - 1).

    By the trapezoid rule, exact to rounding for an integrand that dies off smoothly at both ends.
    """
    x = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    density = n * torch.exp(-(x**2) / 2 + (n - 1) * torch.special.log_ndtr(x)) / (2 * torch.pi) ** 0.5
    return float((x * density).sum() * (x[1] - x[0]))
