"""What can be compared where not every member has a reward of every prompt: on the prompts that both have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval, as_they_are, shares_of_last, together
from erp.rounding import difference

UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def known_means(values: NDArray[np.float64], bootstrap: GroupBootstrap) -> list[tuple[int, Interval]]:
    """How many values of every column are known, and the interval of their mean, each over its own prompts.

    Args:
        values: (N, D), NaN where unknown.
        bootstrap: over the groups of the N prompts.

    Returns:
        D counts and intervals; NaN where nothing is known, and ends of NaN where all that is known is one group.
    """
    found: list[tuple[int, Interval]] = [(0, UNKNOWN)] * values.shape[1]
    patterns, which = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    known = [(np.flatnonzero(pattern), np.flatnonzero(which.ravel() == p)) for p, pattern in enumerate(patterns.T)]
    known = [(rows, columns) for rows, columns in known if len(rows)]
    parts = ((bootstrap.of(rows), values[np.ix_(rows, columns)], as_they_are) for rows, columns in known)
    for (rows, columns), intervals in zip(known, together(parts), strict=True):
        for column, interval in zip(columns, intervals, strict=True):
            found[column] = (len(rows), interval)
    return found


def chosen_less_members(rewards: NDArray[np.float64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """Reward of the member chosen for each prompt (N,) less that of each member (N, M); NaN where one is unknown."""
    return difference(np.take_along_axis(rewards, chosen[:, None], axis=1), rewards)


def weighted_gains(
    rewards: NDArray[np.float64], chosen: NDArray[np.int64], bootstrap: GroupBootstrap
) -> list[Interval]:
    """What the choice gains over each member on all prompts, from those that tell: a mean by importance weights.

    Where the member itself is chosen the gain is 0, rewards known or not. Elsewhere both rewards must be known, and a
    prompt that has them stands for as many as the share of prompts that have a reward of both members says. That is
    right where which rewards are known does not depend on the prompt.

    Args:
        rewards: (N, M), NaN where unknown.
        chosen: (N,) members.
        bootstrap: over the groups of the N prompts.

    Returns:
        M intervals; NaN where a member that is chosen has no prompt in common with this one, or no comparison is known
        at all.
    """
    gains, members = chosen_less_members(rewards, chosen), range(rewards.shape[1])
    weighted = {m: found for m in members if (found := _weighted(rewards, gains[:, m], chosen, m)) is not None}
    parts = ((bootstrap.of(used), values, shares_of_last) for used, values in weighted.values())
    intervals = dict(zip(weighted, (only for (only,) in together(parts)), strict=True))
    return [intervals.get(m, UNKNOWN) for m in members]


def _weighted(
    rewards: NDArray[np.float64], gains: NDArray[np.float64], chosen: NDArray[np.int64], member: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """The prompts (n,) that tell what is gained over one member, and (n, 2) weighted gain and weight; None unknown."""
    known, own = ~np.isnan(rewards), chosen == member
    shared = (known & known[:, [member]]).mean(axis=0)  # (M,) share of prompts that have a reward of both
    probability = np.where(own, 1.0, shared[chosen])
    seen = ~own & ~np.isnan(gains)
    if not probability.all() or not (seen.any() or own.all()):
        return None
    used = np.flatnonzero(own | seen)
    weight = 1 / probability[used]
    return used, np.stack([weight * np.where(own, 0.0, gains)[used], weight], axis=1)
