"""The head of a member that joins a trained router, from n labelled prompts: nothing else is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.cluster_mean import cluster_centers, distinct_points, nearest_center, sums_by
from erp.routers.ridge import RELATIVE_ALPHAS

Array = NDArray[np.float64]
HeadMethod = Literal["scratch", "shrunk", "low_rank"]
Method = Literal["scratch", "shrunk", "low_rank", "uniroute"]
METHODS: tuple[Method, ...] = ("scratch", "shrunk", "low_rank", "uniroute")
CLUSTERS = (4, 8, 16, 32, 64)  # of unlabelled prompts, for UniRoute
KAPPAS = (0.0, 2.0, 5.0, 20.0)  # labels that the member's mean counts for in every cluster; 0 is UniRoute


@dataclass(frozen=True, eq=False)
class Head:
    """A new member's score: ``intercept + mix . (scores of the M members that were there) + weight . embedding``.

    Where those members' heads are linear, with weights W (d, M), so is this one: its weight is W mix + weight.

    Attributes:
        method: which of the three it is.
        mix: (M,).
        weight: (d,).
        intercept: in units of the reward.
        alpha: penalty that the labels chose; infinite: the weight is 0.
        errors: (n,) squared leave-one-out errors on the labels, before the intercept is shrunk.
    """

    method: HeadMethod
    mix: Array
    weight: Array
    intercept: float
    alpha: float
    errors: Array

    def scores(self, others: Array, embedding: Array) -> Array:
        """Predicted rewards (B,) from the others' scores (B, M) and embeddings (B, d)."""
        return np.asarray(others @ self.mix + embedding @ self.weight + self.intercept)

    def chosen(self) -> dict[str, float]:
        """What the labels chose."""
        return {"alpha": self.alpha}


@dataclass(frozen=True, eq=False)
class ClusterHead:
    """A new member's score: its shrunk mean reward in the cluster of the prompt.

    Attributes:
        centers: (k, d).
        means: (k,) in units of the reward.
        kappa: labels that its global mean counts for in every cluster.
        errors: (n,) squared leave-one-out errors on the labels.
    """

    centers: Tensor
    means: Array
    kappa: float
    errors: Array
    method: Literal["uniroute"] = "uniroute"

    def scores(self, others: Array, embedding: Array) -> Array:
        """Predicted rewards (B,) from embeddings (B, d); the others' scores do not matter."""
        del others
        return np.asarray(self.means[nearest_center(torch.from_numpy(embedding), self.centers).numpy()])

    def chosen(self) -> dict[str, float]:
        """What the labels chose."""
        return {"clusters": float(len(self.means)), "kappa": self.kappa}


@dataclass(frozen=True, eq=False)
class Solution:
    """A ridge of one target at one alpha: ``level + weight . (x - center)``.

    Attributes:
        weight: (k,).
        center: (k,) mean of x.
        level: mean of the target.
        alpha: penalty; may be infinite.
        freedom: degrees of freedom, the intercept's among them.
        errors: (n,) squared leave-one-out errors.
    """

    weight: Array
    center: Array
    level: float
    alpha: float
    freedom: float
    errors: Array

    @property
    def intercept(self) -> float:
        """Of the prediction as a function of x."""
        return self.level - float(self.center @ self.weight)


def fit_heads(embedding: Array, others: Array, rewards: Array) -> dict[HeadMethod, Head]:
    """The head of the new member by each method, all from the same n labels.

    * ``scratch``: ridge on the embedding, as if there were no other member; alpha of least leave-one-out error, which
      is what scikit-learn's RidgeCV minimises and calls generalised cross-validation.
    * ``shrunk``: ridge on what the mean of the others' scores leaves over, so that the head is drawn to the mean head.
    * ``low_rank``: the mean head plus M - 1 coordinates in the span of the others' heads about it, by ridge: directions
      along which the others hardly differ count little. (To choose fewer coordinates by leave-one-out error as well
      was worse with 16 labels and the same with more.)

    The two that lean on the others take the smoothest solution within one standard error of the least leave-one-out
    error, and shrink the intercept too (`towards_mean_head`): with few labels they end at the mean head itself. All
    three are ours, after docs/method.md. Heads are taken as functions of scores: any router of reward units has them.

    Args:
        embedding: (n, d) of the labelled prompts, n >= 2.
        others: (n, M) scores of the members that are there, of the same prompts.
        rewards: (n,) of the new member.

    Raises:
        ErpError: fewer than two labels, or one that is not finite.
    """
    require_labels(rewards)
    members = others.shape[1]
    center = others.mean(axis=1)
    residual, about = rewards - center, others - center[:, None]
    scratch = least(ridges(embedding, rewards))
    shrunk = towards_mean_head(smoothest(ridges(embedding, residual)), about)
    low = towards_mean_head(smoothest(ridges(about, residual)), about)
    nothing, none, even = np.zeros(embedding.shape[1]), np.zeros(members), np.full(members, 1.0 / members)
    return {
        "scratch": Head("scratch", none, scratch.weight, scratch.intercept, scratch.alpha, scratch.errors),
        "shrunk": Head("shrunk", even, shrunk.weight, shrunk.intercept, shrunk.alpha, shrunk.errors),
        "low_rank": Head("low_rank", even + low.weight, nothing, low.intercept, low.alpha, low.errors),
    }


def ridges(x: Array, y: Array) -> list[Solution]:
    """Ridges of y (n,) on x (n, k), intercept unpenalised, by a single SVD; the largest alpha, infinity, first.

    Alphas are infinity and `RELATIVE_ALPHAS` times the mean eigenvalue of the centred Gram matrix. A ridge is a linear
    smoother, so its leave-one-out errors are (residual / (1 - leverage))^2.
    """
    center, level = x.mean(axis=0), float(y.mean())
    left, singular, right = np.linalg.svd(x - center, full_matrices=False)
    eigenvalues = singular**2
    alphas = np.array([np.inf])
    if eigenvalues.sum() > 1e-20 * float((x * x).sum()):  # else all rows of x are the same
        alphas = np.append(alphas, RELATIVE_ALPHAS[::-1] * eigenvalues.sum() / x.shape[1])
    projected = left.T @ (y - level)
    shrinkage = eigenvalues / (eigenvalues + alphas[:, None])  # (A, k)
    residuals = (y - level) - (shrinkage * projected) @ left.T  # (A, n)
    leverages = 1 / len(y) + shrinkage @ (left**2).T
    errors = (residuals / np.maximum(1 - leverages, 1e-12)) ** 2
    weights = (singular / (eigenvalues + alphas[:, None]) * projected) @ right
    return [
        Solution(weight, center, level, float(alpha), float(1 + kept.sum()), error)
        for weight, alpha, kept, error in zip(weights, alphas, shrinkage, errors, strict=True)
    ]


def least(solutions: Sequence[Solution]) -> Solution:
    """The solution of least mean leave-one-out error; of equal ones the first."""
    return min(solutions, key=lambda solution: solution.errors.mean())


def smoothest(solutions: Sequence[Solution]) -> Solution:
    """That of fewest degrees of freedom whose mean error is within one standard error of the least; else the first.

    The rule is Breiman et al.'s (Classification and Regression Trees, 1984); the standard error is that of the paired
    difference.
    """
    best = least(solutions)
    near = [solution for solution in solutions if not worse(solution.errors, best.errors)]
    return min(near, key=lambda solution: solution.freedom)


def worse(errors: Array, reference: Array) -> bool:
    """Whether the mean of errors (n,) lies above that of the reference by more than one standard error."""
    difference = errors - reference
    return bool(difference.mean() > difference.std(ddof=1) / np.sqrt(len(difference)))


def towards_mean_head(solution: Solution, about: Array) -> Solution:
    """The solution of a residual about the mean head with its level shrunk toward 0, by empirical Bayes.

    The weight is tau^2 / (tau^2 + s^2 / n): s^2 is the mean leave-one-out error, tau^2 the spread of the members'
    levels about the mean head, the new one's own among them: one that is unlike all the others is not held back.

    Args:
        solution: of n labels.
        about: (n, M) the others' scores about their mean.
    """
    levels = about.mean(axis=0)
    between = (float(levels @ levels) + solution.level**2) / len(levels)
    within = float(solution.errors.mean()) / len(solution.errors)
    weight = between / (between + within) if between > 0 else 0.0
    return replace(solution, level=weight * solution.level)


def chosen_head(heads: Mapping[HeadMethod, Head]) -> Head:
    """``method=auto``: shrunk, unless another's leave-one-out error is lower by more than one standard error.

    Choosing the least of three costs more than it gains with few labels: experiments/07_new_member.
    """
    best = min(heads.values(), key=lambda head: head.errors.mean())
    return best if worse(heads["shrunk"].errors, best.errors) else heads["shrunk"]


def unlabelled_clusters(embedding: NDArray[np.float32], seed: int) -> list[Tensor]:
    """Centres (k, d) for every k of `CLUSTERS`, by K-means on prompts (N, d) whose rewards are not looked at."""
    points, weights = distinct_points(torch.from_numpy(embedding))
    sizes = sorted({min(k, len(points)) for k in CLUSTERS})
    return [cluster_centers(points, weights, k, seed) for k in sizes]


def fit_clusters(
    embedding: Array, rewards: Array, centers: Sequence[Tensor], kappas: Sequence[float] = KAPPAS
) -> ClusterHead:
    """UniRoute (2502.08773): the new member is its mean rewards in clusters of unlabelled prompts.

    ``(n_c mean_c + kappa mean) / (n_c + kappa)``; kappa = 0 is the paper's, with the member's mean in a cluster that
    has no label. The number of clusters and kappa are those of least leave-one-out error.

    Args:
        embedding: (n, d) of the labelled prompts, n >= 2.
        rewards: (n,) of the new member.
        centers: candidates, each (k, d).
        kappas: candidates.

    Raises:
        ErpError: fewer than two labels, or one that is not finite.
    """
    require_labels(rewards)
    found = []
    for points in centers:
        code = nearest_center(torch.from_numpy(embedding), points)
        total, count = (part[:, 0].numpy() for part in sums_by(code, torch.from_numpy(rewards)[:, None], len(points)))
        rest = (rewards.sum() - rewards) / (len(rewards) - 1)
        for kappa in kappas:
            means = _shrunk(total, count, np.full(len(points), rewards.mean()), kappa)
            left_out = _shrunk(total[code] - rewards, count[code] - 1, rest, kappa)
            found.append(ClusterHead(points, means, float(kappa), (rewards - left_out) ** 2))
    return min(found, key=lambda head: head.errors.mean())


def _shrunk(total: Array, count: Array, parent: Array, kappa: float) -> Array:
    """Means shrunk to their parent, elementwise; the parent where there is no label."""
    weight = np.where(count > 0, count + kappa, 1.0)
    return np.where(count > 0, (total + kappa * parent) / weight, parent)


def require_labels(rewards: Array) -> None:
    """Refuse labels from which nothing can be told. Raises ErpError."""
    if len(rewards) < 2 or not np.isfinite(rewards).all():
        raise ErpError(f"labels = {len(rewards)}: give rewards of the new member on two prompts or more, all finite")
