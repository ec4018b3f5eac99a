"""Bounds and tests a guarantee stands on, and what is measured of policies on held-out prompts."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from erp.decisions.choice import Choice, constant, one_hot
from erp.decisions.policy_risk import fixed_sequence, lost, one_per_group, upper_bound
from erp.errors import ErpError
from erp.metrics.risk import Coverage, coverage, spending

T = {"tolerated_loss": 0.0, "alpha": 0.1}


@pytest.mark.parametrize("n", [1, 7, 100])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_bound_is_scipy_s(n, confidence):
    counts = np.arange(n + 1)
    two_sided = 2 * confidence - 1
    expected = [
        1.0 if c == n
        else binomtest(int(c), n, alternative="less").proportion_ci(confidence, "exact").high
        for c in counts
    ]  # fmt: skip
    np.testing.assert_allclose(upper_bound(counts, n, confidence), expected, rtol=1e-9)
    if two_sided > 0:
        low = [binomtest(int(c), n).proportion_ci(two_sided, "exact").low for c in counts]
        np.testing.assert_allclose(1 - upper_bound(n - counts, n, confidence), low, rtol=1e-7, atol=1e-12)


def test_no_trial_tells_nothing_and_halves_lie_between():
    assert upper_bound(np.array([0]), 0, 0.95).tolist() == [1.0]
    below, between, above = upper_bound(np.array([3, 3.5, 4]), 20, 0.9)
    assert below < between < above


@pytest.mark.parametrize(
    ("count", "n", "confidence"), [(-1, 5, 0.9), (6, 5, 0.9), (np.nan, 5, 0.9), (1, -1, 0.9), (1, 5, 1.0)]
)
def test_counts_that_are_no_share_are_refused(count, n, confidence):
    with pytest.raises(ErpError, match="no such bound"):
        upper_bound(np.array([count]), n, confidence)


def test_the_sequence_stops_at_the_first_failure():
    n, alpha, delta = 200, 0.1, 0.05
    most = int(binom.ppf(delta, n, alpha)) - 1  # largest count whose chance at risk alpha is at most delta
    assert binom.cdf(most, n, alpha) <= delta < binom.cdf(most + 1, n, alpha)
    assert fixed_sequence(np.array([0, most, most + 1, 0]), n, alpha, delta) == 2
    counts = np.array([[most + 1, 0, 0], [0, 0, 0], [0, 0, most + 1]])
    assert fixed_sequence(counts, n, alpha, delta).tolist() == [0, 3, 2]


def test_lost_is_more_than_tolerated_beyond_rounding_and_never_the_reference():
    rewards = np.array([[0.8, 0.7, 0.69, 0.9]])
    assert lost(rewards, 0, 0.1).tolist() == [[False, False, True, False]]
    assert lost(rewards, 0, 0.0).tolist() == [[False, True, True, False]]
    assert not lost(np.zeros((1, 2)), 0, 0.0).any()
    assert not lost(np.random.default_rng(0).normal(size=(50, 3)), 2, 0.0)[:, 2].any()


def test_one_prompt_of_each_group_any_of_them_alike():
    groups = np.array([5, 5, 5, 2, 9, 9])
    drawn = np.array([one_per_group(groups, seed) for seed in range(600)])
    assert drawn.shape == (600, 3)
    assert all(sorted(groups[rows]) == [2, 5, 9] for rows in drawn)
    for member in range(3):
        assert abs((drawn == member).any(axis=1).mean() - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)
    assert len({tuple(one_per_group(groups, 3)) for _ in range(5)}) == 1


def test_spending_is_predicted_beside_realised():
    choice = Choice(np.array([[1.0, 0.0], [0.25, 0.75]]))
    got = spending(choice, 1.5, np.array([1.0, 2.0]), np.array([[1.0, 5.0], [2.0, 4.0]]))
    assert (got.budget, got.predicted, got.realised) == (1.5, (1 + 1.75) / 2, (1 + 3.5) / 2)
    assert got.over == 0.75
    with pytest.raises(ErpError, match="do not fit"):
        spending(choice, 1.5, np.ones(3), np.ones(2))


def test_coverage_is_scipy_s_interval_of_who_was_lost():
    rng = np.random.default_rng(1)
    rewards, members = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    got = coverage(one_hot(members, 3), rewards, np.arange(300), reference=1, **T)
    count = int((rewards[np.arange(300), members] < rewards[:, 1]).sum())
    expected = binomtest(count, 300).proportion_ci(0.95, "exact")
    assert (got.lost, got.prompts, got.alpha) == (count / 300, 300, 0.1)
    assert (got.low, got.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert got.verdict == "broken"


def test_the_reference_is_lost_nowhere_and_a_randomised_choice_counts_by_its_weights():
    rewards = np.tile([0.0, 1.0], (40, 1))
    same = coverage(constant(1, 40, 2), rewards, np.arange(40), reference=1, **T)
    assert (same.lost, same.low, same.verdict) == (0, 0, "kept")
    half = coverage(Choice(np.full((40, 2), 0.5)), rewards, np.arange(40), reference=1, **T)
    assert half.lost == 0.5
    whole = binomtest(20, 40).proportion_ci(0.95, "exact")
    assert (half.low, half.high) == pytest.approx((whole.low, whole.high), rel=1e-9)


def test_repeats_of_a_prompt_do_not_make_it_surer():
    rewards = np.random.default_rng(2).normal(size=(30, 2))
    once = coverage(constant(0, 30, 2), rewards, np.arange(30), reference=1, **T)
    often = coverage(constant(0, 150, 2), np.repeat(rewards, 5, axis=0), np.repeat(np.arange(30), 5), reference=1, **T)
    assert often == once


def test_the_verdict_is_open_where_alpha_lies_in_the_interval():
    assert [Coverage(0.1, 0.05, 0.15, 100, alpha).verdict for alpha in (0.04, 0.05, 0.1, 0.15)] == [
        "broken", "open", "open", "kept",
    ]  # fmt: skip


def test_what_does_not_fit_or_is_missing_is_refused():
    rewards = np.zeros((4, 2))
    for choice, groups, reference, level in [
        (constant(0, 3, 2), np.arange(4), 0, 0.95), (constant(0, 4, 2), np.arange(3), 0, 0.95),
        (constant(0, 4, 2), np.arange(4), 2, 0.95), (constant(0, 4, 2), np.arange(4), 0, 1.0),
    ]:  # fmt: skip
        with pytest.raises(ErpError, match="coverage: "):
            coverage(choice, rewards, groups, reference=reference, level=level, **T)
    rewards[2, 1] = np.nan
    with pytest.raises(ErpError, match="row 2, member 1"):
        coverage(constant(0, 4, 2), rewards, np.arange(4), reference=0, **T)
