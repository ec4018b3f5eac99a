"""Stack: a convex combination of routers, weighted on validation, where it is better than one of them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erp.errors import ErpError
from erp.rounding import size_of
from erp.routers.base import Batch, Dimensions, Features, Router, concatenated
from erp.routers.competing import complete, earned_by, places_of
from erp.routers.fitting import fit_router
from erp.routers.one_standard_error import loss_of_choosing, simplest_and_best

FOLDS = 5  # of validation, on which all parts together have to be better than each alone
Values = TypeVar("Values", Tensor, NDArray[np.float64])
SUM_TO_ONE = 1e3  # weight of that condition beside the squared errors, relative to the rewards' size


@dataclass(frozen=True, eq=False)
class Mixture:
    """What is learnt on validation: how the scores of ordinal parts become rewards, and the weights of all.

    Attributes:
        slopes: (parts,), 1 where scores are rewards.
        intercepts: (parts, M), 0 there.
        weights: (parts,) 0 or more, of sum 1.
    """

    slopes: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        scores: NDArray[np.float64],
        rewards: NDArray[np.float64],
        train_mean: NDArray[np.float64],
        ordinal: Sequence[bool],
    ) -> Mixture:
        """By least squares of rewards (N, M) on the parts' scores (parts, N, M).

        Args:
            scores: of every part.
            rewards: NaN where missing.
            train_mean: (M,) rewards, for a member without one here.
            ordinal: which parts are.
        """
        slopes, intercepts = np.ones(len(scores)), np.zeros((len(scores), rewards.shape[1]))
        for k in np.flatnonzero(ordinal):
            slopes[k], intercepts[k] = _to_rewards(scores[k], rewards, train_mean)
        return cls(slopes, intercepts, _convex_weights(in_rewards(scores, slopes, intercepts), rewards))


class Stack(Router):
    """Scores ``sum_k w_k f_k(x)``, w >= 0 and of sum 1, by least squares on validation (stacking, Breiman 1996).

    Errors are of rewards about their prompt's mean: what routing lives on, not how hard a prompt is. Ordinal parts are
    first brought to reward units on validation, by one slope and an intercept per member. Parts are fitted on train;
    what they choose on validation, they choose on the prompts that weigh them too, which flatters those that choose.

    A combination has to earn its place: it and every part alone are scored on folds of validation, by the reward of
    the decisions at no price, with weights, slopes and intercepts of the other folds; the simplest that cannot be told
    from the best has all the weight (`simplest_and_best`; the combination comes last).

    Args:
        parts: the routers, by name, the simplest first.
        seed: for parts that draw, and of the folds.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    weights: Tensor
    slopes: Tensor
    intercepts: Tensor
    expected_loss: Tensor | None

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
        self.register_buffer("expected_loss", None)  # of choosing; runs of before there was one have none

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
        each = in_rewards(self._each(features), self.slopes, self.intercepts)
        return torch.einsum("k,kbm->bm", self.weights, each)

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Fit every part on train, then weigh them on validation."""
        for part in self._every().values():
            fit_router(part, train, validation, self.seed)
        held_out, learnt = concatenated(validation), concatenated(train)
        with torch.no_grad():
            scores = self._each(held_out.features).numpy()
        # A member that nobody scored at all is thought as good as the pool.
        known = learnt.rewards.nanmean(dim=0).nan_to_num(float(learnt.rewards.nanmean())).numpy()
        ordinal = [part.scale == "ordinal" for part in self._every().values()]
        mixed = partial(Mixture.of, train_mean=known, ordinal=ordinal)
        found = mixed(scores, held_out.rewards.numpy())
        candidates = [*np.eye(len(scores)), found.weights]
        choice = self._choose(mixed, scores, held_out, learnt.costs.mean(dim=0).numpy())
        kept = (found.slopes, found.intercepts, candidates[choice])
        self.slopes, self.intercepts, self.weights = map(torch.from_numpy, kept)

    def chosen(self) -> dict[str, float]:
        """The weight of every part, and what choosing between each alone and all together is expected to lose."""
        loss = {} if self.expected_loss is None else {"expected loss of choosing": float(self.expected_loss)}
        return {f"weight of {name}": float(w) for name, w in zip(self.names, self.weights, strict=True)} | loss

    def _choose(
        self, mixed: Callable[..., Mixture], scores: NDArray[np.float64], held_out: Batch, costs: NDArray[np.float64]
    ) -> int:
        """The part that gets all the weight, or -1: all parts together, also where nothing can be judged."""
        self.expected_loss = None
        groups, judged = held_out.groups.numpy(), complete(held_out)
        fold = places_of(groups, self.seed) % FOLDS
        earned = np.full((len(fold), len(scores) + 1), np.nan)
        for k in range(FOLDS):
            scored = judged & (fold == k)
            if not scored.any() or not (fold != k).any():
                continue
            there = mixed(scores[:, fold != k], held_out.rewards.numpy()[fold != k])
            each = in_rewards(scores[:, scored], there.slopes, there.intercepts)
            batch = held_out.take(torch.from_numpy(scored))
            for column, predicted in enumerate([*each, np.einsum("k,knm->nm", there.weights, each)]):
                earned[scored, column] = earned_by(predicted, batch, costs, 0.0)
        seen = ~np.isnan(earned[:, 0])
        if not seen.any():
            return -1
        loss = loss_of_choosing(earned[seen], groups[seen], seed=self.seed)
        self.expected_loss = torch.tensor(loss, dtype=torch.float64)
        return simplest_and_best(earned[seen], groups[seen])[0]

    def _each(self, features: Features) -> Tensor:
        """Scores of every part, (parts, B, M) float64."""
        return torch.stack([part.scores(features).to(torch.float64) for part in self._every().values()])

    def _every(self) -> Mapping[str, Router]:
        return dict(self.parts.items())  # type: ignore[arg-type]  # a ModuleDict forgets what it holds


def in_rewards(scores: Values, slopes: Values, intercepts: Values) -> Values:
    """Scores (parts, N, M) by one slope a part and (parts, M) intercepts."""
    return slopes[:, None, None] * scores + intercepts[:, None, :]


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
