"""k nearest neighbours: the mean reward of the most similar train prompts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router

BLOCK = 1024  # query rows at once: bounds the similarity matrix at BLOCK x train prompts


class KNN(Router):
    """Mean reward of the k train prompts of largest cosine (2505.12601).

    A missing cell does not count; a member that none of the k neighbours has falls back to its train mean.

    Args:
        k: neighbours; None for the best of ``ks`` by squared error on validation.
        ks: candidates for k; those above the number of train prompts are taken as that number.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    embedding: Tensor
    rewards: Tensor
    means: Tensor
    neighbours: Tensor

    def __init__(self, k: int | None = None, ks: Sequence[int] = (5, 10, 20, 50, 100, 200, 512)) -> None:
        super().__init__()
        if k is not None and k < 1:
            raise ErpError(f"router.k = {k}: give 1 or more, or null for the best of router.ks")
        if k is None and (len(ks) == 0 or min(ks) < 1):
            raise ErpError(f"router.ks = {list(ks)}: give one or more numbers, each 1 or more")
        self.ks = sorted({k} if k is not None else set(ks))
        self.register_buffer("embedding", torch.empty(0, 0))
        self.register_buffer("rewards", torch.empty(0, 0, dtype=torch.float64))
        self.register_buffer("means", torch.empty(0, dtype=torch.float64))
        self.register_buffer("neighbours", torch.tensor(0))

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        k = int(self.neighbours)
        blocks = torch.split(features.embedding, BLOCK)
        return torch.cat([self._running_means(block, [k])[0] for block in blocks])

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Keep the train prompts; choose k on validation."""
        batches = list(train)
        every = torch.cat([b.rewards for b in batches])
        scored = ~torch.isnan(every).all(dim=1)  # a prompt without any reward is nobody's neighbour
        self.embedding = torch.cat([b.features.embedding for b in batches])[scored]
        self.rewards = every[scored]
        self.means = torch.nan_to_num(torch.nanmean(self.rewards, dim=0))
        candidates = sorted({min(k, len(self.embedding)) for k in self.ks})
        errors = torch.zeros(len(candidates), dtype=torch.float64)
        if len(candidates) > 1:
            for batch in validation:
                embeddings = torch.split(batch.features.embedding, BLOCK)
                rewards = torch.split(batch.rewards, BLOCK)
                for block, observed in zip(embeddings, rewards, strict=True):
                    for i, predicted in enumerate(self._running_means(block, candidates)):
                        errors[i] += torch.nansum((predicted - observed) ** 2)
        self.neighbours = torch.tensor(candidates[int(errors.argmin())])

    def chosen(self) -> dict[str, float]:
        """The k that validation chose."""
        return {"k": float(self.neighbours)}

    def _running_means(self, queries: Tensor, ks: Sequence[int]) -> list[Tensor]:
        """Mean rewards over the first k neighbours of each query, for ascending ks; each (B, M)."""
        _, nearest = torch.topk(queries @ self.embedding.T, ks[-1], dim=1)
        total = torch.zeros(len(queries), self.rewards.shape[1], dtype=torch.float64)
        count = torch.zeros_like(total)
        means, start = [], 0
        for k in ks:
            rewards = self.rewards[nearest[:, start:k]]
            total = total + torch.nansum(rewards, dim=1)
            count = count + (~torch.isnan(rewards)).sum(dim=1)
            means.append(torch.where(count > 0, total / count.clamp(min=1), self.means))
            start = k
        return means
