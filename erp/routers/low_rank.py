"""ERP low rank: linear heads that share a few directions of the embedding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from torch import Tensor, nn

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_squared_error
from erp.routers.mlp import require_choice


class LowRank(Router):
    """``rhat_m(x) = beta_m + u_m' V phi(x)``: the paper's linear heads (2603.20217), tied through r directions; ours.

    beta starts at the members' train means and u at 0. Scores are float64 around float32 factors.

    Args:
        rank: r, the directions; from the number of members on, they tie nothing.
        weights: ``none``, or ``precision``: cells count by 1 / (tau^2 + s^2 / K), where samples tell.

    Raises:
        ErpError: on a rank below 1 or an unknown word.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False

    def __init__(self, rank: int = 4, weights: Literal["none", "precision"] = "none") -> None:
        super().__init__()
        if rank < 1:
            raise ErpError(f"router.rank = {rank}: give 1 or more")
        require_choice("weights", weights, ("none", "precision"))
        self.rank, self.weights = rank, weights

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the factors."""
        self.units = RewardUnits(dimensions.members)
        self.directions = nn.Linear(dimensions.embedding, self.rank, bias=False)  # V
        self.members = nn.Linear(self.rank, dimensions.members)  # u and beta
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        nn.init.zeros_(self.members.weight)
        nn.init.zeros_(self.members.bias)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.units.in_rewards(self._outputs(features))

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the standardised rewards over the present cells, a scalar."""
        weights = self.units.precision(batch) if self.weights == "precision" else None
        return masked_squared_error(self._outputs(batch.features), self.units.standardised(batch.rewards), weights)

    def _outputs(self, features: Features) -> Tensor:
        outputs: Tensor = self.members(self.directions(features.embedding * self.gain))
        return outputs
