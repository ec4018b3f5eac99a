"""Hierarchical mean: means of ever smaller neighbourhoods, each shrunk to that of the one around it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from erp.routers.arithmetic import HierarchicalMeans
from erp.routers.base import ArithmeticRouter, Batch, Dimensions
from erp.routers.cluster_mean import (
    MOST_KEPT,
    checked_clusters,
    checked_kappas,
    checked_seed,
    cluster_centers,
    distinct_points,
    nearest_center,
    shrunk,
    sums_by,
)
from erp.routers.knn import scored_prompts


class HierarchicalMean(ArithmeticRouter):
    """Train means of the prompt's fine cluster, shrunk to its coarse cluster's, and so on up to the global mean.

    Every level is ``(n mean + kappa parent) / (n + kappa)``, n being the member's rewards there. K-means on the
    embedding makes the fine clusters, and K-means on their centres, weighted by their prompts, the coarse ones: each
    fine cluster lies in one coarse cluster. The levels are global, [category,] coarse, fine; with ``use_category`` the
    clusters are those of the prompt's category alone, and a prompt of unknown category gets the levels without one.
    Ours; one level of it, without shrinkage, is UniRoute (2502.08773).

    Memory: (categories + 1) x fine x M means.

    Args:
        coarse: numbers of coarse clusters to choose from by squared error on validation.
        fine: numbers of fine clusters likewise; those above the number of distinct train prompts are taken as that
            number, and numbers of coarse clusters above the fine ones' as theirs.
        kappas: rewards that the parent's mean counts for, to choose from likewise; one for all levels.
        use_category: whether the category is a level.
        seed: of K-means.
    """

    arithmetic = HierarchicalMeans
    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    centers: Tensor
    means: Tensor
    coarse_clusters: Tensor
    kappa: Tensor

    def __init__(
        self,
        coarse: Sequence[int] = (8, 16),
        fine: Sequence[int] = (32, 64, 128),
        kappas: Sequence[float] = (1, 5, 20, 80, 320),
        use_category: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.coarse = checked_clusters("coarse", coarse)
        self.fine = checked_clusters("fine", fine)
        self.kappas = checked_kappas(kappas)
        self.seed = checked_seed(seed)
        self.reads_category = use_category  # type: ignore[misc]  # of the class elsewhere; here the config says
        self.categories = 0
        self.register_buffer("centers", torch.empty(0, 0, dtype=torch.float64))  # (fine, d)
        # (categories + 1, fine, M); last: of all categories, for prompts of none
        self.register_buffer("means", torch.empty(0, 0, 0, dtype=torch.float64))
        self.register_buffer("coarse_clusters", torch.tensor(0))
        self.register_buffer("kappa", torch.tensor(torch.nan, dtype=torch.float64))

    def prepare(self, dimensions: Dimensions) -> None:
        """Remember how many categories there are."""
        self.categories = dimensions.categories if self.reads_category else 0

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Cluster twice, average the present cells; choose the numbers of clusters and kappas on validation."""
        features, _ = scored_prompts(train, MOST_KEPT)
        points, weights = distinct_points(features.embedding)
        several = len(self.coarse) * len(self.fine) * len(self.kappas) > 1
        least = torch.inf
        for fine in sorted({min(k, len(points)) for k in self.fine}):
            centers = cluster_centers(points, weights, fine, self.seed)
            parts = [self._sums(self._placed(batch, centers), fine) for batch in train]
            totals, counts = (torch.stack(part).sum(dim=0) for part in zip(*parts, strict=True))
            held_out = [self._placed(batch, centers) for batch in (validation if several else ())]
            code = nearest_center(features.embedding, centers)
            sizes = torch.bincount(code, minlength=fine).clamp(min=1)  # rounding may leave one empty
            for coarse in sorted({min(k, fine) for k in self.coarse}):
                parents = nearest_center(centers, cluster_centers(centers, sizes, coarse, self.seed))
                tree = Tree(totals, counts, parents, coarse)
                for kappa in self.kappas:
                    means = tree.means(kappa)
                    error = sum(placed.squared_error(means) for placed in held_out)
                    if error < least:
                        least, self.centers, self.means = error, centers, means
                        self.coarse_clusters = torch.tensor(coarse)
                        self.kappa = torch.tensor(kappa, dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The numbers of clusters and the kappa that validation chose."""
        return {"coarse": float(self.coarse_clusters), "fine": float(len(self.centers)), "kappa": float(self.kappa)}

    def _slot(self, category: Tensor) -> Tensor:
        """First index into the means; -1, and every category where it is no level, is the last."""
        return category % (self.categories + 1) if self.reads_category else torch.zeros_like(category)

    def _placed(self, batch: Batch, centers: Tensor) -> HeldOut:
        code = nearest_center(batch.features.embedding, centers)
        return HeldOut(self._slot(batch.features.category), code, batch.rewards)

    def _sums(self, placed: HeldOut, fine: int) -> tuple[Tensor, Tensor]:
        """Sums and numbers of rewards, (categories + 1, fine, M) each; in the last slot those of all prompts."""
        slot, code, rewards = placed.slot, placed.code, placed.rewards
        known = slot < self.categories
        cells = sums_by(slot[known] * fine + code[known], rewards[known], self.categories * fine)
        everyone = sums_by(code, rewards, fine)
        totals, counts = (
            torch.cat(parts).view(self.categories + 1, fine, -1) for parts in zip(cells, everyone, strict=True)
        )
        return totals, counts


@dataclass(frozen=True)
class Tree:
    """Sums and numbers of rewards on the lowest level, and what lies in what.

    Attributes:
        totals, counts: (S, fine, M) by category, the last of S for all prompts, and fine cluster.
        parents: (fine,) coarse cluster of each fine one.
        coarse: how many there are.
    """

    totals: Tensor
    counts: Tensor
    parents: Tensor
    coarse: int

    def means(self, kappa: float) -> Tensor:
        """Shrunk means of the fine clusters, (S, fine, M)."""
        totals, counts = self.totals, self.counts
        nothing = torch.tensor(0.0)
        overall = shrunk(totals[-1].sum(dim=0), counts[-1].sum(dim=0), nothing, 0.0)
        # The last slot, all prompts, is the global mean once more, which shrinking to itself leaves as it is.
        category = shrunk(totals.sum(dim=1, keepdim=True), counts.sum(dim=1, keepdim=True), overall, kappa)
        coarse = shrunk(self._by_coarse(totals), self._by_coarse(counts), category, kappa)
        return shrunk(totals, counts, coarse[:, self.parents], kappa)

    def _by_coarse(self, sums: Tensor) -> Tensor:
        added = torch.zeros(sums.shape[0], self.coarse, sums.shape[2], dtype=sums.dtype)
        return added.index_add_(1, self.parents, sums)


@dataclass(frozen=True)
class HeldOut:
    """Validation prompts: where in the means each lies, (n,) twice, and rewards, (n, M)."""

    slot: Tensor
    code: Tensor
    rewards: Tensor

    def squared_error(self, means: Tensor) -> float:
        """Sum of squared errors over the present cells."""
        return float(torch.nansum((means[self.slot, self.code] - self.rewards) ** 2))
