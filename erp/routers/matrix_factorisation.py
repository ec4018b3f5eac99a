"""RouteLLM's matrix factorisation: who beats whom on a prompt, by members' vectors that a projected embedding meets."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import masked_mean
from erp.routers.mlp import require_choice, require_counts


class MatrixFactorisation(Router):
    """``P(i beats j) = sigmoid(s_i - s_j)``, ``s_m(x) = w' (v_m * (W e + b))``, v of length 1 (RouteLLM, 2406.18665).

    Learnt by binary cross-entropy from games, as in ``BradleyTerry``: two members that have a reward of one prompt, the
    larger one wins. `EmbedLLM` is the same product, fitted to rewards themselves and with a bias for each member.

    Args:
        dimension: of a member's vector.
        noise: length of the Gaussian noise beside an embedding of length 1, in training. Theirs, .1 an entry of 1,536,
            is 3.9, which is too much here: it is a penalty that grows with the number of games.
        ties: ``half`` a win for each, as in their similarity-weighted ranking; ``drop``, as in their code of this one.
            Where both members are mostly right, games that are no ties tell who wins them, but not how seldom they are.

    Raises:
        ErpError: on a dimension below 1, a negative noise, or an unknown word.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    learns_games = True
    closed_form = False

    def __init__(self, dimension: int = 128, noise: float = 1.0, ties: Literal["half", "drop"] = "half") -> None:
        super().__init__()
        require_counts(dimension=dimension)
        if not 0 <= noise < float("inf"):
            raise ErpError(f"router.noise = {noise}: give 0, or a length beside an embedding's of 1")
        require_choice("ties", ties, ("half", "drop"))
        self.dimension, self.noise, self.ties = dimension, noise, ties

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the member vectors, the projection and the classifier."""
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        self.projection = nn.Linear(dimensions.embedding, self.dimension)  # W and b
        start = torch.randn(self.dimension)  # the same for all: before its first step the router treats members alike
        self.vectors = nn.Parameter(start.repeat(dimensions.members, 1))  # v, of any length
        self.classifier = nn.Parameter(torch.randn(self.dimension) / self.dimension**0.5)  # w

    def scores(self, features: Features) -> Tensor:
        """Strengths s of sum 0, (B, M) float64; only their differences are learnt."""
        strengths: Tensor = (
            self.projection(features.embedding * self.gain) @ (normalize(self.vectors, dim=1) * self.classifier).T
        )
        return (strengths - strengths.mean(dim=1, keepdim=True)).double()

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the games of each prompt, a scalar; noisy in training only."""
        embedding = batch.features.embedding * self.gain
        if self.training and self.noise > 0:
            embedding = embedding + self.noise * torch.randn_like(embedding)
        i, j = torch.triu_indices(len(self.vectors), len(self.vectors), 1, device=embedding.device)
        v = normalize(self.vectors, dim=1)  # met as differences: where two are equal, no rounding moves W and w
        ahead = self.projection(embedding) @ ((v[i] - v[j]) * self.classifier).T
        gap = batch.rewards[:, i] - batch.rewards[:, j]
        played = ~gap.isnan() if self.ties == "half" else gap.abs() > 0  # a comparison with NaN is false
        won = ((gap.sign() + 1) / 2).float()
        lost = binary_cross_entropy_with_logits(ahead, won, reduction="none")
        return masked_mean(lost, played)
