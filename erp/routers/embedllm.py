"""EmbedLLM: a learned vector for each member, met by a projected embedding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_squared_error
from erp.routers.mlp import require_choice


class EmbedLLM(Router):
    """``s_m(x) = w' (v_m * (W e + b)) + b_m``, noise on e in training (EmbedLLM, 2410.02223).

    Theirs classifies a response as right or wrong. Ours, for rewards of any kind: squared error of the standardised
    reward, and a bias for each member, the train mean at the start. RouteLLM's, of games, is `MatrixFactorisation`.

    Args:
        dimension: of a member's vector; 232 in EmbedLLM.
        noise: length of the noise beside an embedding of length 1, Gaussian; EmbedLLM's .05 an entry, of 768, is 1.4.
        weights: ``none``, or ``precision``: cells count by 1 / (tau^2 + s^2 / K), where samples tell; ours.

    Raises:
        ErpError: on a dimension below 1, a negative noise, or an unknown word.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False

    def __init__(
        self, dimension: int = 128, noise: float = 1.4, weights: Literal["none", "precision"] = "none"
    ) -> None:
        super().__init__()
        if dimension < 1:
            raise ErpError(f"router.dimension = {dimension}: give 1 or more")
        if not 0 <= noise < float("inf"):
            raise ErpError(f"router.noise = {noise}: give 0, or a length beside an embedding's of 1")
        require_choice("weights", weights, ("none", "precision"))
        self.dimension, self.noise, self.weights = dimension, noise, weights

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the member vectors, the projection and the classifier."""
        self.units = RewardUnits(dimensions.members)
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        self.projection = nn.Linear(dimensions.embedding, self.dimension)  # W and b
        self.vectors = nn.Parameter(torch.zeros(dimensions.members, self.dimension))  # v
        self.classifier = nn.Parameter(torch.randn(self.dimension) / self.dimension**0.5)  # w
        self.bias = nn.Parameter(torch.zeros(dimensions.members))

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.units.in_rewards(self._outputs(features.embedding * self.gain))

    def loss(self, batch: Batch) -> Tensor:
        """Mean squared error of the standardised rewards over the present cells, a scalar; noisy in training only."""
        embedding = batch.features.embedding * self.gain
        if self.training and self.noise > 0:
            embedding = embedding + self.noise * torch.randn_like(embedding)
        weights = self.units.precision(batch) if self.weights == "precision" else None
        return masked_squared_error(self._outputs(embedding), self.units.standardised(batch.rewards), weights)

    def _outputs(self, embedding: Tensor) -> Tensor:
        outputs: Tensor = self.projection(embedding) @ (self.vectors * self.classifier).T + self.bias
        return outputs
