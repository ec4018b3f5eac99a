"""How often the intervals hold the truth, over thousands of tables: at sizes and kinds that reports are made of."""

from __future__ import annotations

import numpy as np
import pytest

from erp.metrics.draws import MOST_RESAMPLED
from erp.metrics.intervals import GroupBootstrap

TABLES, AT_ONCE = 2000, 10


def gains(kind: str, n: int, rng: np.random.Generator):
    """Differences of reward per prompt, AT_ONCE tables side by side, their groups, and the true mean."""
    if kind == "clusters":  # groups of near-duplicates, correlation .8 within
        groups = np.repeat(np.arange(n // 3), 3)
        own = rng.normal(size=(n // 3, AT_ONCE))[groups] + 0.5 * rng.normal(size=(len(groups), AT_ONCE))
        return 0.1 + own, groups, 0.1
    if kind == "unequal groups":  # one prompt to dozens, heavy tails in sizes and in what a group has in common
        sizes = 1 + (2 * rng.pareto(2.5, n // 2)).astype(int)
        groups = np.repeat(np.arange(len(sizes)), sizes)
        own = rng.standard_t(5, (len(sizes), AT_ONCE))[groups] + rng.normal(size=(len(groups), AT_ONCE))
        return 0.1 + own, groups, 0.1
    changed = rng.random((n, AT_ONCE)) < 0.4  # elsewhere both choose the same member
    if kind == "skewed":
        return (rng.exponential(1.2, (n, AT_ONCE)) - 1) * changed, np.arange(n), 0.4 * 0.2
    if kind == "wins and losses":  # rewards of 0 and 1
        return changed * np.where(rng.random((n, AT_ONCE)) < 0.6, 1.0, -1.0), np.arange(n), 0.4 * 0.2
    return 0.1 + rng.standard_t(5, (n, AT_ONCE)), np.arange(n), 0.1  # heavy tails


def shares_held(kind: str, n: int) -> np.floating:
    """Of `TABLES` intervals of 95%, the share that holds the truth."""
    rng = np.random.default_rng(n)
    held = []
    for seed in range(TABLES // AT_ONCE):
        values, groups, truth = gains(kind, n, rng)
        bootstrap = GroupBootstrap(groups, draws=1000, seed=seed)
        held += [i.low <= truth <= i.high for i in bootstrap.intervals(values)]
    share = np.mean(held)
    print(f"{kind}, {n} prompts, {bootstrap.resampled} resampled: {share:.1%} of {len(held)} intervals hold the truth")
    assert len(held) == TABLES
    return share


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 200, 1000])
@pytest.mark.parametrize("kind", ["skewed", "wins and losses", "heavy tails", "clusters"])
def test_intervals_of_95_percent_hold_the_truth(kind, n):
    # Below 1 of 1000 by chance. Sixty prompts, or twenty groups of three, are few for a bootstrap.
    assert (0.915 if n == 60 else 0.934) <= shares_held(kind, n) <= 0.966


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["skewed", "wins and losses", "heavy tails", "clusters", "unequal groups"])
def test_so_do_those_of_bags_of_groups(kind):
    n = 6 * MOST_RESAMPLED  # of clusters of three, two to a bag
    assert 0.934 <= shares_held(kind, n) <= 0.966


@pytest.mark.slow
def test_a_share_of_headroom_holds_the_truth():
    """A ratio of two means that are estimated on the same prompts."""
    rng = np.random.default_rng(1)
    held = []
    for seed in range(TABLES // AT_ONCE):
        room = rng.exponential(1.0, 300)
        got = 0.3 * room[:, None] + rng.normal(0, 0.5, (300, AT_ONCE))
        boot = GroupBootstrap(np.arange(300), draws=1000, seed=seed)
        held += [i.low <= 0.3 <= i.high for i in boot.ratios(got, room)]
    print(f"share of headroom: {np.mean(held):.1%} of {len(held)} intervals hold the truth")
    assert 0.934 <= np.mean(held) <= 0.966
