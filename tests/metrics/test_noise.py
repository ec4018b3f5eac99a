"""Noise against the method's worked example, hand-worked numbers and a bootstrap by brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.noise import corrected_r2, corrected_r2_of_differences, reliability_of_differences
from erp.metrics.prediction import r2, r2_pooled
from erp.targets import Targets, expected_reward, noise_of_means, reliability, split_half_oracle
from tests.metrics.worked import table_of, targets_of, worked_example

A, B = np.array(list(combinations(range(5), 2))).T

#     K: rho, R^2 obs, rho_D, R^2 obs on differences, naive oracle gain, split-half oracle gain
WORKED = {
    1: (None, 0.6298, None, 0.0894, 1.4793, None),
    4: (0.8887, 0.8402, 0.4656, 0.2328, 0.7795, 0.0662),
    8: (0.9411, 0.8897, 0.6353, 0.3177, 0.6209, 0.1854),
    16: (0.9696, 0.9167, 0.7770, 0.3885, 0.5327, 0.2825),
    32: (0.9846, 0.9309, 0.8745, 0.4373, 0.4861, 0.3495),
}


@pytest.mark.parametrize("k", WORKED)
def test_every_column_of_the_worked_example(k):
    rho, r2_obs, rho_d, r2_differences, naive, halves = WORKED[k]
    y, predicted = worked_example(20_000, k)
    table = table_of(y)
    targets = expected_reward(table)
    mean = targets.mean
    # 20,000 prompts: a standard error is at most .005 for one member or pair and .003 over all of them.
    assert r2(predicted, mean) == pytest.approx(np.full(5, r2_obs), abs=0.015)
    on_differences = r2(predicted[:, A] - predicted[:, B], mean[:, A] - mean[:, B])
    assert on_differences == pytest.approx(np.full(10, r2_differences), abs=0.02)
    assert on_differences.mean() == pytest.approx(r2_differences, abs=0.008)
    best = mean.mean(axis=0)
    assert best.argmax() == 4
    # the sd of such a gain on one prompt is at most 1.5, so .011 over all
    assert mean.max(axis=1).mean() - best[4] == pytest.approx(naive, abs=0.03)
    found = split_half_oracle(table, np.arange(len(y)), repeats=2)
    if k == 1:
        assert found is None
        assert np.isnan(reliability(targets)).all()
        assert np.isnan(reliability_of_differences(targets)).all()
        return
    assert found.mean - best[4] == pytest.approx(halves, abs=0.03)
    assert reliability(targets) == pytest.approx(np.full(5, rho), abs=0.006)
    pairs = reliability_of_differences(targets)
    assert pairs[A, B] == pytest.approx(np.full(10, rho_d), abs=0.02)
    assert pairs[A, B].mean() == pytest.approx(rho_d, abs=0.008)
    # Without the noise they are the latent ones, whatever K.
    bootstrap = GroupBootstrap(np.arange(len(y)), draws=20)
    members = corrected_r2(predicted, targets, bootstrap)
    assert [x.mean for x in members.each] == pytest.approx([0.9454] * 5, abs=0.006)
    assert corrected_r2_of_differences(predicted, targets, bootstrap).pooled.mean == pytest.approx(0.5, abs=0.02)


def test_reliability_of_differences_by_hand():
    nan = np.nan
    # Three prompts have both. D = 1, 3, -4: Var 13. Member a's cell of one sample takes (1 * 2 + 3 * 6) / 4 = 5.
    targets = Targets(
        np.array([[1.0, 0.0], [5.0, 2.0], [0.0, 4.0], [nan, 3.0]]), np.array([[2, 4], [4, 2], [1, 2], [0, 3]]),
        np.array([[2.0, 4.0], [6.0, 1.0], [nan, 3.0], [nan, 6.0]]), np.full((4, 2), nan),
    )  # fmt: skip
    noise = np.array([2 / 2 + 4 / 4, 6 / 4 + 1 / 2, 5 / 1 + 3 / 2]).mean()
    rho = reliability_of_differences(targets)
    assert rho[0, 1] == rho[1, 0] == pytest.approx(1 - noise / 13, rel=1e-12)
    assert np.isnan(np.diag(rho)).all()
    # on the first two prompts Var(D) = 2, n = 2
    assert reliability_of_differences(targets, np.array([0, 1]))[0, 1] == pytest.approx(0.0, abs=1e-15)
    assert np.isnan(reliability_of_differences(targets, np.array([0]))).all()


def unbalanced(n=300, seed=3):
    """Three members, one to six samples per cell, some missing; predictions of part of it."""
    rng = np.random.default_rng(seed)
    signal = rng.standard_normal((n, 3))
    y = (signal + 0.5 * rng.standard_normal((n, 3)))[:, :, None] + rng.standard_normal((n, 3, 6))
    y[np.arange(6) >= rng.integers(0, 7, (n, 3))[:, :, None]] = np.nan
    return table_of(y), signal


def test_noise_of_means_is_that_of_the_reliability():
    targets = expected_reward(unbalanced()[0])
    for rows in (None, np.arange(50)):
        at = slice(None) if rows is None else rows
        noise, spread = np.nanmean(noise_of_means(targets, rows), axis=0), np.nanvar(targets.mean[at], axis=0, ddof=1)
        assert reliability(targets, rows) == pytest.approx(1 - noise / spread, rel=1e-12)
        assert (np.isnan(noise_of_means(targets, rows)) == (targets.count[at] == 0)).all()


def test_corrected_is_the_ratio_of_the_two_numbers():
    table, predicted = unbalanced()
    targets = expected_reward(table)
    rows = np.arange(20, 300)
    bootstrap = GroupBootstrap(rows // 2, draws=100)
    predicted, mean = predicted[rows], targets.mean[rows]
    found = corrected_r2(predicted, targets, bootstrap, rows)
    assert [x.mean for x in found.each] == pytest.approx(r2(predicted, mean) / reliability(targets, rows), rel=1e-12)
    pairs = corrected_r2_of_differences(predicted, targets, bootstrap, rows)
    a, b = np.array([0, 0, 1]), np.array([1, 2, 2])
    on_differences = r2(predicted[:, a] - predicted[:, b], mean[:, a] - mean[:, b])
    rho_d = reliability_of_differences(targets, rows)[a, b]
    assert [x.mean for x in pairs.each] == pytest.approx(on_differences / rho_d, rel=1e-12)
    # pooled over members: sums of squares above and below
    sst = np.nanvar(mean, axis=0, ddof=1) * (np.isfinite(mean).sum(axis=0) - 1)
    pooled_rho = (sst * reliability(targets, rows)).sum() / sst.sum()
    assert found.pooled.mean == pytest.approx(r2_pooled(predicted, mean) / pooled_rho, rel=1e-12)


def test_interval_against_a_bootstrap_by_brute_force():
    y, predicted = worked_example(400, 4, seed=5)
    targets = targets_of(y)
    rng = np.random.default_rng(0)
    draws = rng.integers(0, 200, (1500, 200))
    members, pair = [], []
    for draw in draws:
        rows = np.concatenate([2 * draw, 2 * draw + 1])  # groups of two prompts
        members.append(r2(predicted[rows], targets.mean[rows])[0] / reliability(targets, rows)[0])
        difference = (x[rows, 4] - x[rows, 0] for x in (predicted, targets.mean))
        pair.append(r2(*(x[:, None] for x in difference))[0] / reliability_of_differences(targets, rows)[0, 4])
    bootstrap = GroupBootstrap(np.arange(400) // 2, draws=1500)
    for found, drawn in (
        (corrected_r2(predicted, targets, bootstrap).each[0], members),
        (corrected_r2_of_differences(predicted, targets, bootstrap).each[3], pair),
    ):
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert found.low < found.mean < found.high
        assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_corrected_is_not_clipped():
    y, _ = worked_example(300, 2, seed=7)
    targets = targets_of(y)
    seen = corrected_r2(targets.mean, targets, GroupBootstrap(np.arange(300), draws=50))
    assert all(x.mean > 1 and x.mean == pytest.approx(1 / rho) for x, rho in zip(seen.each, reliability(targets)))  # noqa: B905
    wrong = corrected_r2(-targets.mean, targets, GroupBootstrap(np.arange(300), draws=50))
    assert wrong.pooled.mean < -1


def test_what_has_no_reliability_has_no_corrected_r2():
    bootstrap = GroupBootstrap(np.arange(50), draws=50)
    rng = np.random.default_rng(0)
    one_sample = targets_of(rng.standard_normal((50, 3, 1)))
    equal = targets_of(np.full((50, 3, 4), 0.1))
    noise_alone = targets_of(rng.standard_normal((50, 3, 4)))
    for targets in (one_sample, equal, noise_alone):
        found = corrected_r2(np.zeros((50, 3)), targets, bootstrap)
        assert found.each == [None] * 3
        assert found.pooled is None
        found = corrected_r2_of_differences(np.zeros((50, 3)), targets, bootstrap)
        assert found.each == [None] * 3
    assert np.isnan(reliability_of_differences(equal)).all()
    # one member of three with one sample: the others stay
    y = rng.standard_normal((50, 3, 1)) + 0.1 * rng.standard_normal((50, 3, 4))
    y[:, 1, 1:] = np.nan
    mixed = expected_reward(table_of(y))
    assert [x is None for x in corrected_r2(mixed.mean, mixed, bootstrap).each] == [False, True, False]
    assert [x is None for x in corrected_r2_of_differences(mixed.mean, mixed, bootstrap).each] == [True, False, True]
    assert np.isfinite(reliability_of_differences(mixed)).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    # all prompts in one group: no interval, so no way to tell that there is reliable variance
    assert corrected_r2(mixed.mean, mixed, GroupBootstrap(np.zeros(50, dtype=int), draws=5)).each == [None] * 3


def test_equal_up_to_rounding_is_equal():
    # a - b = .2 on every prompt, but for the last bit
    a = np.random.default_rng(0).random((40, 1, 1)) * 1e3
    targets = targets_of(np.concatenate([a, a - 0.2], axis=1) + np.zeros(3))
    assert (targets.mean[:, 0] - targets.mean[:, 1]).std() > 0
    assert np.isnan(reliability_of_differences(targets)).all()
    assert corrected_r2_of_differences(targets.mean, targets, GroupBootstrap(np.arange(40), draws=9)).pooled is None


def test_one_member_and_one_prompt():
    y = np.random.default_rng(0).standard_normal((30, 1, 1)) * 3 + np.random.default_rng(1).standard_normal((30, 1, 4))
    targets = targets_of(y)
    bootstrap = GroupBootstrap(np.arange(30), draws=50)
    assert np.isnan(reliability_of_differences(targets)).tolist() == [[True]]
    found = corrected_r2_of_differences(targets.mean, targets, bootstrap)
    assert (found.each, found.pooled) == ([], None)
    alone = corrected_r2(targets.mean, targets, bootstrap)
    assert alone.each == [alone.pooled]
    one = targets_of(np.random.default_rng(0).standard_normal((1, 3, 4)))
    assert corrected_r2(one.mean, one, GroupBootstrap(np.zeros(1, dtype=int), draws=5)).each == [None] * 3


def test_refusals():
    y, predicted = worked_example(30, 4)
    targets, bootstrap = targets_of(y), GroupBootstrap(np.arange(30), draws=5)
    for function in (corrected_r2, corrected_r2_of_differences):
        with pytest.raises(ErpError, match="predicted = array of shape"):
            function(predicted[:, :2], targets, bootstrap)
        with pytest.raises(ErpError, match="not finite"):
            function(np.full((30, 5), np.nan), targets, bootstrap)
