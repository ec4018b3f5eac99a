"""How far rewards are from what was predicted, and what one answer's surprise says of the others'.

A prompt that is harder than it looks is harder for everyone: what is left of the rewards after the prediction goes
together between members. With C the covariance of that part, shared by all answers of a member to a prompt, and v_m the
variance of a single answer about its prediction, the best linear prediction of the answers to come follows from those
that came, whatever the rewards are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from erp.decisions.sequential.policy import Seen

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Residuals:
    """What was left of rewards after their prediction, on validation.

    Attributes:
        shared: (M, M) covariance of what is left of different answers; positive semidefinite.
        single: (M,) variance of what is left of one answer, at least the diagonal of ``shared``.
    """

    shared: Floats
    single: Floats
    _found: dict[tuple[int, ...], tuple[Floats, Floats]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, scores: NDArray[np.floating], samples: Floats) -> Residuals:
        """From predictions (N, M) and single rewards (N, M, K), NaN where there is none.

        With one answer of each cell, what is shared by a member's answers cannot be told: all of it is taken to be.
        """
        left = samples - scores[:, :, None]
        count = (~np.isnan(left)).sum(axis=2)
        total = np.nansum(left, axis=2)
        squares = np.nansum(np.square(left), axis=2)
        there = (count > 0).astype(np.float64)
        mean = total / np.maximum(count, 1)
        single = (squares / np.maximum(count, 1)).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
        shared = (mean.T @ mean) / np.maximum(there.T @ there, 1)
        several = count > 1
        pairs = np.where(several, (np.square(total) - squares) / np.maximum(count * (count - 1), 1), 0.0)
        known = several.any(axis=0)
        own = np.where(known, pairs.sum(axis=0) / np.maximum(several.sum(axis=0), 1), single)
        np.fill_diagonal(shared, np.maximum(own, 0.0))
        values, vectors = np.linalg.eigh(shared)
        shared = (vectors * np.maximum(values, 0.0)) @ vectors.T
        return cls(shared, np.maximum(single, np.diag(shared)))

    def posterior(self, scores: NDArray[np.floating], seen: Seen) -> tuple[Floats, Floats]:
        """Mean (k, M) of a member's next answer, and its spread as a share of what it was before, given what came.

        Args:
            scores: (k, M) predicted before.
            seen: of these k prompts.
        """
        mean = np.array(scores, dtype=np.float64)
        ratio = np.ones_like(mean)
        came = np.nanmean(np.where(seen.count[..., None] > 0, seen.rewards, 0.0), axis=2) - scores
        patterns, which = np.unique(seen.count, axis=0, return_inverse=True)
        for p, pattern in enumerate(patterns):
            known = np.flatnonzero(pattern)
            if not len(known):
                continue
            rows = np.flatnonzero(which.ravel() == p)
            weights, ratio[rows] = self._given(tuple(pattern.tolist()))
            mean[rows] += came[np.ix_(rows, known)] @ weights
        return mean, ratio

    def _given(self, pattern: tuple[int, ...]) -> tuple[Floats, Floats]:
        """Weights (known, M) of what came, by how many answers of each member did, and the ratios (M,) of spread."""
        if pattern not in self._found:
            known = np.flatnonzero(pattern)
            own = (self.single - np.diag(self.shared))[known] / np.array(pattern)[known]
            among = self.shared[np.ix_(known, known)] + np.diag(own)
            weights = np.linalg.pinv(among, hermitian=True) @ self.shared[known]
            left = self.single - np.einsum("km,km->m", self.shared[known], weights)
            share = np.clip(left / np.where(self.single > 0, self.single, 1.0), 0.0, 1.0)
            self._found[pattern] = weights, np.sqrt(share)
        return self._found[pattern]
