"""Category mean without a category: the members' means, weighted by the probability of each category."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from erp.routers.arithmetic import SoftCategoryMeans
from erp.routers.base import ArithmeticRouter, Batch, Dimensions
from erp.routers.category_mean import CategoryMean
from erp.routers.classifier import CategoryClassifier


class SoftCategoryMean(ArithmeticRouter):
    """``sum_c p(c | x) mean_cm``: the expected category mean under a classifier on the embedding.

    Categories are needed to learn, not to route. It is the paper's category mean (2603.20217) with a predicted
    category, except that a prompt between two categories gets something of both. Ours.
    """

    arithmetic = SoftCategoryMeans
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

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Fit the classifier and the means."""
        self.classifier.fit(train, validation, self.categories)
        self.category_mean.fit(train, validation)
