"""Multinomial logistic regression along a path of penalties, on many rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Coefficients = tuple[Array, Array]  # weights (d, classes) and intercepts (classes,), float64

BLOCK = 1024  # rows at once, so that they are read from memory once for both products
TOLERANCE = 1e-4  # of the gradient in whitened coordinates; probabilities within .02 of the optimum's, on two tables


def logistic_path(x: Array, code: Array, strengths: Sequence[float]) -> list[Coefficients]:
    """Least ``mean log loss + |W|^2 / (2 n C)`` for every C, intercepts unpenalised: scikit-learn's problem and C.

    L-BFGS in coordinates in which the curvature, ``h X'X + I / C`` with h the mean variance of a class's indicator, is
    about 1 in every direction: some ten steps instead of hundreds. One Gram matrix serves all penalties, and each
    starts from the solution of the one before.

    Args:
        x: (n, d) float32.
        code: (n,) classes from 0, each there, two or more.
        strengths: C, best ascending.
    """
    from scipy.optimize import minimize  # here: slow to import, and needed to fit only

    rows, d = x.shape
    share = np.bincount(code) / rows
    center = x.mean(axis=0, dtype=np.float64)
    z = np.ones((rows, d + 1), dtype=np.float32)
    np.subtract(x, center, out=z[:, :d], casting="same_kind")  # in float64, without a copy that large
    values, vectors = np.linalg.eigh((z[:, :d].T @ z[:, :d]).astype(np.float64) / rows)
    w = np.zeros((d + 1, len(share)))
    w[d], h = np.log(share), float((share * (1 - share)).mean())
    path = []
    for strength in strengths:
        penalty = np.full((d + 1, 1), 1 / (rows * strength))
        penalty[d] = 0.0
        if len(share) == 2:  # scikit-learn has one vector then, the difference of the two
            penalty *= 2
        root = np.eye(d + 1) / np.sqrt(h)
        root[:d, :d] = (vectors / np.sqrt(h * np.maximum(values, 0.0) + penalty[0])) @ vectors.T

        def objective(u: Array, root: Array = root, penalty: Array = penalty) -> tuple[float, Array]:
            w = root @ u.reshape(d + 1, -1)
            loss, gradient, _ = _mean_log_loss(z, code, w)
            return loss + float((penalty * w * w).sum()) / 2, (root @ (gradient + penalty * w)).ravel()

        start = np.linalg.solve(root, w).ravel()
        found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"gtol": TOLERANCE, "maxcor": 20})
        w = root @ found.x.reshape(d + 1, -1)
        h = _mean_log_loss(z, code, w)[2]
        path.append((w[:d], w[d] - center @ w[:d]))
    return path


def _mean_log_loss(z: Array, code: Array, w: Array) -> tuple[float, Array, float]:
    """Mean log loss, its gradient (d + 1, classes), and the mean of p (1 - p); z is (n, d + 1) float32."""
    loss, gradient, variance, weights = 0.0, np.zeros_like(w), 0.0, w.astype(np.float32)
    for start in range(0, len(z), BLOCK):
        rows, truth = z[start : start + BLOCK], code[start : start + BLOCK, None]
        p = rows @ weights
        p -= p.max(axis=1, keepdims=True)
        loss -= np.take_along_axis(p, truth, axis=1).sum(dtype=np.float64)
        np.exp(p, out=p)
        total = p.sum(axis=1, keepdims=True)
        loss += np.log(total).sum(dtype=np.float64)
        p /= total
        variance += (p * (1 - p)).sum(dtype=np.float64)
        np.put_along_axis(p, truth, np.take_along_axis(p, truth, axis=1) - 1, axis=1)
        gradient += rows.T @ p
    return loss / len(z), gradient / len(z), variance / (len(z) * w.shape[1])
