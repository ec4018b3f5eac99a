"""ProxRouter: all clusters speak, the nearer the louder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.cluster_mean import (
    MOST_KEPT,
    checked_clusters,
    checked_seed,
    cluster_centers,
    distinct_points,
    nearest_center,
    sums_by,
)
from erp.routers.knn import scored_prompts


class Prox(Router):
    """``sum_c w_c mean_cm``, ``w_c ~ n_c exp(-distance_c / tau)`` over all K-means clusters (ProxRouter, 2510.09852).

    n_c, the member's rewards in cluster c, is the weight of least variance, and the tilt takes off bias: a prompt far
    from everything hears many clusters, one in the midst of a cluster that one. The distance is 1 - cosine with the
    centre. As tau falls it becomes the cluster mean, as tau grows the mean of train. Its form on neighbours is ``knn``
    with a temperature.

    Args:
        clusters: numbers to choose from by squared error on validation; those above the number of distinct train
            prompts are taken as that number.
        taus: widths to choose from likewise.
        seed: of K-means.

    Raises:
        ErpError: on no number of clusters, one below 1, or a tau of 0 or less.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    directions: Tensor
    totals: Tensor
    counts: Tensor
    level: Tensor
    tau: Tensor

    def __init__(
        self,
        clusters: Sequence[int] = (16, 32, 64, 128),
        taus: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.5),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.clusters = checked_clusters("clusters", clusters)
        if len(taus) == 0 or not all(0 < tau < float("inf") for tau in taus):
            raise ErpError(f"router.taus = {list(taus)}: give one or more numbers above 0")
        self.taus, self.seed = sorted(set(taus)), checked_seed(seed)
        self.register_buffer("directions", torch.empty(0, 0, dtype=torch.float64))  # (clusters, d), of length 1
        self.register_buffer("totals", torch.empty(0, 0, dtype=torch.float64))  # (clusters, M) rewards less the level
        self.register_buffer("counts", torch.empty(0, 0, dtype=torch.float64))
        self.register_buffer("level", torch.empty(0, dtype=torch.float64))  # (M,) train means
        self.register_buffer("tau", torch.tensor(torch.nan, dtype=torch.float64))

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self._predicted(features.embedding, float(self.tau))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Cluster, average the present cells; choose the number of clusters and tau on validation."""
        features, rewards = scored_prompts(train, MOST_KEPT)
        pool = torch.nanmean(rewards)
        self.level = torch.nan_to_num(torch.nanmean(rewards - pool, dim=0)) + pool
        points, weights = distinct_points(features.embedding)
        least, best = torch.inf, None
        for clusters in sorted({min(k, len(points)) for k in self.clusters}):
            centers = cluster_centers(points, weights, clusters, self.seed)
            self.directions = normalize(centers)
            parts = (
                sums_by(nearest_center(b.features.embedding, centers), b.rewards - self.level, clusters) for b in train
            )
            self.totals, self.counts = (torch.stack(sums).sum(dim=0) for sums in zip(*parts, strict=True))
            for tau in self.taus:
                error = 0.0
                for batch in validation if len(self.clusters) * len(self.taus) > 1 else ():
                    found = self._predicted(batch.features.embedding, tau)
                    error += float(torch.nansum((found - batch.rewards) ** 2))
                if error < least:
                    least, best = error, (self.directions, self.totals, self.counts, tau)
        assert best is not None
        self.directions, self.totals, self.counts = best[:3]
        self.tau = torch.tensor(best[3], dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The number of clusters and the tau that validation chose."""
        return {"clusters": float(len(self.directions)), "tau": float(self.tau)}

    def _predicted(self, embedding: Tensor, tau: float) -> Tensor:
        # Softmax and not exp: relative to the nearest cluster, or all would underflow for a small tau.
        tilt = torch.softmax(embedding.double() @ self.directions.T / tau, dim=1)
        weight = tilt @ self.counts
        return self.level + tilt @ self.totals / torch.where(weight > 0, weight, 1.0)
