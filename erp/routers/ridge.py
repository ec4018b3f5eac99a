"""Ridge: the paper's predictor, one linear model per member, solved exactly in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.arithmetic import Array, Linear
from erp.routers.base import ArithmeticRouter, Batch

RELATIVE_ALPHAS = np.logspace(-5, 4, 30)  # times the mean eigenvalue of the centred Gram matrix


class Ridge(ArithmeticRouter):
    """``W = (E'E + alpha I)^-1 E'R`` on centred data, intercept unpenalised (2603.20217).

    One pass over the train batches gathers second moments; one eigendecomposition then serves every alpha of the grid.
    The squared error on validation, pooled over members, whose least decides alpha, is a quadratic form in the second
    moments of validation: each row is read once, however many alphas. Members with the same missing cells share both.

    Weights and scores are float64: with a small alpha, large weights cancel, and float32 would show it.

    Args:
        alphas: penalties to choose from, on scikit-learn's scale; None for a grid relative to the features.
    """

    arithmetic = Linear
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
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, M)
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))
        self.register_buffer("alpha", torch.tensor(float("nan"), dtype=torch.float64))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve for every alpha, keep the best on validation."""
        moments = gather(train)
        if moments is None:
            raise ErpError("split: no prompt is left to train on; lower split.test or split.validation")
        solutions = moments.solved()
        if self.alphas is None:
            alphas = RELATIVE_ALPHAS * max(float(np.mean([s.eigenvalues.mean() for s in solutions])), 1e-12)
        else:
            alphas = np.asarray(sorted(self.alphas), dtype=np.float64)
        candidates = coefficients(solutions, alphas)
        best = 0
        if len(alphas) > 1 and (held_out := gather(validation)) is not None:
            best = int(np.argmin(held_out.squared_errors(candidates)))
        self.weight = torch.from_numpy(candidates[best, :-1].copy())
        self.intercept = torch.from_numpy(candidates[best, -1].copy())
        self.alpha = torch.tensor(alphas[best], dtype=torch.float64)

    def chosen(self) -> dict[str, float]:
        """The alpha that validation chose."""
        return {"alpha": float(self.alpha)}


@dataclass
class Moments:
    """Second moments of features, a one, and rewards; each member over the rows in which it has a reward.

    Attributes:
        about: (M,) what is taken off the rewards first, near their means: far from 0 their squares would leave no
            digits for how they differ.
        products: (d + 1, M) features times rewards; in the last row the sums of rewards.
        squares: (M,) sums of squared rewards.
        classes: members that have their rewards in the same rows, (m,), with those rows' Gram matrix of
            ``[features, 1]``, (d + 1, d + 1), which holds the sums of features and the number of rows too.
    """

    about: Array
    products: Array
    squares: Array
    classes: list[tuple[NDArray[np.int64], Array]]
    room: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)  # for a batch; new memory costs time
    whole: Array = field(default_factory=lambda: np.empty((0, 0)), repr=False)  # of that with itself

    def add(self, x: NDArray[np.float32], y: Array) -> None:
        """Add rows: features (n, d), rewards (n, M) with NaN where missing. Classes that now differ are split."""
        rows, d = x.shape
        width = d + 1 + y.shape[1]
        if len(self.room) < rows:
            self.room, self.whole = np.empty((rows, width)), np.empty((width, width))
        z = self.room[:rows]
        present = ~np.isnan(y)
        whole_rows = bool(present.all())
        z[:, :d] = x
        z[:, d] = 1.0
        z[:, d + 1 :] = y - self.about if whole_rows else np.where(present, y - self.about, 0.0)
        whole = np.matmul(z.T, z, out=self.whole)  # numpy sees the same matrix twice and computes one triangle
        d += 1
        self.products += whole[:d, d:]
        self.squares += np.diagonal(whole)[d:]
        if not whole_rows:
            self.classes = [part for members, gram in self.classes for part in _refined(members, gram, present)]
        for members, gram in self.classes:
            here = present[:, members[0]]
            if whole_rows or here.mean() > 0.5:  # cheaper to take off what is missing; nothing, as a rule
                gram += whole[:d, :d]
                if not (whole_rows or here.all()):
                    gram -= z[~here, :d].T @ z[~here, :d]
            elif here.any():
                gram += z[here, :d].T @ z[here, :d]

    def squared_errors(self, candidates: Array) -> Array:
        """Sum of squared errors over all cells, (A,), of A candidate coefficients (A, d + 1, M)."""
        errors = np.full(len(candidates), self.squares.sum())
        for members, gram in self.classes:
            c = candidates[:, :, members]
            c[:, -1] -= self.about[members]
            c = c.swapaxes(0, 1)  # (d + 1, A, m): one product for all candidates
            seen = (gram @ c.reshape(len(gram), -1)).reshape(c.shape)
            errors += ((seen - 2 * self.products[:, None, members]) * c).sum(axis=(0, 2))
        return errors

    def systems(self) -> list[System]:
        """Centred normal equations; a member without a single reward gets the pool's mean, as its system is all 0."""
        found = []
        rewards = sum((self.products[-1] + gram[-1, -1] * self.about)[members].sum() for members, gram in self.classes)
        pool = float(rewards / max(sum(gram[-1, -1] * len(members) for members, gram in self.classes), 1.0))
        for members, gram in self.classes:
            rows = max(gram[-1, -1], 1.0)
            center, mean = gram[:-1, -1] / rows, self.products[-1, members] / rows
            mean_reward = self.about[members] + mean if gram[-1, -1] > 0 else np.full(len(members), pool)
            centred = gram[:-1, :-1] - rows * np.outer(center, center)
            products = self.products[:-1, members] - rows * np.outer(center, mean)
            found.append(System(members, center, mean_reward, centred, products))
        return found

    def solved(self) -> list[Solution]:
        """The systems, diagonalised."""
        solutions = []
        for one in self.systems():
            eigenvalues, vectors = np.linalg.eigh(one.gram)
            rotated = vectors.T @ one.products
            solutions.append(
                Solution(one.members, one.center, one.mean_reward, np.maximum(eigenvalues, 0.0), vectors, rotated)
            )
        return solutions


@dataclass(frozen=True)
class System:
    """The normal equations of members that have their rewards in the same rows."""

    members: NDArray[np.int64]
    center: Array  # (d,) mean feature
    mean_reward: Array  # (m,)
    gram: Array  # (d, d) of centred features
    products: Array  # (d, m) of centred features and rewards


@dataclass(frozen=True)
class Solution:
    """The diagonalised normal equations of members that have their rewards in the same rows."""

    members: NDArray[np.int64]
    center: Array  # (d,) mean feature
    mean_reward: Array  # (m,)
    eigenvalues: Array  # (d,)
    vectors: Array  # (d, d)
    rotated: Array  # (d, m) centred feature-reward products in the eigenbasis

    def weights(self, alphas: Array) -> Array:
        """Ridge weights at A alphas, (A, d, m); by one product, as one for each takes twice as long."""
        shrunk = self.rotated[:, None] / (self.eigenvalues[:, None] + alphas)[:, :, None]
        found = self.vectors @ shrunk.reshape(len(shrunk), -1)
        return np.asarray(found.reshape(shrunk.shape).swapaxes(0, 1))


def gather(batches: Iterable[Batch]) -> Moments | None:
    """One pass over the batches; None where there is none."""
    moments: Moments | None = None
    for batch in batches:
        x, y = batch.features.embedding.numpy(), batch.rewards.numpy()
        if moments is None:
            d, m = x.shape[1] + 1, y.shape[1]
            cells = (~np.isnan(y)).sum(axis=0)
            about = np.nansum(y, axis=0) / np.maximum(cells, 1)
            about = np.where(cells > 0, about, np.nansum(y) / max(cells.sum(), 1))
            moments = Moments(about, np.zeros((d, m)), np.zeros(m), [(np.arange(m), np.zeros((d, d)))])
        moments.add(x, y)
    return moments


def _refined(
    members: NDArray[np.int64], gram: Array, present: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], Array]]:
    """Split a class where its members' present cells (n, M) differ. All start in one."""
    columns = present[:, members]
    if (columns == columns[:, :1]).all():
        return [(members, gram)]
    _, pattern = np.unique(columns, axis=1, return_inverse=True)
    return [(members[pattern.ravel() == code], gram.copy()) for code in range(int(pattern.max()) + 1)]


def coefficients(solutions: Sequence[Solution], alphas: Array) -> Array:
    """Weights and, in the last row, intercepts of all members at A alphas, (A, d + 1, M)."""
    found = np.zeros((len(alphas), len(solutions[0].center) + 1, sum(len(s.members) for s in solutions)))
    for solution in solutions:
        weights = solution.weights(alphas)
        found[:, :-1, solution.members] = weights
        found[:, -1, solution.members] = solution.mean_reward - solution.center @ weights
    return found
