"""The head of a member that joins a trained router, from n labelled prompts: nothing else is refitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.routers.ridge import RELATIVE_ALPHAS

Array = NDArray[np.float64]
HeadMethod = Literal["scratch", "shrunk", "low_rank"]
HEADS: tuple[HeadMethod, ...] = ("scratch", "shrunk", "low_rank")  # ties of `auto` go to the first


@dataclass(frozen=True, eq=False)
class Head:
    """A new member's score: ``intercept + mix . (scores of the M members that were there) + weight . embedding``.

    Where those members' heads are linear, so is this one: W mix + weight.

    Attributes:
        method: which of the three it is.
        mix: (M,).
        weight: (d,).
        intercept: in units of the reward.
        alpha: penalty that leave-one-out error chose; infinite: nothing but the intercept was fitted beside the prior.
        rank: coordinates in the span of the others' heads; None for methods that have none.
        error: mean squared leave-one-out error on the labels, NaN with a single one.
    """

    method: HeadMethod
    mix: Array
    weight: Array
    intercept: float
    alpha: float
    rank: int | None
    error: float

    def scores(self, others: Array, embedding: Array) -> Array:
        """Predicted rewards (B,) from the others' scores (B, M) and embeddings (B, d)."""
        return np.asarray(others @ self.mix + embedding @ self.weight + self.intercept)


def fit_heads(embedding: Array, others: Array, rewards: Array) -> dict[HeadMethod, Head]:
    """The head of the new member by each method, all from the same n labels.

    * ``scratch``: ridge on the embedding, as if there were no other member.
    * ``shrunk``: ridge on what the mean of the others' scores leaves over, so that the head is drawn toward the mean
      head; the fewer labels, the larger the alpha that wins, and at infinity only the mean head and an intercept stay.
    * ``low_rank``: the mean head plus r coordinates in the span of the others' heads about it. Directions are ordered
      by how far the others' scores on the labelled prompts spread along them.

    The intercept is never penalised. Alpha, and r, are those of least leave-one-out squared error, which a linear
    smoother gives in closed form: (residual / (1 - leverage))^2. It is what scikit-learn's RidgeCV minimises and calls
    generalised cross-validation. The three are ours, after docs/method.md; the mean head and the span of heads are
    taken as functions of the scores, so that they exist for every router of reward units.

    Args:
        embedding: (n, d) of the labelled prompts.
        others: (n, M) scores of the members that are there, of the same prompts.
        rewards: (n,) of the new member, none missing.

    Raises:
        ErpError: no label, or one that is not finite.
    """
    if not len(rewards) or not np.isfinite(rewards).all():
        raise ErpError(f"labels = {len(rewards)}: give one finite reward or more of the new member")
    members, d = others.shape[1], embedding.shape[1]
    center = others.mean(axis=1)
    even = np.full(members, 1.0 / members)
    residual = rewards - center
    no_mix, no_weight = np.zeros(members), np.zeros(d)
    scratch = ridge_by_leave_one_out(embedding, rewards)
    shrunk = ridge_by_leave_one_out(embedding, residual)
    directions = np.linalg.svd(others - center[:, None], full_matrices=False)[2][: members - 1].T  # (M, r)
    directions -= directions.mean(axis=0)  # they are orthogonal to the mean head but for rounding
    coordinates = (others - center[:, None]) @ directions
    ranks = [ridge_by_leave_one_out(coordinates[:, :r], residual) for r in range(coordinates.shape[1] + 1)]
    rank = int(np.argmin([fit.error for fit in ranks])) if len(rewards) > 1 else 0
    low = ranks[rank]
    return {
        "scratch": Head("scratch", no_mix, scratch.weight, scratch.intercept, scratch.alpha, None, scratch.error),
        "shrunk": Head("shrunk", even, shrunk.weight, shrunk.intercept, shrunk.alpha, None, shrunk.error),
        "low_rank": Head(
            "low_rank", even + directions[:, :rank] @ low.weight, no_weight, low.intercept, low.alpha, rank, low.error
        ),
    }


def least_error(heads: Mapping[HeadMethod, Head]) -> Head:
    """The head of least leave-one-out error; the shrunk one where a single label leaves nothing to compare."""
    known = [heads[name] for name in HEADS if np.isfinite(heads[name].error)]
    return min(known, key=lambda head: head.error) if known else heads["shrunk"]


@dataclass(frozen=True, eq=False)
class Fit:
    """A ridge of one target: weight (k,), its intercept, the alpha that was chosen and its leave-one-out error."""

    weight: Array
    intercept: float
    alpha: float
    error: float


def ridge_by_leave_one_out(x: Array, y: Array) -> Fit:
    """Ridge of y (n,) on x (n, k), intercept unpenalised; alpha by leave-one-out error, from a single SVD.

    Alphas are `RELATIVE_ALPHAS` times the mean eigenvalue of the centred Gram matrix, and infinity; of equal errors
    the largest alpha wins.
    """
    mean, level = x.mean(axis=0), float(y.mean())
    left, singular, right = np.linalg.svd(x - mean, full_matrices=False)
    eigenvalues = singular**2
    alphas = np.array([np.inf])
    if eigenvalues.sum() > 1e-20 * max(float((x * x).sum()), 1e-300):  # else all rows of x are the same
        alphas = np.append(alphas, RELATIVE_ALPHAS[::-1] * eigenvalues.sum() / x.shape[1])
    projected = left.T @ (y - level)
    shrinkage = eigenvalues / (eigenvalues + alphas[:, None])  # (A, k)
    errors = np.full(len(alphas), np.nan)
    best = 0
    if len(y) > 1:
        residuals = (y - level) - (shrinkage * projected) @ left.T  # (A, n)
        leverages = 1 / len(y) + shrinkage @ (left**2).T
        errors = ((residuals / np.maximum(1 - leverages, 1e-12)) ** 2).mean(axis=1)
        best = int(errors.argmin())
    alpha = alphas[best]
    weight = right.T @ (singular / (eigenvalues + alpha) * projected)
    return Fit(np.asarray(weight), level - float(mean @ weight), float(alpha), float(errors[best]))
