"""Cluster mean: the mean reward of the prompts around the same centre."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # comes with scikit-learn
from torch import Tensor

from erp.errors import ErpError
from erp.routers import arithmetic
from erp.routers.base import ArithmeticRouter, Batch, array_of
from erp.routers.knn import as_values, scored_prompts

MOST_POINTS = 20_000  # distinct prompts up to which K-means looks at all of them in every step
MOST_KEPT = 100_000  # train prompts in memory: of more, about so many tell where centres lie, drawn by their content


class ClusterMean(ArithmeticRouter):
    """Each member's train mean in the prompt's cluster, shrunk: ``(n mean + kappa global) / (n + kappa)``.

    K-means on the embedding makes the clusters; n is how many rewards the member has in one. With kappa = 0 this is
    UniRoute (2502.08773): clusters of prompts, and the members' mean error in each. UniRoute can take its clusters from
    more prompts than are scored; here they come from train prompts that have a reward, so that adding a prompt without
    any changes nothing. The shrinkage, and that validation chooses, is ours.

    A member without a reward in a cluster gets its global train mean there.

    Args:
        clusters: numbers to choose from by squared error on validation; those above the number of distinct train
            prompts are taken as that number.
        kappas: rewards that the global mean counts for, to choose from likewise.
        seed: of K-means.
    """

    arithmetic = arithmetic.ClusterMeans
    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    centers: Tensor
    means: Tensor
    kappa: Tensor

    def __init__(
        self, clusters: Sequence[int] = (8, 16, 32, 64, 128), kappas: Sequence[float] = (0, 5, 20, 80), seed: int = 0
    ) -> None:
        super().__init__()
        self.clusters = checked_clusters("clusters", clusters)
        self.kappas = checked_kappas(kappas)
        self.seed = checked_seed(seed)
        self.register_buffer("centers", torch.empty(0, 0, dtype=torch.float64))  # (clusters, d)
        self.register_buffer("means", torch.empty(0, 0, dtype=torch.float64))  # (clusters, M)
        self.register_buffer("kappa", torch.tensor(torch.nan, dtype=torch.float64))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Cluster, average the present cells; choose the number of clusters and kappa on validation."""
        features, _ = scored_prompts(train, MOST_KEPT)
        points, weights = distinct_points(features.embedding)
        least = torch.inf
        for clusters in sorted({min(k, len(points)) for k in self.clusters}):
            centers = cluster_centers(points, weights, clusters, self.seed)
            parts = (sums_by(nearest_center(b.features.embedding, centers), b.rewards, clusters) for b in train)
            totals, counts = (torch.stack(sums).sum(dim=0) for sums in zip(*parts, strict=True))
            sums, overall = (totals, counts), totals.sum(dim=0) / counts.sum(dim=0).clamp(min=1)
            tables = torch.stack([shrunk(*sums, overall, kappa) for kappa in self.kappas])
            errors = torch.zeros(len(tables), dtype=torch.float64)
            for batch in validation if len(self.clusters) * len(self.kappas) > 1 else ():
                predicted = tables[:, nearest_center(batch.features.embedding, centers)]
                errors += torch.nansum((predicted - batch.rewards) ** 2, dim=(1, 2))
            best = int(errors.argmin())
            if errors[best] < least:
                least, self.centers, self.means = float(errors[best]), centers, tables[best].clone()
                self.kappa = torch.tensor(self.kappas[best], dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The number of clusters and the kappa that validation chose."""
        return {"clusters": float(len(self.centers)), "kappa": float(self.kappa)}


def checked_clusters(key: str, clusters: Sequence[int]) -> list[int]:
    """Ascending numbers of clusters. Raises ErpError where one cannot be."""
    if len(clusters) == 0 or min(clusters) < 1:
        raise ErpError(f"router.{key} = {list(clusters)}: give one or more numbers, each 1 or more")
    return sorted(set(clusters))


def checked_kappas(kappas: Sequence[float]) -> list[float]:
    """Ascending strengths of shrinkage. Raises ErpError where one cannot be."""
    if len(kappas) == 0 or not all(0 <= kappa < torch.inf for kappa in kappas):
        raise ErpError(f"router.kappas = {list(kappas)}: give one or more numbers, each 0 or more")
    return sorted(set(kappas))


def checked_seed(seed: int) -> int:
    """A seed that numpy takes. Raises ErpError."""
    if not 0 <= seed < 2**32:
        raise ErpError(f"router.seed = {seed}: give a number from 0 to 2^32 - 1")
    return seed


def distinct_points(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows of (n, d), in an order that depends on their content alone, and how often each is there.

    What is drawn from them by a seed then does not depend on the order of the table.
    """
    _, first, counts = np.unique(as_values(embedding), return_index=True, return_counts=True)
    return embedding[torch.from_numpy(first)], torch.from_numpy(counts)


def cluster_centers(points: Tensor, weights: Tensor, clusters: int, seed: int) -> Tensor:
    """Centres by K-means (scikit-learn's, one start by k-means++), (clusters, d) float64.

    Args:
        points: (n, d) distinct.
        weights: (n,) how often each counts.
        clusters: at most n; with n, every point is a centre.
        seed: of the start, and of mini-batches beyond ``MOST_POINTS``.
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans  # here: slow to import, and needed to fit only
    from sklearn.exceptions import ConvergenceWarning

    if clusters == len(points):
        return points.double()
    if clusters == 1:
        return (weights.double() @ points.double() / weights.sum())[None]
    algorithm = KMeans if len(points) <= MOST_POINTS else MiniBatchKMeans
    # One thread: several add up in whatever order they finish, and the same seed would give other bits.
    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="openmp"):
        warnings.simplefilter("ignore", ConvergenceWarning)  # points that differ by rounding only: a centre has none
        model = algorithm(clusters, random_state=seed, n_init=1).fit(points.numpy(), sample_weight=weights.numpy())
    return torch.from_numpy(model.cluster_centers_.astype(np.float64))


def nearest_center(embedding: Tensor, centers: Tensor) -> Tensor:
    """(B,) position of the centre of least Euclidean distance; the first where several are as near."""
    return torch.from_numpy(arithmetic.nearest_center(array_of(embedding), array_of(centers)))


def sums_by(code: Tensor, rewards: Tensor, codes: int) -> tuple[Tensor, Tensor]:
    """Sums and numbers of the present rewards by code, (codes, M) float64 each.

    Args:
        code: (n,) from 0.
        rewards: (n, M), NaN where missing.
        codes: how many there are.
    """
    totals = torch.zeros(codes, rewards.shape[1], dtype=torch.float64)
    counts = torch.zeros_like(totals)
    totals.index_add_(0, code, torch.nan_to_num(rewards))
    counts.index_add_(0, code, (~torch.isnan(rewards)).to(torch.float64))
    return totals, counts


def shrunk(totals: Tensor, counts: Tensor, parent: Tensor, kappa: float) -> Tensor:
    """``(total + kappa parent) / (count + kappa)``; the parent where nothing is counted. ``parent`` is broadcast."""
    weight = counts + kappa
    return torch.where(counts > 0, (totals + kappa * parent) / torch.where(weight > 0, weight, 1.0), parent)
