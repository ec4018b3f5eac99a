"""Kernel ridge: the ridge on a kernel of embeddings, and of categories where they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.cluster_mean import MOST_KEPT, checked_seed, distinct_points
from erp.routers.knn import scored_prompts
from erp.routers.ridge import coefficients, gather

BLOCK = 1024  # query rows at once: bounds their kernel at BLOCK x train prompts


class KernelRidge(Router):
    """``a = argmin |R - K a - b|^2 + alpha a'K a`` per member, the intercept b unpenalised; score ``k(x) a + b``.

    The kernel is ``exp(-gamma |e - e'|^2)``, plus ``w`` where the categories are the same with ``use_category``; an
    unknown category is nobody's, not even its own. gamma, alpha and w are those of least squared error on validation,
    pooled over members.

    Up to ``exact_up_to`` train prompts the solution is exact: one Cholesky factor for every kernel and alpha (at 2,400
    prompts 0.14 s of a core; the eigendecomposition that would serve all alphas takes 1.7 s). Members with the same
    missing cells share it. Beyond, and where many patterns of missing cells would make it dearer than that, it is the
    best solution within the span of ``landmarks`` random train prompts (Nystroem: Williams & Seeger, NIPS 2000).

    The kernel and its grid are ours; the predictor is the paper's ridge (2603.20217) in another space.

    Args:
        gammas: inverse squared widths to choose from.
        alphas: penalties to choose from, on scikit-learn's scale.
        use_category: whether the kernel knows the category.
        category_weights: w to choose from.
        exact_up_to: train prompts. Factors of n prompts cost n^3: with several patterns of missing cells their sum must
            not exceed that of one factor of so many prompts.
        landmarks: train prompts that stand for all beyond that.
        seed: of their draw.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    embedding: Tensor
    category: Tensor
    weight: Tensor
    intercept: Tensor
    setting: Tensor

    def __init__(
        self,
        gammas: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
        alphas: Sequence[float] = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0, 10.0),
        use_category: bool = False,
        category_weights: Sequence[float] = (0.3, 1.0, 3.0),
        exact_up_to: int = 3000,
        landmarks: int = 2000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        lists = {"gammas": gammas, "alphas": alphas, "category_weights": category_weights}
        for key, values in lists.items():
            if len(values) == 0 or not all(0 < value < torch.inf for value in values):
                raise ErpError(f"router.{key} = {list(values)}: give one or more numbers above 0")
        for key, value in {"exact_up_to": exact_up_to, "landmarks": landmarks}.items():
            if value < 1:
                raise ErpError(f"router.{key} = {value}: give 1 or more")
        self.gammas, self.alphas = sorted(set(gammas)), sorted(set(alphas))
        self.category_weights = sorted(set(category_weights)) if use_category else [0.0]
        self.exact_up_to, self.landmarks, self.seed = exact_up_to, landmarks, checked_seed(seed)
        self.reads_category = use_category  # type: ignore[misc]  # of the class elsewhere; here the config says
        self.register_buffer("embedding", torch.empty(0, 0, dtype=torch.float64))  # (n, d) of kept train prompts
        self.register_buffer("category", torch.empty(0, dtype=torch.int64))  # (n,)
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (n, M)
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))  # (M,)
        self.register_buffer("setting", torch.full((3,), torch.nan, dtype=torch.float64))  # gamma, w, alpha

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        kernel = Kernel(float(self.setting[0]), float(self.setting[1]))
        kept = Features(self.embedding, self.category)
        return torch.cat([kernel(block, kept) @ self.weight + self.intercept for block in _blocks(features)])

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve for every kernel and alpha, keep the best on validation."""
        features, rewards = scored_prompts(train, max(MOST_KEPT, self.exact_up_to))
        patterns = patterns_of(~torch.isnan(rewards))
        exact = sum(int(rows.sum()) ** 3 for _, rows in patterns) <= self.exact_up_to**3
        kept = features if exact else _drawn(features, self.landmarks, self.seed)
        kept = Features(kept.embedding.double(), kept.category)
        several = len(self.gammas) * len(self.category_weights) * len(self.alphas) > 1
        least = torch.inf
        for gamma, w in product(self.gammas, self.category_weights):
            kernel = Kernel(gamma, w)
            if exact:
                weights, intercepts = _exact(kernel(kept, kept), rewards, patterns, self.alphas)
            else:
                weights, intercepts = _spanned(kernel, kept, train, self.alphas)
            errors = torch.zeros(len(self.alphas), dtype=torch.float64)
            for batch in validation if several else ():
                errors += _squared_errors(kernel, kept, weights, intercepts, batch)
            best = int(errors.argmin())
            if errors[best] < least:
                least, self.weight, self.intercept = (
                    float(errors[best]),
                    weights[best].clone(),
                    intercepts[best].clone(),
                )
                self.setting = torch.tensor([gamma, w, self.alphas[best]], dtype=torch.float64)
        self.embedding, self.category = kept.embedding, kept.category

    def chosen(self) -> dict[str, Any]:
        """What validation chose."""
        gamma, w, alpha = self.setting.tolist()
        return {"gamma": gamma, "alpha": alpha, **({"category_weight": w} if self.reads_category else {})}


@dataclass(frozen=True)
class Kernel:
    """``exp(-gamma |e - e'|^2) + w [same known category]``."""

    gamma: float
    category_weight: float

    def __call__(self, rows: Features, columns: Features) -> Tensor:
        """Of two sets of prompts, (n, n') float64."""
        a, b = rows.embedding.double(), columns.embedding.double()
        squares = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1) - 2 * (a @ b.T)
        kernel = torch.exp(-self.gamma * squares)
        if self.category_weight > 0:
            same = (rows.category[:, None] == columns.category) & (rows.category >= 0)[:, None]
            kernel += self.category_weight * same.to(kernel.dtype)
        return kernel


def patterns_of(present: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Members that have their rewards in the same rows, (m,), and those rows, (n,) bool; of (n, M) bool."""
    columns, code = torch.unique(present, dim=1, return_inverse=True)
    return [(torch.nonzero(code == i)[:, 0], columns[:, i]) for i in range(columns.shape[1])]


def _exact(
    kernel: Tensor, rewards: Tensor, patterns: Sequence[tuple[Tensor, Tensor]], alphas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Weights (A, n, M), 0 where a member has no reward, and intercepts (A, M), the pool's mean for one without any."""
    weights = torch.zeros(len(alphas), *rewards.shape, dtype=torch.float64)
    pool = torch.nan_to_num(torch.nanmean(rewards))
    intercepts = pool.repeat(len(alphas), rewards.shape[1])
    for members, rows in patterns:
        if not rows.any():
            continue
        y = rewards[rows][:, members]
        mean = y.mean(dim=0)
        right = torch.cat([y - mean, torch.ones(len(y), 1, dtype=torch.float64)], dim=1)
        system = kernel[rows][:, rows]
        diagonal = system.diagonal().clone()
        for i, alpha in enumerate(alphas):
            system.diagonal().copy_(diagonal + alpha)
            solved = torch.cholesky_solve(right, _factor(system, alpha))
            of_rewards, of_one = solved[:, :-1], solved[:, -1:]
            b = of_rewards.sum(dim=0) / of_one.sum()  # the one for which the weights add up to 0
            at = (torch.nonzero(rows), members)
            weights[i][at] = of_rewards - of_one * b
            intercepts[i, members] = mean + b
    return weights, intercepts


def _factor(system: Tensor, alpha: float) -> Tensor:
    """Lower Cholesky factor. Raises ErpError where the penalty is lost in rounding."""
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise ErpError(f"router.alphas = {alpha}: is too small for prompts this alike; leave it out")
    return factor


def _spanned(
    kernel: Kernel, landmarks: Features, train: Iterable[Batch], alphas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Weights of the landmarks, (A, D, M), and intercepts (A, M): the ridge on features whose products are the kernel.

    Those features are ``k(x)' U lambda^-1/2`` with ``K = U diag(lambda) U'`` among the landmarks.
    """
    values, vectors = torch.linalg.eigh(kernel(landmarks, landmarks))
    real = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    root = vectors[:, real] / values[real].sqrt()

    def mapped() -> Iterator[Batch]:
        for batch in train:
            blocks = [kernel(block, landmarks) @ root for block in _blocks(batch.features)]
            yield replace(batch, features=Features(torch.cat(blocks), batch.features.category))

    moments = gather(mapped())
    assert moments is not None  # there are landmarks
    found = torch.from_numpy(coefficients(moments.solved(), np.asarray(alphas)))
    return root @ found[:, :-1], found[:, -1]


def _squared_errors(kernel: Kernel, kept: Features, weights: Tensor, intercepts: Tensor, batch: Batch) -> Tensor:
    """Sums over the present cells of a batch, (A,), of A solutions."""
    errors = torch.zeros(len(weights), dtype=torch.float64)
    for block, observed in zip(_blocks(batch.features), torch.split(batch.rewards, BLOCK), strict=True):
        predicted = kernel(block, kept) @ weights + intercepts[:, None]
        errors += torch.nansum((predicted - observed) ** 2, dim=(1, 2))
    return errors


def _drawn(features: Features, landmarks: int, seed: int) -> Features:
    """Different prompts at random, at most so many; which depends on their content alone, not on their order."""
    both = torch.cat([features.embedding, features.category[:, None].to(features.embedding.dtype)], dim=1)
    points, _ = distinct_points(both)
    drawn = points[np.random.default_rng(seed).permutation(len(points))[:landmarks]]
    return Features(drawn[:, :-1].contiguous(), drawn[:, -1].long())


def _blocks(features: Features) -> list[Features]:
    pairs = zip(torch.split(features.embedding, BLOCK), torch.split(features.category, BLOCK), strict=True)
    return [Features(embedding, category) for embedding, category in pairs]
