from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.special import ndtr, stdtrit
from scipy.stats import studentized_range, ttest_1samp

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.significance import bootstrap_p, max_t, mcnemar


def judged_alone(values):
    """The paired t-test's p."""
    return np.array([ttest_1samp(column, 0).pvalue for column in values.T])


def corrected(values, draws=20_000, seed=0):
    """`max_t` of columns of one value a group."""
    n, k = values.shape
    means = values.mean(axis=0)
    return max_t(means, (values - means) / n, np.full(k, n), draws, seed)


def test_one_difference_has_the_p_of_the_t_test():
    values = np.random.default_rng(0).normal(0.1, 1, size=(400, 1))
    assert corrected(values) == pytest.approx(judged_alone(values), abs=0.01)


def test_independent_differences_are_corrected_as_sidak_does_step_by_step():
    values = np.random.default_rng(1).normal(size=(2000, 6))
    values += np.array([0.09, 0.065, 0.055, 0.03, 0.0, 0.0]) - values.mean(axis=0)
    alone = judged_alone(values)
    expected, worst = np.empty(6), 0.0
    for k, at in enumerate(np.argsort(alone)):
        expected[at] = worst = max(worst, 1 - (1 - alone[at]) ** (6 - k))
    assert corrected(values) == pytest.approx(expected, abs=0.015)


def test_all_pairs_of_independent_means_are_corrected_as_tukey_does():
    """The largest step is the studentised range's, of very many degrees of freedom."""
    contenders = np.random.default_rng(2).normal(size=(4000, 8))
    contenders += 0.055 * (np.arange(8) == 7) - contenders.mean(axis=0)
    values = np.stack([contenders[:, i] - contenders[:, j] for i, j in combinations(range(8), 2)], axis=1)
    t = np.abs(values.mean(axis=0)) / (values.std(axis=0, ddof=1) / np.sqrt(len(values)))
    found = corrected(values)
    assert found.min() == pytest.approx(studentized_range.sf(np.sqrt(2) * t.max(), 8, np.inf), abs=0.02)
    assert found.min() > 10 * judged_alone(values).min()


def test_copies_of_a_difference_are_no_more_differences():
    values = np.random.default_rng(3).normal(0.1, 1, size=(300, 1))
    assert corrected(np.repeat(values, 40, axis=1)) == pytest.approx(np.full(40, corrected(values)[0]), abs=0.01)


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_corrected_p_in_any_order_and_on_any_scale(scale):
    values = np.random.default_rng(4).normal(0.1, 1, size=(200, 5))
    order = np.array([3, 0, 4, 1, 2])
    assert corrected(scale * values[:, order])[np.argsort(order)] == pytest.approx(corrected(values), abs=1e-9)
    assert corrected(np.zeros((5, 2))).tolist() == [1.0, 1.0]
    assert corrected(np.full((5, 1), scale))[0] < 0.001, "every group says the same"
    assert corrected(np.zeros((5, 0))).shape == (0,)


def test_what_cannot_be_corrected_is_refused():
    one = np.ones((3, 1))
    for bad in ((one[0], one, [1]), (one[0] * np.nan, one, [3]), (one[0], one * np.inf, [3]), (one[:2, 0], one, [3])):
        with pytest.raises(ErpError, match="before correcting"):
            max_t(bad[0], bad[1], np.array(bad[2]))


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
