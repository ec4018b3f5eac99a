from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.significance import bootstrap_p, holm, mcnemar


def test_holm_worked_by_hand():
    # Sorted .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04, and no smaller than the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.5, 0.6])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.03])).tolist() == [0.03]
    assert holm(np.zeros(0)).tolist() == []


@pytest.mark.parametrize("seed", range(10))
def test_holm_is_bonferroni_on_every_intersection(seed):
    """Closed testing: a hypothesis' adjusted p is the largest Bonferroni p of all sets that contain it."""
    p = np.random.default_rng(seed).choice([0.001, 0.01, 0.01, 0.02, 0.3, 1.0, 0.0], size=5)
    subsets = [s for size in range(1, 6) for s in combinations(range(5), size)]
    closed = [max(min(1, len(s) * p[list(s)].min()) for s in subsets if k in s) for k in range(5)]
    assert holm(p) == pytest.approx(closed)


def test_holm_refuses_what_is_no_probability():
    for bad in ([0.1, np.nan], [-0.1], [1.1], [[0.1]]):
        with pytest.raises(ErpError, match="p-values = "):
            holm(np.array(bad))


def draws_of(values, draws, seed=0):
    """The draws of `GroupBootstrap`, one prompt per group."""
    rng = np.random.default_rng(seed)
    return np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)])


def test_bootstrap_p_worked_by_hand():
    many = 10**9  # groups: no widening
    draws = np.array([1.0, 2.0, 3.0, -1.0, 0.5, 1.0, 2.0, 1.0, 4.0])
    assert bootstrap_p(draws, many) == pytest.approx(2 * 2 / 10)
    assert bootstrap_p(-draws, many) == bootstrap_p(draws, many)
    assert bootstrap_p(np.ones(999), many) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(10), 5) == 1.0
    assert bootstrap_p(np.ones(999), 5) > 0.01  # five groups cannot be so sure
    assert np.isnan(bootstrap_p(np.ones(10), 1))


@pytest.mark.parametrize("groups", [2, 5, 40])
def test_bootstrap_p_is_the_level_at_which_the_interval_ends_at_zero(groups):
    draws = np.array([-1.0] * 39 + [1.0] * 960)  # 40 / 1000 of them below
    p = bootstrap_p(draws, groups)
    assert ndtr(np.sqrt(1 + 1 / (groups - 1)) * stdtrit(groups - 1, p / 2)) == pytest.approx(0.04)


def test_bootstrap_p_says_what_the_interval_says():
    rng = np.random.default_rng(3)
    both = set()
    for seed in range(40):
        values = rng.normal(0.6, 1, 12)
        interval = GroupBootstrap(np.arange(12), draws=1500, seed=seed).interval(values)
        p = bootstrap_p(draws_of(values, 1500, seed), 12)
        if abs(p - 0.05) > 0.005:  # the spacing of the draws
            assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
            both.add(p < 0.05)
    assert both == {True, False}


def test_bootstrap_p_is_below_05_in_5_percent_of_tables_without_a_difference():
    rng = np.random.default_rng(4)
    ps = []
    for _ in range(400):
        values = rng.normal(size=10)
        taken = rng.integers(0, 10, (400, 10))
        ps.append(bootstrap_p(values[taken].mean(axis=1), 10))
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.03)


def test_bootstrap_p_refuses_what_are_no_draws():
    for draws, groups in ((np.zeros(0), 3), (np.array([np.nan]), 3), (np.zeros((2, 2)), 3), (np.zeros(2), 0)):
        with pytest.raises(ErpError, match="draws, groups = "):
            bootstrap_p(draws, groups)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 1), (3, 3), (0, 8), (2, 9)])
def test_mcnemar_is_twice_the_binomial_tail(wins, losses):
    first = np.array([1] * wins + [0] * losses + [1, 0, 1])
    second = np.array([0] * wins + [1] * losses + [1, 0, 1])
    n, most = wins + losses, max(wins, losses)
    tail = sum(comb(n, k) for k in range(most, n + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1, 2 * tail))
    assert mcnemar(second, first) == mcnemar(first, second) == mcnemar(first.astype(float), second.astype(bool))


def test_mcnemar_refuses_what_is_not_right_or_wrong():
    right = np.ones(2)
    for bad in (np.array([0.5, 1.0]), np.array([np.nan, 1.0]), np.ones(3), np.ones((2, 1))):
        with pytest.raises(ErpError, match="not pairs of 0 and 1"):
            mcnemar(right, bad)
