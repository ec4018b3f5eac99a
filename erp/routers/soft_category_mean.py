"""Category mean without a category: the members' means, weighted by the probability of each category."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.category_mean import CategoryMean
from erp.routers.classifier import CategoryClassifier


class SoftCategoryMean(Router):
    """``sum_c p(c | x) mean_cm``: the expected category mean under a classifier on the embedding.

    Categories are needed to learn, not to route. It is the paper's category mean (2603.20217) with a predicted
    category, except that a prompt between two categories gets something of both. Ours.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    learns_category = True
    closed_form = True

    def __init__(self) -> None:
        super().__init__()
        self.categories = 0
        self.classifier = CategoryClassifier()
        self.category_mean = CategoryMean()

    def prepare(self, dimensions: Dimensions) -> None:
        """Remember how many categories there are."""
        self.categories = dimensions.categories
        self.category_mean.prepare(dimensions)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64; the global mean where there are no categories."""
        probability = self.classifier.probabilities(features.embedding)
        rest = 1.0 - probability.sum(dim=1, keepdim=True)
        return torch.cat([probability, rest], dim=1) @ self.category_mean.means

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Fit the classifier and the means."""
        self.classifier.fit(train, validation, self.categories)
        self.category_mean.fit(train, validation)
