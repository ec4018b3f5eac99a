"""Ridge: the paper's predictor, one linear model per member, solved exactly in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router

Array = NDArray[np.float64]
RELATIVE_ALPHAS = np.logspace(-5, 4, 30)  # times the mean eigenvalue of the centred Gram matrix


class Ridge(Router):
    """``W = (E'E + alpha I)^-1 E'R`` on centred data, intercept unpenalised (2603.20217).

    One pass over the train batches gathers the Gram matrix; one eigendecomposition then serves every alpha of the
    grid, and alpha is the one with the least squared error on validation, pooled over members. Members with the same
    missing cells share both.

    Args:
        alphas: penalties to choose from, on scikit-learn's scale; None for a grid relative to the features.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    weight: Tensor
    intercept: Tensor
    alpha: Tensor

    def __init__(self, alphas: Sequence[float] | None = None) -> None:
        super().__init__()
        if alphas is not None and (len(alphas) == 0 or min(alphas) <= 0):
            raise ErpError(f"router.alphas = {list(alphas)}: give one or more numbers above 0, or null for the grid")
        self.alphas = alphas
        self.register_buffer("weight", torch.empty(0, 0))
        self.register_buffer("intercept", torch.empty(0))
        self.register_buffer("alpha", torch.tensor(float("nan"), dtype=torch.float64))

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float32."""
        return torch.addmm(self.intercept, features.embedding, self.weight)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve for every alpha, keep the best on validation."""
        systems = [system.solved() for system in gather(train)]
        if self.alphas is None:
            alphas = RELATIVE_ALPHAS * max(float(np.mean([s.eigenvalues.mean() for s in systems])), 1e-12)
        else:
            alphas = np.asarray(sorted(self.alphas), dtype=np.float64)
        best = 0
        if len(alphas) > 1:
            best = int(np.argmin(_validation_errors(systems, alphas, validation)))
        members = sum(len(s.members) for s in systems)
        weight, intercept = np.zeros((systems[0].center.size, members)), np.zeros(members)
        for system in systems:
            w = system.vectors @ system.shrunk(alphas[best])
            weight[:, system.members] = w
            intercept[system.members] = system.mean_reward - system.center @ w
        self.weight = torch.from_numpy(weight.astype(np.float32))
        self.intercept = torch.from_numpy(intercept.astype(np.float32))
        self.alpha = torch.tensor(alphas[best], dtype=torch.float64)

    def chosen(self) -> dict[str, float]:
        """The alpha that validation chose."""
        return {"alpha": float(self.alpha)}


@dataclass
class NormalEquations:
    """Sums over the rows in which the given members all have a reward; float64, about a shift for accuracy."""

    members: NDArray[np.int64]
    shift: Array  # (d,)
    rows: float
    gram: Array  # (d, d)
    total: Array  # (d,)
    products: Array  # (d, m)
    rewards: Array  # (m,)

    def add(self, x: Array, y: Array) -> None:
        """Add rows: x (n, d) already shifted, y (n, m)."""
        self.rows += x.shape[0]
        self.gram += x.T @ x  # numpy sees the same matrix twice and computes one triangle
        self.total += x.sum(axis=0)
        self.products += x.T @ y
        self.rewards += y.sum(axis=0)

    def apart(self, keep: NDArray[np.bool_]) -> NormalEquations:
        """A copy for the members in ``keep`` (m,), which from now on miss other rows than the rest."""
        return NormalEquations(
            self.members[keep], self.shift, self.rows, self.gram.copy(), self.total.copy(),
            self.products[:, keep], self.rewards[keep],
        )  # fmt: skip

    def solved(self) -> Solution:
        """Centre and diagonalise. A member without a single reward is predicted 0 by an all-zero system."""
        rows = max(self.rows, 1.0)
        mean_x, mean_y = self.total / rows, self.rewards / rows
        gram = self.gram - rows * np.outer(mean_x, mean_x)
        products = self.products - rows * np.outer(mean_x, mean_y)
        eigenvalues, vectors = np.linalg.eigh(gram)
        return Solution(
            self.members, mean_x + self.shift, mean_y, np.maximum(eigenvalues, 0.0), vectors, vectors.T @ products
        )


@dataclass(frozen=True)
class Solution:
    """The diagonalised normal equations of the members that share their missing cells."""

    members: NDArray[np.int64]
    center: Array  # (d,) mean feature
    mean_reward: Array  # (m,)
    eigenvalues: Array  # (d,)
    vectors: Array  # (d, d)
    rotated: Array  # (d, m) vectors' X'y

    def shrunk(self, alpha: float) -> Array:
        """Weights at this alpha in the eigenbasis, (d, m)."""
        return np.asarray(self.rotated / (self.eigenvalues + alpha)[:, None])


def gather(batches: Iterable[Batch]) -> list[NormalEquations]:
    """One pass: the normal equations of each class of members with the same missing cells.

    Classes are refined as rows come: all members start in one, which splits where they first differ.
    """
    classes: list[NormalEquations] = []
    for batch in batches:
        x = batch.features.embedding.numpy().astype(np.float64)
        y = batch.rewards.numpy()
        present = ~np.isnan(y)
        if not classes:
            d, m = x.shape[1], y.shape[1]
            zeros = np.zeros
            classes = [
                NormalEquations(np.arange(m), x.mean(axis=0), 0.0, zeros((d, d)), zeros(d), zeros((d, m)), zeros(m))
            ]
        x -= classes[0].shift
        classes = [part for system in classes for part in _refined(system, present)]
        for system in classes:
            rows = present[:, system.members[0]]
            if rows.all():
                system.add(x, y[:, system.members])
            elif rows.any():
                system.add(x[rows], y[np.ix_(rows, system.members)])
    if not classes:
        raise ErpError("split: no prompt is left to train on; lower split.test or split.validation")
    return classes


def _refined(system: NormalEquations, present: NDArray[np.bool_]) -> list[NormalEquations]:
    """Split a class by this batch's pattern of present cells (n, M)."""
    columns = present[:, system.members]
    if columns.all() or (columns == columns[:, :1]).all():
        return [system]
    _, pattern = np.unique(columns, axis=1, return_inverse=True)
    return [system.apart(pattern.ravel() == code) for code in range(int(pattern.max()) + 1)]


def _validation_errors(systems: list[Solution], alphas: Array, validation: Iterable[Batch]) -> Array:
    """Sum of squared errors on validation for each alpha, missing cells left out."""
    errors = np.zeros(len(alphas))
    for batch in validation:
        x, y = batch.features.embedding.numpy().astype(np.float64), batch.rewards.numpy()
        for system in systems:
            rotated = (x - system.center) @ system.vectors
            target = y[:, system.members] - system.mean_reward
            for i, alpha in enumerate(alphas):
                errors[i] += np.nansum((target - rotated @ system.shrunk(alpha)) ** 2)
    return errors
