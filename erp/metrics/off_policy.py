"""What another policy would have earned, out of the log of one that left some of its choices to chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.metrics.intervals import Floats, GroupBootstrap, Interval


@dataclass(frozen=True, eq=False)
class Logged:
    """Requests whose member was drawn with a known probability, and what its answer earned.

    Attributes:
        taken: (N,) position of the member that answered.
        rewards: (N,) of its answers.
        propensities: (N,) probability with which it was drawn, given the request; in (0, 1].
    """

    taken: NDArray[np.int64]
    rewards: Floats
    propensities: Floats


@dataclass(frozen=True)
class OffPolicy:
    """Mean reward of a policy that did not run, with intervals on the same draws.

    The first two need nothing but propensities; the third is as right, and narrower the better rewards are predicted.
    Where few requests carry most of the weight, intervals are too narrow: of simulated ones for 95% held the truth 94%
    with 600 effective requests, and 92% with 110.

    Attributes:
        inverse_propensity: each reward counts as often as the policy takes that member, over how often it was drawn.
        self_normalised: the same over the mean of these weights: biased a little in small logs, and less wide.
        doubly_robust: what is predicted of the policy's choice, mended by what predictions missed where that was drawn.
        gain: doubly robust less the mean reward that the log earned.
        effective: number of requests without weights that would tell as much: (sum of weights)^2 / sum of squares.
    """

    inverse_propensity: Interval
    self_normalised: Interval
    doubly_robust: Interval
    gain: Interval
    effective: float


def off_policy(logged: Logged, policy: Floats, predicted: Floats, bootstrap: GroupBootstrap) -> OffPolicy:
    """Estimate a policy's mean reward on the requests of a log.

    Args:
        logged: N requests.
        policy: (N, M) probability with which the policy takes each member; rows sum to 1. It takes none that the log
            could not have drawn for that request.
        predicted: (N, M) finite rewards, predicted without the log's own.
        bootstrap: over the N requests, those of a conversation in one group.

    Raises:
        ErpError: arrays that do not fit, or propensities that are no probabilities.
    """
    _require(logged, policy, predicted)
    at = np.arange(len(logged.taken)), logged.taken
    weights = policy[at] / logged.propensities
    earned = weights * logged.rewards
    mended = (policy * predicted).sum(axis=1) + weights * (logged.rewards - predicted[at])
    values = np.stack([earned, weights, mended, mended - logged.rewards], axis=1)
    inverse, normalised, robust, gain = bootstrap.of_means(values, _estimates)
    squares = float((weights**2).sum())
    return OffPolicy(
        inverse,
        normalised,
        robust,
        gain,
        effective=float(weights.sum() ** 2 / squares) if squares else 0.0,
    )


def _estimates(means: Floats) -> Floats:
    """Means (..., 4) of weighted rewards, weights, mended predictions and gains -> the four estimates."""
    earned, weights, mended, gain = np.moveaxis(means, -1, 0)
    return np.stack([earned, earned / weights, mended, gain], axis=-1)


def _require(logged: Logged, policy: Floats, predicted: Floats) -> None:
    n = len(logged.taken)
    fit = logged.rewards.shape == logged.propensities.shape == (n,) and policy.shape == predicted.shape
    if not fit or policy.ndim != 2 or len(policy) != n or not np.isfinite(predicted).all():
        raise ErpError(
            f"logged = {n} requests, policy = array of shape {policy.shape}, predicted = array of shape "
            f"{predicted.shape}: do not fit, or are not finite; give N rows of each, and a column for every member"
        )
    if not ((logged.propensities > 0) & (logged.propensities <= 1)).all():
        raise ErpError(
            "propensities: are no probabilities with which the member that answered was drawn; each is above 0 and at "
            "most 1; keep the requests that were left to chance"
        )
    if not np.allclose(policy.sum(axis=1), 1) or (policy < 0).any():
        raise ErpError("policy: its rows are no probabilities; give weights of at least 0 that sum to 1")
