"""Avengers: members ranked inside clusters of prompts; a prompt asks the clusters around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.cluster_mean import (
    MOST_KEPT,
    checked_seed,
    cluster_centers,
    distinct_points,
    nearest_center,
    shrunk,
    sums_by,
)
from erp.routers.columns import GRID
from erp.routers.knn import scored_prompts
from erp.routers.losses import RewardUnits
from erp.routers.mlp import require_counts


class Avengers(Router):
    """``sum_c p_c(x) / (rank_c(m) + offset)`` over the clusters nearest to the prompt (2505.19797).

    rank_c(m), from 0, is the member's place by mean reward in cluster c, and p_c = softmax(-beta * distance) over the
    nearest clusters, distance = 1 - e'c with the centre c, as K-means gave it: their released code. Ours: members of
    equal means share the better place, and one without a reward in a cluster has its train mean there.

    Args:
        clusters: how many; at most the number of distinct train prompts.
        nearest: of them are asked.
        beta: how much nearer ones count more; 9 in their later code, 3 in their first.
        offset: what the first place is worth beside the others; 1 in their later code, .1 in their first.
        seed: of K-means.

    Raises:
        ErpError: on a number below 1, a negative beta, or an offset of 0 or less.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = True
    centers: Tensor
    values: Tensor

    def __init__(
        self, clusters: int = 64, nearest: int = 3, beta: float = 9.0, offset: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__()
        require_counts(clusters=clusters, nearest=nearest)
        if not 0 <= beta < float("inf"):
            raise ErpError(f"router.beta = {beta}: give 0 (near clusters alike) or more")
        if not 0 < offset < float("inf"):
            raise ErpError(f"router.offset = {offset}: give a number above 0")
        self.clusters, self.nearest, self.beta, self.seed = clusters, nearest, beta, checked_seed(seed)
        self.offset = offset
        self.register_buffer("centers", torch.empty(0, 0, dtype=torch.float64))  # (clusters, d)
        self.register_buffer("values", torch.empty(0, 0, dtype=torch.float64))  # (clusters, M)

    def prepare(self, dimensions: Dimensions) -> None:
        """Make room for the rewards' units."""
        self.units = RewardUnits(dimensions.members)

    def scores(self, features: Features) -> Tensor:
        """Weighted values of the nearest clusters, (B, M) float64."""
        return self._shares(features.embedding) @ self.values

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Cluster, and value the members in each cluster; nothing is chosen on validation."""
        del validation
        self.units.measure(train)
        points, weights = distinct_points(scored_prompts(train, MOST_KEPT)[0].embedding)
        self.centers = cluster_centers(points, weights, min(self.clusters, len(points)), self.seed)
        rewards, costs = self._means(train)
        self.values = self._values(torch.round(rewards * GRID) / GRID, costs)

    def _shares(self, embedding: Tensor) -> Tensor:
        """Weight of each cluster for each prompt, (B, clusters), 0 beyond the nearest."""
        distance = 1 - embedding.double() @ self.centers.T
        found, place = distance.topk(min(self.nearest, len(self.centers)), dim=1, largest=False)
        return torch.zeros_like(distance).scatter(1, place, self._weights(found))

    def _weights(self, distance: Tensor) -> Tensor:
        """Of the nearest clusters, by their distances (B, nearest)."""
        return torch.softmax(-self.beta * distance, dim=1)

    def _values(self, rewards: Tensor, costs: Tensor) -> Tensor:
        """Of each member in each cluster, by its standardised mean reward and its mean cost there; (clusters, M)."""
        del costs
        return 1.0 / ((rewards[:, None, :] > rewards[:, :, None]).sum(dim=2) + self.offset).double()

    def _means(self, train: Iterable[Batch]) -> tuple[Tensor, Tensor]:
        """Standardised mean rewards and mean costs of members by cluster, (clusters, M) each."""
        sums = []
        for batch in train:
            code = nearest_center(batch.features.embedding, self.centers)
            standardised = (batch.rewards - self.units.center) / self.units.spread
            scored = torch.where(torch.isnan(batch.rewards), torch.nan, batch.costs.double())
            sums.append((*sums_by(code, standardised, len(self.centers)), *sums_by(code, scored, len(self.centers))))
        reward, counts, cost, _ = (torch.stack(part).sum(dim=0) for part in zip(*sums, strict=True))
        typical = cost.sum(dim=0) / counts.sum(dim=0).clamp(min=1)
        # 0 is the member's own train mean; what members have on average is added once all are on one scale.
        level = (self.units.center - self.units.center.mean()) / self.units.spread
        return shrunk(reward, counts, torch.zeros_like(level), 0.0) + level, shrunk(cost, counts, typical, 0.0)


class AvengersPro(Avengers):
    """``sum_c alpha r_cm + (1 - alpha) (1 - q_cm)`` over the clusters nearest to the prompt (2508.12631).

    r_cm and q_cm are the member's mean reward and mean cost in cluster c, each brought to [0, 1] between the least and
    the largest of the cluster. alpha trades reward for cost while it learns; a policy's lambda does so once more, on an
    ordinal scale. Sizes are the paper's.

    Args:
        clusters: how many; at most the number of distinct train prompts.
        nearest: of them are asked, all alike.
        alpha: what reward weighs beside cost, from 0 to 1.
        seed: of K-means.

    Raises:
        ErpError: on a number below 1, or an alpha outside [0, 1].
    """

    def __init__(self, clusters: int = 60, nearest: int = 4, alpha: float = 0.7, seed: int = 0) -> None:
        super().__init__(clusters, nearest, beta=0.0, seed=seed)
        if not 0 <= alpha <= 1:
            raise ErpError(f"router.alpha = {alpha}: give a share from 0 (cost alone) to 1 (reward alone)")
        self.alpha = alpha

    def _values(self, rewards: Tensor, costs: Tensor) -> Tensor:
        return self.alpha * between_ends(rewards) + (1 - self.alpha) * (1 - between_ends(costs))


def between_ends(values: Tensor) -> Tensor:
    """Rows of (C, M) brought to [0, 1] between their least and largest; 1 where these are equal."""
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    return torch.where(high > low, (values - low) / torch.where(high > low, high - low, 1.0), 1.0)
