"""A small classifier of categories on the embedding: what stands in for a category that nobody gives at test time."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from erp.routers.base import Batch, Fitted

if TYPE_CHECKING:  # scikit-learn is slow to import, and needed to fit only
    from sklearn.linear_model import LogisticRegression

MOST_ROWS = 20_000  # train prompts it is fitted on; more change little and take minutes


class CategoryClassifier(Fitted):
    """Multinomial logistic regression of the category on the embedding (scikit-learn's, solved by L-BFGS).

    Prompts without a category are left out. The strength is the one of least log loss on validation.

    Args:
        strengths: inverse penalties to choose from (scikit-learn's C).
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, strengths: Sequence[float] = (1.0, 10.0, 100.0)) -> None:
        super().__init__()
        self.strengths = strengths
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, categories)
        self.register_buffer("bias", torch.empty(0, dtype=torch.float64))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch], categories: int) -> None:
        """Fit on train, choose the strength on validation; a category without a train prompt is never predicted."""
        from sklearn.metrics import log_loss

        x, y = _labelled(train)
        every = max(1, -(-len(y) // MOST_ROWS))  # tables are often sorted by category
        x, y = x[::every], y[::every]
        d = x.shape[1] if x.ndim == 2 else 0
        weight, bias = np.zeros((d, categories)), np.full(categories, -np.inf)
        known = np.unique(y)
        if len(known) == 1:
            bias[known] = 0.0
        elif len(known) > 1:
            held_out = _labelled(validation)
            seen = np.isin(held_out[1], known)
            models = [_solved(x, y, strength) for strength in self.strengths]
            if seen.any() and len(models) > 1:
                losses = [log_loss(held_out[1][seen], m.predict_proba(held_out[0][seen]), labels=known) for m in models]
                best = models[int(np.argmin(losses))]
            else:
                best = models[0]
            # With two classes scikit-learn keeps the second's weights only: the first's logit is 0 then.
            two = len(known) == 2
            weight[:, known] = np.concatenate([0 * best.coef_, best.coef_]).T if two else best.coef_.T
            bias[known] = np.concatenate([[0.0], best.intercept_]) if two else best.intercept_
        self.weight, self.bias = torch.from_numpy(weight), torch.from_numpy(bias)

    def probabilities(self, embedding: Tensor) -> Tensor:
        """Of every category, (B, categories) float64; all 0 where no train prompt had a category."""
        logits = embedding.to(self.weight.dtype) @ self.weight + self.bias
        return torch.nan_to_num(torch.softmax(logits, dim=1), nan=0.0)

    def codes(self, embedding: Tensor) -> Tensor:
        """(B,) the most probable category; -1 where no train prompt had one."""
        if not len(self.bias) or torch.isneginf(self.bias).all():
            return torch.full((len(embedding),), -1, dtype=torch.int64, device=embedding.device)
        return self.probabilities(embedding).argmax(dim=1)


def _labelled(batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings (n, d) and codes (n,) of the prompts that have a category."""
    parts = [(b.features.embedding, b.features.category) for b in batches]
    if not parts:
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    x, y = (torch.cat(tensors).numpy() for tensors in zip(*parts, strict=True))
    return x[y >= 0], y[y >= 0]


def _solved(x: np.ndarray, y: np.ndarray, strength: float) -> LogisticRegression:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # One thread: the matrices are small, and threads that wait for each other can take fifty times as long.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: what counts is the loss on validation
        # a table may give every prompt a category of its own
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        return LogisticRegression(C=strength, max_iter=200).fit(x.astype(np.float64), y)
