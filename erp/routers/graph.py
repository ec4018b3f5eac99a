"""GraphRouter: members hear from the prompts they answered, prompts from the members, twice; then edges are guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.knn import scored_prompts
from erp.routers.label_classifier import best_labels
from erp.routers.losses import RewardUnits, masked_log_softmax, masked_mean
from erp.routers.mlp import require_counts


class Graph(Router):
    """Two layers of messages between prompts and members (2410.03834), then ``mean(z_x * z_m)`` an edge.

    Prompts and members are nodes, and an edge is a reward that is known. A layer gives each node a map of itself plus
    the mean, over its edges, of a map of the other end and of the reward. In training the edges of most prompts of a
    batch are hidden, messages run over the rest, and the hidden ones are guessed: cross-entropy with who is best. When
    it is asked, messages run over train prompts that are kept; a new prompt has no edge, and meets what members became
    by its own aligned embedding, as in the released code. Scores are logits, and ordinal.

    Ours: one softmax over a prompt's members where the released code has a sigmoid an edge, which first learns how
    seldom anybody is the best; a table has no descriptions of members, whose vectors are learnt; no nodes of tasks; a
    prompt's edges are hidden together, as those of a new one; means for sums, so that the size of the graph does not
    matter; of several best members each counts by an equal share. Fine-tuning an encoder does not move the prompts that
    are kept.

    Args:
        dimension: of a node's vector.
        seen: share of a batch's prompts over whose edges messages run in training; .3 in the released code.
        graph: train prompts that are kept, about; drawn by their content where there are more.

    Raises:
        ErpError: on a number below 1, or a share outside (0, 1).
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False
    kept: Tensor
    rewards: Tensor

    def __init__(self, dimension: int = 64, seen: float = 0.3, graph: int = 2000) -> None:
        super().__init__()
        require_counts(dimension=dimension, graph=graph)
        if not 0 < seen < 1:
            raise ErpError(f"router.seen = {seen}: give a share above 0 and below 1")
        self.dimension, self.seen, self.graph = dimension, seen, graph
        self.register_buffer("kept", torch.empty(0, 0))  # (n, d) train embeddings
        self.register_buffer("rewards", torch.empty(0, 0))  # (n, M) their standardised rewards, NaN where missing

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the members' vectors, which start alike, the alignment of prompts, and the two layers."""
        self.units = RewardUnits(dimensions.members)
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        self.align = nn.Linear(dimensions.embedding, self.dimension)
        self.members = nn.Parameter(torch.zeros(dimensions.members, self.dimension))
        self.first, self.second = Messages(self.dimension), Messages(self.dimension)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards, and keep some train prompts."""
        self.units.measure(train)
        if not any((~batch.rewards.isnan()).any() for batch in train):
            return
        features, rewards = scored_prompts(train, self.graph)
        device = self.kept.device
        self.kept = features.embedding.to(device)
        self.rewards = self._edges(rewards.to(device))

    def scores(self, features: Features) -> Tensor:
        """Logits, (B, M) float64."""
        return self._logits(features.embedding, self._became(self.kept, self.rewards)).double()

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the prompts that are guessed, a scalar: the hidden ones in training, else all."""
        embedding, present = batch.features.embedding, ~torch.isnan(batch.rewards)
        guessed = present.sum(dim=1) >= 2
        if self.training:
            hidden = torch.rand(len(present), 1, device=present.device) >= self.seen
            visible = torch.where(hidden, torch.nan, self._edges(batch.rewards))
            became, guessed = self._became(embedding, visible), guessed & hidden[:, 0]
        else:
            became = self._became(self.kept, self.rewards)
        logits = self._logits(embedding, became)
        label = torch.nan_to_num(best_labels(batch.rewards)).to(logits.dtype)
        return masked_mean(-(label * masked_log_softmax(logits, present)).sum(dim=1), guessed)

    def _edges(self, rewards: Tensor) -> Tensor:
        """Rewards (B, M) as messages carry them, float32: about one centre, so that a member hears how good it is."""
        return ((rewards - self.units.center.mean()) / self.units.spread).float()

    def _logits(self, embedding: Tensor, became: Tensor) -> Tensor:
        logits: Tensor = self.align(embedding * self.gain) @ became.T / self.dimension
        return logits

    def _became(self, embedding: Tensor, rewards: Tensor) -> Tensor:
        """The members' vectors after two layers over these edges, about their mean, (M, dimension).

        Args:
            embedding: (n, d); n may be 0.
            rewards: (n, M) standardised, NaN where there is no edge.
        """
        if not len(embedding):
            embedding = self.members.new_zeros(0, self.align.in_features)
            rewards = self.members.new_zeros(0, len(self.members))
        edge = ~torch.isnan(rewards)
        prompts, members = self.first(self.align(embedding * self.gain), self.members, rewards, edge)
        became: Tensor = self.second(leaky_relu(prompts), leaky_relu(members), rewards, edge)[1]
        return became - became.mean(dim=0)  # what is common to all the softmax cannot see


class Messages(nn.Module):
    """One layer: each node's own map plus the mean over its edges of a map of the other node and of the edge."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.own = nn.Linear(dimension, dimension)
        self.other = nn.Linear(dimension, dimension, bias=False)
        self.edge = nn.Linear(1, dimension, bias=False)

    def forward(self, prompts: Tensor, members: Tensor, rewards: Tensor, edge: Tensor) -> tuple[Tensor, Tensor]:
        """New vectors of prompts (n, h) and members (M, h); rewards (n, M) count where ``edge`` is true."""
        there, known = edge.to(prompts.dtype), torch.where(edge, rewards, 0.0).to(prompts.dtype)

        def heard(nodes: Tensor, others: Tensor, there: Tensor, known: Tensor) -> Tensor:
            number = there.sum(dim=1, keepdim=True).clamp(min=1)
            told = there @ self.other(others) + self.edge(known.sum(dim=1, keepdim=True))
            result: Tensor = self.own(nodes) + told / number
            return result

        return heard(prompts, members, there, known), heard(members, prompts, there.T, known.T)
