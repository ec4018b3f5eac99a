"""Scores that are arithmetic on what a fit kept: done by numpy, so that they are the same bits with torch and without.

Nothing here, and nothing that is imported here, needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
Vectors = NDArray[np.float32]
BLOCK = 2048  # rows scored at once: bounds their float64 copy, which then fits the cache


class Arithmetic:
    """A fitted router as numpy has it: a dataclass of what the torch module keeps, under the same names.

    Attributes:
        scale: what a score is, as `erp.routers.base.Router` says it.
        reads_category: whether scores need the prompt's category.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    reads_category: ClassVar[bool] = False

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Of arrays by name. Raises TypeError where one is missing, or there is another."""
        return cls(**kept)

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted scores, (B, M), of embeddings (B, d) and codes (B,), -1 where a category is unknown."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores")


@dataclass(frozen=True, eq=False)
class Linear(Arithmetic):
    """``x W + b``.

    Attributes:
        weight: (d, M).
        intercept: (M,).
        alpha: penalty it was fitted with.
    """

    weight: Array
    intercept: Array
    alpha: Array

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M)."""
        del category
        found = np.empty((len(embedding), len(self.intercept)))
        for start in range(0, len(embedding), BLOCK):
            block = embedding[start : start + BLOCK].astype(self.weight.dtype)
            # Members first: matrix products are twice as fast with the long side last.
            found[start : start + BLOCK] = (self.weight.T @ block.T + self.intercept[:, None]).T
        return found


@dataclass(frozen=True, eq=False)
class PredictedCosts:
    """What answers cost: ``x W + b``, or its exponential, within what is allowed.

    Attributes:
        weight: (d, M).
        intercept: (M,).
        alpha: penalty they were fitted with.
        logarithm: (M,) whether ``x W + b`` is the logarithm of the cost.
        least, most: (M,) between which a member's predictions stay.
        linear_error, log_error: squared error on validation, in units of the train means'; NaN where it is not known.
    """

    weight: Array
    intercept: Array
    alpha: Array
    logarithm: NDArray[np.bool_]
    least: Array
    most: Array
    linear_error: Array
    log_error: Array

    def costs(self, embedding: Vectors) -> Array:
        """Predicted costs, (B, M), of embeddings (B, d)."""
        found = Linear(self.weight, self.intercept, self.alpha).scores(embedding, np.empty(0, dtype=np.int64))
        log = self.logarithm
        found[:, log] = np.exp(np.minimum(found[:, log], np.log(self.most[log])))
        return np.asarray(found.clip(self.least, self.most))


@dataclass(frozen=True, eq=False)
class CategoryMeans(Arithmetic):
    """Means by category.

    Attributes:
        means: (categories + 1, M); last: of all.
    """

    means: Array

    reads_category: ClassVar[bool] = True

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M); code -1 takes the last row, the global mean."""
        del embedding
        return self.means[category]


@dataclass(frozen=True, eq=False)
class Classifier:
    """Multinomial logistic regression.

    Attributes:
        weight: (d, classes).
        bias: (classes,); minus infinity for a class that is never predicted.
    """

    weight: Array
    bias: Array

    def probabilities(self, embedding: Vectors) -> Array:
        """Of every class, (B, classes); all 0 where none can be predicted."""
        found = np.empty((len(embedding), len(self.bias)))
        for start in range(0, len(embedding), BLOCK):
            block = embedding[start : start + BLOCK].astype(self.weight.dtype)
            logits = block @ self.weight + self.bias
            with np.errstate(invalid="ignore"):  # minus infinity less itself
                odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
                found[start : start + BLOCK] = odds / odds.sum(axis=1, keepdims=True)
        return np.nan_to_num(found, nan=0.0)

    def codes(self, embedding: Vectors) -> Codes:
        """(B,) the most probable class; -1 where none can be predicted."""
        if np.isneginf(self.bias).all():
            return np.full(len(embedding), -1)
        codes: Codes = self.probabilities(embedding).argmax(axis=1)
        return codes


@dataclass(frozen=True, eq=False)
class SoftCategoryMeans(Arithmetic):
    """``sum_c p(c | x) mean_cm``.

    Attributes:
        classifier: of categories.
        category_mean: with the global mean, which takes what the classifier leaves.
    """

    classifier: Classifier
    category_mean: CategoryMeans

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Of the two parts' arrays."""
        parts = dict(kept)
        return cls(Classifier(**parts.pop("classifier")), CategoryMeans(**parts.pop("category_mean")), **parts)

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M); the global mean where there are no categories."""
        del category
        probability = self.classifier.probabilities(embedding)
        rest = 1.0 - probability.sum(axis=1, keepdims=True)
        return np.asarray(np.concatenate([probability, rest], axis=1) @ self.category_mean.means)


@dataclass(frozen=True, eq=False)
class ClusterMeans(Arithmetic):
    """Means by cluster.

    Attributes:
        centers: (clusters, d).
        means: (clusters, M).
        kappa: shrinkage they were made with.
    """

    centers: Array
    means: Array
    kappa: Array

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M)."""
        del category
        return self.means[nearest_center(embedding, self.centers)]


@dataclass(frozen=True, eq=False)
class HierarchicalMeans(Arithmetic):
    """Means by cluster, and by category where that is a level.

    Attributes:
        centers: (fine, d).
        means: (categories + 1, fine, M); last: of all categories, for prompts of none.
        coarse_clusters: how many there were.
        kappa: shrinkage they were made with.
    """

    centers: Array
    means: Array
    coarse_clusters: Codes
    kappa: Array

    @property
    def reads_category(self) -> bool:  # type: ignore[override]
        """Whether the category is a level."""
        return len(self.means) > 1

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M)."""
        return self.means[category % len(self.means), nearest_center(embedding, self.centers)]


def nearest_center(points: NDArray[np.floating], centers: Array) -> Codes:
    """(B,) position of the centre of least Euclidean distance to points (B, d); the first where several are as near."""
    half_squares = np.square(centers).sum(axis=1) / 2
    found = np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK].astype(centers.dtype)
        found[start : start + BLOCK] = (half_squares - block @ centers.T).argmin(axis=1)
    return found


def with_categories(embedding: Vectors, category: Codes, categories: Sequence[str], weight: float) -> Vectors:
    """Embeddings with a block of category indicators behind them, all 0 where the category is unknown.

    Args:
        embedding: (B, d).
        category: (B,) codes.
        categories: one column each.
        weight: of an indicator; 0 for no block.
    """
    if weight == 0:
        return embedding
    block = weight * (category[:, None] == np.arange(len(categories)))
    return np.concatenate([embedding, block.astype(embedding.dtype)], axis=1)
