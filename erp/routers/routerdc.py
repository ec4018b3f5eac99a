"""RouterDC: prompts and members in one space, drawn together and pushed apart by two contrasts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.cluster_mean import (
    MOST_KEPT,
    checked_seed,
    cluster_centers,
    distinct_points,
    nearest_center,
)
from erp.routers.knn import scored_prompts
from erp.routers.losses import masked_mean
from erp.routers.mlp import require_counts

CONTRASTED = 256  # prompts that are held against each other at once: time is in proportion to it


class RouterDC(Router):
    """Scores ``cos(h(x), k_m)``: dual contrastive learning (2409.19886).

    Sample-LLM loss: each of the best members of a prompt against the worst ones,
    ``-log e^{s+} / (e^{s+} + sum_{-} e^{s-})``, s = cos(h(x), k_m) / T. Of two that are equal neither is against the
    other, which for rewards of 0 and 1 leaves what the paper does. Sample-sample loss: a prompt against ``negatives``
    prompts of other K-means clusters, with one of its own cluster on its side. Theirs draws those from a batch of 64;
    here 256 of a batch stand for them, each with its share, so that nothing is drawn.

    h is a linear map of the embedding; with ``backbone.finetune=true`` the encoder below is trained along, as theirs,
    and clusters stay those of the encoder as it was released. ``experiment=routerdc`` has their settings.

    Args:
        dimension: of h and of a member's k; None: h is the embedding itself, as theirs.
        temperature: T.
        top: best members of a prompt that are drawn near, at most half of those that have a reward.
        last: worst ones that are pushed away, at most half likewise.
        failure: only of members with a reward up to it, theirs .5; None: of any that are worse.
        negatives: prompts of other clusters.
        weight: of the sample-sample loss.
        clusters: of K-means; at most the number of distinct train prompts.
        seed: of K-means.
        init_std: of the members' k before training, drawn one by one, theirs .78; None: all begin at one k, so that
            none is ahead.

    Raises:
        ErpError: on a number below 1, a temperature of 0 or less, or a negative weight.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False
    centers: Tensor

    def __init__(
        self,
        dimension: int | None = 128,
        temperature: float = 1.0,
        top: int = 3,
        last: int = 3,
        negatives: int = 3,
        weight: float = 1.0,
        clusters: int = 5,
        seed: int = 0,
        failure: float | None = None,
        init_std: float | None = None,
    ) -> None:
        super().__init__()
        require_counts(
            dimension=1 if dimension is None else dimension, top=top, last=last, negatives=negatives, clusters=clusters
        )
        if not 0 < temperature < float("inf"):
            raise ErpError(f"router.temperature = {temperature}: give a number above 0")
        if not 0 <= weight < float("inf"):
            raise ErpError(f"router.weight = {weight}: give 0 or more")
        if failure is not None and not abs(failure) < float("inf"):
            raise ErpError(f"router.failure = {failure}: give a reward, or null")
        if init_std is not None and not 0 < init_std < float("inf"):
            raise ErpError(f"router.init_std = {init_std}: give a number above 0, or null")
        self.dimension, self.temperature, self.top, self.last = dimension, temperature, top, last
        self.negatives, self.weight, self.clusters, self.seed = negatives, weight, clusters, checked_seed(seed)
        self.failure, self.init_std = failure, init_std

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the map and the members' vectors."""
        self.gain = dimensions.embedding**0.5  # of an L2-normalised embedding, to entries of about 1
        given, members = dimensions.embedding, dimensions.members
        self.projection = nn.Identity() if self.dimension is None else nn.Linear(given, self.dimension)
        size = given if self.dimension is None else self.dimension
        std = self.init_std
        start = torch.randn(size).repeat(members, 1) if std is None else torch.randn(members, size) * std
        self.vectors = nn.Parameter(start)
        self.register_buffer("centers", torch.zeros(self.clusters, dimensions.embedding, dtype=torch.float64))

    def begin(self, train: Iterable[Batch]) -> None:
        """Cluster the train prompts; with fewer distinct ones than clusters, the first stands for the rest."""
        try:
            points, weights = distinct_points(scored_prompts(train, MOST_KEPT)[0].embedding.cpu())
        except ErpError:  # no prompt has a reward: there is nothing to contrast
            return
        found = cluster_centers(points, weights, min(self.clusters, len(points)), self.seed)
        self.centers.copy_(torch.cat([found, found[:1].expand(self.clusters - len(found), -1)]))

    def scores(self, features: Features) -> Tensor:
        """Cosines of prompt and members, (B, M) float64."""
        return self._cosines(self._hidden(features.embedding)).double()

    def loss(self, batch: Batch) -> Tensor:
        """Sample-LLM loss and, weighted, sample-sample loss, a scalar."""
        hidden = self._hidden(batch.features.embedding)
        similarity = self._cosines(hidden) / self.temperature
        loss = sample_llm_loss(similarity, batch.rewards, self.top, self.last, self.failure)
        if self.weight == 0:
            return loss
        scored = ~torch.isnan(batch.rewards).all(dim=1)
        # By the encoder as it was released: clusters that moved with it could be left by moving, with nothing learnt.
        released = batch.features.embedding if batch.released is None else batch.released
        cluster = nearest_center(released, self.centers)[scored]
        return loss + self.weight * sample_sample_loss(hidden[scored], cluster, self.negatives)

    def _hidden(self, embedding: Tensor) -> Tensor:
        return normalize(self.projection(embedding * self.gain), dim=1)

    def _cosines(self, hidden: Tensor) -> Tensor:
        return hidden @ normalize(self.vectors, dim=1).T


def sample_llm_loss(similarity: Tensor, rewards: Tensor, top: int, last: int, failure: float | None = None) -> Tensor:
    """Sum over the best members of ``-log e^{s+} / (e^{s+} + sum_{-} e^{s-})``, mean over prompts, a scalar.

    A member is among the best (worst) where fewer than ``top`` (``last``), and fewer than half of the members that have
    a reward, have a larger (smaller) one. A prompt counts where one member is better than another.

    Args:
        similarity: s, (B, M).
        rewards: (B, M), NaN where missing.
        top: how many are best, at most.
        last: how many are worst, at most.
        failure: the largest reward of a member that is pushed away; None: any.
    """
    above = rewards[:, None, :] > rewards[:, :, None]  # [b, m, n]: n is better than m; with NaN never
    present = ~torch.isnan(rewards)
    half = (present.sum(dim=1, keepdim=True) // 2).clamp(min=1)
    best = present & (above.sum(dim=2) < half.clamp(max=top))
    worst = present & (above.sum(dim=1) < half.clamp(max=last))
    worst &= True if failure is None else rewards <= failure
    against = best[:, :, None] & worst[:, None, :] & above.mT  # [b, m, n]: m is drawn near, n is pushed away
    others = torch.where(against, similarity[:, None, :], -torch.inf)
    lost = -log_softmax(torch.cat([similarity[:, :, None], others], dim=2), dim=2)[:, :, 0]
    drawn = against.any(dim=2)
    return masked_mean(torch.where(drawn, lost, 0.0).sum(dim=1), drawn.any(dim=1))


def sample_sample_loss(hidden: Tensor, cluster: Tensor, negatives: int) -> Tensor:
    """Mean over pairs of one cluster of ``-log e^{s+} / (e^{s+} + H mean_{-} e^{s-})``, a scalar; 0 without any.

    Pairs, and the mean over -, are of prompts that lie in the same ``CONTRASTED`` of the batch.

    Args:
        hidden: (B, h) of length 1; s are their products.
        cluster: (B,).
        negatives: H, prompts of other clusters, for which the mean over those at hand stands.
    """
    total, pairs = hidden.sum() * 0.0, torch.zeros((), dtype=torch.int64, device=hidden.device)
    for h, c in zip(torch.split(hidden, CONTRASTED), torch.split(cluster, CONTRASTED), strict=True):
        same = c[:, None] == c
        number = (~same).sum(dim=1, keepdim=True)
        pair = same & ~torch.eye(len(c), dtype=torch.bool, device=c.device) & (number > 0)
        likeness = (h @ h.T).exp()
        pushed = torch.where(same, 0.0, likeness).sum(dim=1, keepdim=True) / number.clamp(min=1)
        total = total + torch.where(pair, torch.log1p(negatives * pushed / likeness), 0.0).sum()
        pairs = pairs + pair.sum()
    return total / pairs.clamp(min=1)
