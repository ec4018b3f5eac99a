"""A small classifier of categories on the embedding: what stands in for a category that nobody gives at test time."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from erp.routers.arithmetic import Classifier
from erp.routers.base import Batch, Fitted, array_of, arrays_of
from erp.routers.logistic import Array, Coefficients, logistic_path

MOST_ROWS = 20_000  # prompts it is fitted on, and chosen on; more change little and take minutes
PLAIN_ROWS = 8_192  # prompts up to which every strength is solved anew by scikit-learn
_VERSION = 1  # of what is kept: raise it with any change of how is learnt

Once = Callable[[str, Callable[[], dict[str, Any]]], Mapping[str, Any]]  # a name of what is learnt, how -> what was


class CategoryClassifier(Fitted):
    """Multinomial logistic regression of the category on the embedding, solved by L-BFGS.

    Prompts without a category are left out. The strength is the one of least log loss on validation. Up to
    ``PLAIN_ROWS`` train prompts scikit-learn solves for every strength; beyond, each starts from the solution before,
    in whitened coordinates (`erp.routers.logistic`): nearer to the same optimum, in a twentieth of the time.

    Args:
        strengths: inverse penalties to choose from (scikit-learn's C), ascending.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, strengths: Sequence[float] = (1.0, 10.0, 100.0)) -> None:
        super().__init__()
        self.strengths = strengths
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, categories)
        self.register_buffer("bias", torch.empty(0, dtype=torch.float64))

    def fit(
        self, train: Iterable[Batch], validation: Iterable[Batch], categories: int, once: Once | None = None
    ) -> None:
        """Fit on train, choose the strength on validation; a category without a train prompt is never predicted.

        Args:
            train: can be iterated over again, as validation.
            validation: where the strength is chosen.
            categories: how many there are.
            once: learns what has this name, or knows it from before; None: it is learnt.
        """
        x, y = _labelled(train)
        held_out = _labelled(validation)
        content = hashlib.sha256(f"categories {_VERSION} {self.strengths} {categories} {x.shape} {len(y)}".encode())
        for part in (x, y, *held_out):
            content.update(np.ascontiguousarray(part).data)

        def learn() -> dict[str, Any]:
            weight, bias = np.zeros((x.shape[1], categories)), np.full(categories, -np.inf)
            known, code = np.unique(y, return_inverse=True)
            if len(known):
                weight[:, known], bias[known] = self._best(x, code, known, *held_out)
            return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}

        found = learn() if once is None else once(content.hexdigest(), learn)
        self.weight, self.bias = found["weight"], found["bias"]

    def probabilities(self, embedding: Tensor) -> Tensor:
        """Of every category, (B, categories) float64; all 0 where no train prompt had a category."""
        return torch.from_numpy(self.kept().probabilities(array_of(embedding))).to(embedding.device)

    def codes(self, embedding: Tensor) -> Tensor:
        """(B,) the most probable category; -1 where no train prompt had one."""
        return torch.from_numpy(self.kept().codes(array_of(embedding))).to(embedding.device)

    def kept(self) -> Classifier:
        """As numpy has it."""
        return Classifier(**arrays_of(self))

    def _best(self, x: Array, code: Array, known: Array, held_x: Array, held_y: Array) -> Coefficients:
        """Coefficients of the strength of least log loss on validation; the first where nothing can be chosen."""
        from sklearn.metrics import log_loss

        if len(known) == 1:
            return np.zeros((x.shape[1], 1)), np.zeros(1)
        with threadpool_limits(1):  # threads that wait for each other can take fifty times as long
            path = (
                [_solved(x, code, c) for c in self.strengths]
                if len(x) <= PLAIN_ROWS
                else logistic_path(x, code, self.strengths)
            )
        seen = np.isin(held_y, known)
        if not seen.any() or len(path) == 1:
            return path[0]
        found = (Classifier(*coefficients).probabilities(held_x[seen]) for coefficients in path)
        losses = [log_loss(held_y[seen], probabilities, labels=known) for probabilities in found]
        return path[int(np.argmin(losses))]


def learnt_from(category: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the prompts, by their categories (n,), that a classifier is fitted on: all over the table, in order.

    A table is often sorted by category.
    """
    labelled = np.flatnonzero(category >= 0)
    return labelled[:: max(1, -(-len(labelled) // MOST_ROWS))]


def _labelled(batches: Iterable[Batch]) -> tuple[Array, Array]:
    """Embeddings (n, d) and codes (n,) of the prompts that are learnt from; the batches are read twice."""
    codes = [batch.features.category.numpy() for batch in batches]
    if not codes:
        return np.zeros((0, 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    taken = np.zeros(sum(map(len, codes)), dtype=bool)
    taken[learnt_from(np.concatenate(codes))] = True
    found, start, end = np.zeros((0, 0), dtype=np.float32), 0, 0
    for batch in batches:
        embedding = batch.features.embedding.numpy()
        if not start:
            found = np.empty((int(taken.sum()), embedding.shape[1]), dtype=np.float32)
        part = embedding[taken[start : start + len(embedding)]]
        found[end : end + len(part)] = part
        start, end = start + len(embedding), end + len(part)
    return found, np.concatenate(codes)[taken]


def _solved(x: Array, code: Array, strength: float) -> Coefficients:
    """Scikit-learn's."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression  # here: slow to import, and needed to fit only

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough: what counts is the loss on validation
        # a table may give every prompt a category of its own
        warnings.filterwarnings("ignore", message="The number of unique classes is greater than 50%")
        model = LogisticRegression(C=strength, max_iter=200).fit(x.astype(np.float64), code)
    if len(model.coef_) > 1:
        return model.coef_.T, model.intercept_
    # With two classes scikit-learn keeps the second's weights only: the first's logit is 0 then.
    return np.concatenate([0 * model.coef_, model.coef_]).T, np.concatenate([[0.0], model.intercept_])
