"""Category mean: the paper's main baseline."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.routers.arithmetic import CategoryMeans
from erp.routers.base import ArithmeticRouter, Batch, Dimensions


class CategoryMean(ArithmeticRouter):
    """Each member's train mean in the prompt's category, the baseline of 2603.20217.

    An unknown category, and a member without a reward in the category, fall back to the member's train mean.
    """

    arithmetic = CategoryMeans
    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    reads_category = True
    closed_form = True
    means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.categories = 0
        self.register_buffer("means", torch.empty(0, 0, dtype=torch.float64))  # (categories + 1, M); last: global

    def prepare(self, dimensions: Dimensions) -> None:
        """Remember how many categories there are."""
        self.categories = dimensions.categories

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Average the present cells of each category."""
        del validation  # nothing to choose
        totals = counts = torch.zeros(0)
        for batch in train:
            present = ~torch.isnan(batch.rewards)
            if not len(totals):
                totals = torch.zeros(self.categories + 1, present.shape[1], dtype=torch.float64)
                counts = torch.zeros_like(totals)
            code = batch.features.category % (self.categories + 1)  # -1 becomes the last row
            totals.index_add_(0, code, torch.nan_to_num(batch.rewards))
            counts.index_add_(0, code, present.to(torch.float64))
        overall = totals.sum(dim=0) / counts.sum(dim=0).clamp(min=1)
        self.means = torch.where(counts > 0, totals / counts.clamp(min=1), overall)
        self.means[-1] = overall
