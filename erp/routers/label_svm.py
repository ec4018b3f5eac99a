"""Label SVM: a support vector machine for each member, between the prompts on which it is best and the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.columns import by_content_of_each
from erp.routers.knn import scored_prompts
from erp.routers.label_classifier import Labelled

MOST_KEPT = 10_000  # train prompts: solving takes time in proportion to their square
BLOCK = 1024  # prompts scored at once: bounds the kernel at BLOCK x train prompts


class LabelSVM(Router):
    """``f_m(x) = sum_i a_im exp(-gamma |x - x_i|^2) + b_m``: LLMRouter's SVM router (FusionFactory, 2507.10540).

    Scikit-learn's SVC of "this member is best" on a Gaussian kernel, one against the rest, where theirs lets every two
    members vote: a score for each member is what a price can be held against. A prompt on which several are best is
    a positive one for each of them by its share, and a negative one by the remainder. Scores are ordinal.

    Args:
        strength: C.
        gamma: of the kernel; None for 1 over d times the variance of the embeddings' numbers, scikit-learn's "scale".

    Raises:
        ErpError: on a C or a gamma of 0 or less.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = True
    embedding: Tensor
    duals: Tensor
    intercept: Tensor
    width: Tensor

    def __init__(self, strength: float = 1.0, gamma: float | None = None) -> None:
        super().__init__()
        if not 0 < strength < float("inf"):
            raise ErpError(f"router.strength = {strength}: give a number above 0")
        if gamma is not None and not 0 < gamma < float("inf"):
            raise ErpError(f"router.gamma = {gamma}: give a number above 0, or null for scikit-learn's scale")
        self.strength, self.gamma = strength, gamma
        self.register_buffer("embedding", torch.empty(0, 0))  # (n, d) support vectors of any member
        self.register_buffer("duals", torch.empty(0, 0, dtype=torch.float64))  # (n, M) a
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))
        self.register_buffer("width", torch.tensor(torch.nan, dtype=torch.float64))  # gamma

    def scores(self, features: Features) -> Tensor:
        """Decision values, (B, M) float64: above 0 where the member is thought to be best."""
        kept = self.embedding.double()
        found = []
        for block in torch.split(features.embedding.double(), BLOCK):
            squares = block.square().sum(dim=1)[:, None] - 2 * block @ kept.T + kept.square().sum(dim=1)
            found.append(torch.exp(-self.width * squares.clamp(min=0)) @ self.duals + self.intercept)
        return torch.cat(found)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve for every member; nothing is chosen on validation."""
        del validation
        embedding, labels, rows = by_content_of_each(*scored_prompts(Labelled(train), MOST_KEPT))
        x = embedding.double().numpy()
        variance = float(x.var())
        width = self.gamma or 1 / (x.shape[1] * variance if variance > 0 else 1.0)
        solved = [self._solved(x, labels[:, m], there, width) for m, there in enumerate(rows)]
        duals = np.stack([a for a, _ in solved], axis=1)
        support = duals.any(axis=1) | (np.arange(len(duals)) == 0)  # one at least, so that there is a kernel
        self.embedding = embedding[torch.from_numpy(support)]
        self.duals, self.intercept = torch.from_numpy(duals[support]), torch.tensor([b for _, b in solved]).double()
        self.width = torch.tensor(width, dtype=torch.float64)

    def _solved(self, x: Any, label: Any, rows: Any, width: float) -> tuple[Any, float]:
        """The a (n,) and b of one member; the share in which it is best, as b, where that is always or never so."""
        from sklearn.svm import SVC  # here: slow to import, and needed to fit only

        share, duals = label[rows], np.zeros(len(x))
        positive, negative = rows[share > 0], rows[share < 1]
        if not len(positive) or not len(negative):
            return duals, float(len(positive) > 0)
        both = np.concatenate([positive, negative])
        weight = np.concatenate([share[share > 0], 1 - share[share < 1]])
        model = SVC(C=self.strength, gamma=width).fit(x[both], np.arange(len(both)) < len(positive), weight)
        np.add.at(duals, both[model.support_], model.dual_coef_[0])
        return duals, float(model.intercept_[0])
