"""Stack: a convex combination of routers, weighted on validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erp.errors import ErpError
from erp.rounding import size_of
from erp.routers.base import Batch, Dimensions, Features, Router, concatenated
from erp.routers.fitting import fit_router

SUM_TO_ONE = 1e3  # weight of that condition beside the squared errors, relative to the rewards' size


class Stack(Router):
    """Scores ``sum_k w_k f_k(x)``, w >= 0 and of sum 1, by least squares on validation (stacking, Breiman 1996).

    Errors are of rewards about their prompt's mean: what routing lives on, not how hard a prompt is. Ordinal parts are
    first brought to reward units on validation, by one slope and an intercept per member. Parts are fitted on train;
    what they choose on validation, they choose on the prompts that weigh them too, which flatters those that choose.

    Args:
        parts: the routers, by name.
        seed: for parts that draw.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    weights: Tensor
    slopes: Tensor
    intercepts: Tensor

    def __init__(self, parts: dict[str, Router], seed: int = 0) -> None:
        super().__init__()
        if not parts:
            raise ErpError("router.parts: is empty; give one router or more, by name")
        self.parts = nn.ModuleDict(parts)
        self.names = tuple(parts)
        self.seed = seed
        count = len(parts)
        self.register_buffer("weights", torch.full((count,), 1.0 / count, dtype=torch.float64))
        self.register_buffer("slopes", torch.ones(count, dtype=torch.float64))
        self.register_buffer("intercepts", torch.zeros(count, 1, dtype=torch.float64))  # (parts, M)

    @property
    def reads_category(self) -> bool:  # type: ignore[override]
        """Whether any part does."""
        return any(part.reads_category for part in self._every().values())

    @property
    def learns_category(self) -> bool:  # type: ignore[override]
        """Whether any part does."""
        return any(part.learns_category for part in self._every().values())

    @property
    def learns_spread(self) -> bool:  # type: ignore[override]
        """Whether any part does."""
        return any(part.learns_spread for part in self._every().values())

    @property
    def reads_samples(self) -> bool:  # type: ignore[override]
        """Whether any part does."""
        return any(part.reads_samples for part in self._every().values())

    def prepare(self, dimensions: Dimensions) -> None:
        """Prepare every part."""
        for part in self._every().values():
            part.prepare(dimensions)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return torch.einsum("k,kbm->bm", self.weights, self._each(features))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Fit every part on train, then weigh them on validation."""
        for part in self._every().values():
            fit_router(part, train, validation, self.seed)
        held_out = concatenated(validation)
        members = held_out.rewards.shape[1]
        self.slopes = torch.ones(len(self.names), dtype=torch.float64)
        self.intercepts = torch.zeros(len(self.names), members, dtype=torch.float64)
        with torch.no_grad():
            scores = self._each(held_out.features).numpy()
        rewards = held_out.rewards.numpy()
        learnt = concatenated(train).rewards
        # A member that nobody scored at all is thought as good as the pool.
        known = torch.where(torch.isnan(learnt).all(dim=0), torch.nanmean(learnt), torch.nanmean(learnt, dim=0)).numpy()
        for k, part in enumerate(self._every().values()):
            if part.scale == "ordinal":
                slope, intercept = _to_rewards(scores[k], rewards, known)
                self.slopes[k], self.intercepts[k] = slope, torch.from_numpy(intercept)
                scores[k] = slope * scores[k] + intercept
        self.weights = torch.from_numpy(_convex_weights(scores, rewards))

    def chosen(self) -> dict[str, float]:
        """The weight of every part."""
        return {f"weight of {name}": float(w) for name, w in zip(self.names, self.weights, strict=True)}

    def _each(self, features: Features) -> Tensor:
        """Scores of every part in reward units, (parts, B, M) float64."""
        scores = torch.stack([part.scores(features).to(torch.float64) for part in self._every().values()])
        return self.slopes[:, None, None] * scores + self.intercepts[:, None, :]

    def _every(self) -> Mapping[str, Router]:
        return dict(self.parts.items())  # type: ignore[arg-type]  # a ModuleDict forgets what it holds


def _to_rewards(
    scores: NDArray[np.float64], rewards: NDArray[np.float64], train_mean: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Slope and (M,) intercepts of least squares of rewards on scores over present cells; a slope below 0 becomes 0.

    A member without a reward here gets the level of its train mean.
    """
    present = ~np.isnan(rewards)
    count = np.maximum(present.sum(axis=0), 1)
    mean_score = np.where(present, scores, 0.0).sum(axis=0) / count
    mean_reward = np.where(present, rewards, 0.0).sum(axis=0) / count
    x = np.where(present, scores - mean_score, 0.0)
    y = np.where(present, np.nan_to_num(rewards) - mean_reward, 0.0)
    spread = float((x * x).sum())
    slope = max(float((x * y).sum()) / spread, 0.0) if spread > 0 else 0.0
    level = np.where(present.any(axis=0), mean_reward - slope * mean_score, train_mean - slope * scores.mean(axis=0))
    return slope, level


def _convex_weights(scores: NDArray[np.float64], rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """(parts,) of least squared error of rewards about their prompt's mean, over cells that are present.

    Args:
        scores: (parts, N, M).
        rewards: (N, M), NaN where missing.
    """
    from scipy.optimize import nnls  # here: slow to import, and needed to fit only

    present = ~np.isnan(rewards)
    count = np.maximum(present.sum(axis=1, keepdims=True), 1)

    def centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
        known = np.where(present, values, 0.0)
        return np.where(present, known - known.sum(axis=1, keepdims=True) / count, 0.0).ravel()

    columns = np.stack([centred(part) for part in scores], axis=1)
    target = centred(np.nan_to_num(rewards))
    parts = columns.shape[1]
    size = SUM_TO_ONE * (size_of(columns) or 1.0) * np.sqrt(len(target) or 1)
    # A ridge so small that it only decides between parts that are equal.
    tiny = 1e-6 * size / SUM_TO_ONE * np.eye(parts)
    system = np.concatenate([columns, size * np.ones((1, parts)), tiny])
    weights, _ = nnls(system, np.concatenate([target, [size], np.zeros(parts)]))
    return np.asarray(weights / weights.sum() if weights.sum() > 0 else np.full(parts, 1.0 / parts))
