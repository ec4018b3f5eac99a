"""IRT: what a prompt asks for, how hard it is, and what each member is able to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router, array_of
from erp.routers.cluster_mean import MOST_KEPT
from erp.routers.knn import first_equal_in_blocks, scored_prompts
from erp.routers.losses import masked_mean
from erp.routers.mlp import require_counts
from erp.routers.neighbours import nearest

BLOCK = 1024  # prompts whose neighbours are searched at once


class IRT(Router):
    """``p = sigmoid(a(x)' theta_m - b(x))``, a = softplus(W_a e), b = w_b' e: MIRT of IRT-Router (2506.01048).

    Binary cross-entropy with the rewards, brought to [0, 1] by the least and largest of train; the score is p, scaled
    back. Theirs makes a member's abilities theta by a linear map of the embedding of its description; a table has no
    descriptions, so theta is learnt as it is, which such a map of M independent embeddings comes to as well.

    With a warm-up, a prompt that is scored is drawn toward its neighbours: e becomes (1 - w) e + w (mean of the k
    nearest train embeddings), as theirs are for prompts of unseen kinds. Fine-tuning an encoder does not move those.

    Args:
        dimension: of abilities; 25 there.
        warmup: w, from 0 (none) to 1; .1 in their code.
        neighbours: k; 5 there.

    Raises:
        ErpError: on a size below 1, or a warm-up outside [0, 1].
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False
    low: Tensor
    width: Tensor
    kept: Tensor

    def __init__(self, dimension: int = 25, warmup: float = 0.0, neighbours: int = 5) -> None:
        super().__init__()
        require_counts(dimension=dimension, neighbours=neighbours)
        if not 0 <= warmup <= 1:
            raise ErpError(f"router.warmup = {warmup}: give a share from 0 (none) to 1 (the neighbours alone)")
        self.dimension, self.warmup, self.neighbours = dimension, warmup, neighbours
        self.register_buffer("low", torch.zeros((), dtype=torch.float64))  # the least reward
        self.register_buffer("width", torch.ones((), dtype=torch.float64))  # from it to the largest
        self.register_buffer("kept", torch.empty(0, 0))  # train embeddings, for the warm-up

    def prepare(self, dimensions: Dimensions) -> None:
        """Make abilities and the maps of the embedding."""
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        self.discrimination = nn.Linear(dimensions.embedding, self.dimension, bias=False)  # W_a
        self.difficulty = nn.Linear(dimensions.embedding, 1, bias=False)  # w_b
        self.ability = nn.Parameter(torch.zeros(dimensions.members, self.dimension))  # theta

    def begin(self, train: Iterable[Batch]) -> None:
        """Find the least and the largest reward; keep the train embeddings that a warm-up needs."""
        ends = [torch.stack(torch.aminmax(known)) for b in train if len(known := b.rewards[~b.rewards.isnan()].cpu())]
        if ends:
            low, high = torch.stack(ends)[:, 0].min(), torch.stack(ends)[:, 1].max()
            self.low.copy_(low)
            self.width.copy_(high - low)
        if self.warmup > 0:
            self.kept = scored_prompts(train, MOST_KEPT)[0].embedding.to(self.kept.device)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        embedding = features.embedding
        if self.warmup > 0 and len(self.kept):
            embedding = torch.cat([self._warmed(block) for block in torch.split(embedding, BLOCK)])
        return self.low + self.width * torch.sigmoid(self._logits(embedding).double())

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the scaled rewards over the present cells, a scalar."""
        present = ~torch.isnan(batch.rewards)
        scaled = (batch.rewards - self.low) / torch.where(self.width > 0, self.width, 1.0)
        target = torch.where(present, scaled.clamp(0, 1), 0.0).float()
        logits = self._logits(batch.features.embedding)
        return masked_mean(binary_cross_entropy_with_logits(logits, target, reduction="none"), present)

    def _logits(self, embedding: Tensor) -> Tensor:
        x = embedding * self.gain
        logits: Tensor = softplus(self.discrimination(x)) @ self.ability.T - self.difficulty(x)
        return logits

    def _warmed(self, embedding: Tensor) -> Tensor:
        k = min(self.neighbours, len(self.kept))
        kept, twin = array_of(self.kept), array_of(first_equal_in_blocks(self.kept))
        found = torch.from_numpy(nearest(array_of(embedding), kept, twin, k, False)[1])
        return (1 - self.warmup) * embedding + self.warmup * self.kept[found].mean(dim=1)
