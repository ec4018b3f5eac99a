"""Comparisons where rewards are missing."""

import numpy as np
import pytest

from erp.metrics.intervals import GroupBootstrap
from erp.metrics.overlaps import chosen_less_members, known_means, weighted_gains


def draw(rng, prompts=400, rates=(0.9, 0.3, 0.6)):
    """Rewards, which of them are known, and whom an informed router chooses."""
    rewards = rng.normal([0.0, 0.2, 0.1], 1.0, (prompts, len(rates)))
    chosen = (rewards + rng.normal(0, 1.0, rewards.shape)).argmax(axis=1)
    return rewards, np.where(rng.random(rewards.shape) < rates, rewards, np.nan), chosen


def test_every_column_is_judged_on_its_own_prompts():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((60, 5)) < 0.5, rng.normal(size=(60, 5)), np.nan)
    values[:, 3], values[:, 4] = np.nan, np.where(np.arange(60) == 7, 1.0, np.nan)
    groups = np.arange(60) // 2
    found = known_means(values, GroupBootstrap(groups, draws=500))
    for column, (count, interval) in zip(values.T, found, strict=True):
        rows = np.flatnonzero(~np.isnan(column))
        assert count == len(rows)
        if not count:
            assert np.isnan([interval.mean, interval.low, interval.high]).all()
            continue
        want = GroupBootstrap(groups[rows], draws=500).interval(column[rows])
        np.testing.assert_allclose(
            [interval.mean, interval.low, interval.high], [want.mean, want.low, want.high], rtol=1e-12
        )
    assert found[4][1].mean == 1
    assert np.isnan(found[4][1].low)


def test_with_all_rewards_the_weighted_gain_is_the_gain():
    rewards, _, chosen = draw(np.random.default_rng(1))
    bootstrap = GroupBootstrap(np.arange(len(rewards)), draws=500)
    for m, column in enumerate(chosen_less_members(rewards, chosen).T):
        found, want = weighted_gains(rewards, chosen, bootstrap)[m], bootstrap.interval(column)
        np.testing.assert_allclose([found.mean, found.low, found.high], [want.mean, want.low, want.high], atol=1e-12)


def test_missing_at_random_the_weighted_gain_is_right_on_average_and_the_plain_one_is_not():
    rng, errors, plain = np.random.default_rng(2), [], []
    for _ in range(200):
        rewards, known, chosen = draw(rng)
        bootstrap = GroupBootstrap(np.arange(len(rewards)), draws=1)
        truth = chosen_less_members(rewards, chosen).mean(axis=0)
        errors.append([weighted_gains(known, chosen, bootstrap)[m].mean - truth[m] for m in range(3)])
        plain.append(np.nanmean(chosen_less_members(known, chosen), axis=0) - truth)
    means, spread = np.mean(errors, axis=0), np.std(errors, axis=0) / np.sqrt(200)
    assert (np.abs(means) < 4 * spread + 0.005).all()
    assert np.abs(np.mean(plain, axis=0)).max() > 10 * np.abs(means).max()


def test_its_interval_covers_the_truth():
    rng, covered = np.random.default_rng(3), []
    rewards, _, chosen = draw(rng, prompts=1_000_000)
    truth = chosen_less_members(rewards, chosen)[:, 1].mean()
    for _ in range(1000):
        _, known, chosen = draw(rng, prompts=200)
        own = GroupBootstrap(np.arange(200), draws=200)
        found = weighted_gains(known, chosen, own)[1]
        covered.append(found.low <= truth <= found.high)
    assert np.mean(covered) > 0.92


def test_what_is_not_known_has_no_number():
    bootstrap = GroupBootstrap(np.arange(4), draws=50)
    nan = np.nan
    apart = np.array([[1.0, 2.0, nan], [1.0, 3.0, nan], [nan, nan, 5.0], [nan, 1.0, 6.0]])
    # The router chooses members 0 and 1; 0 never stands beside 2, which is known beside 1 once.
    chosen = np.array([0, 1, 0, 1])
    assert np.isnan(weighted_gains(apart, chosen, bootstrap)[2].mean)
    assert weighted_gains(apart, np.array([1, 1, 1, 1]), bootstrap)[2].mean == -5
    assert weighted_gains(apart, np.full(4, 2), bootstrap)[2].mean == 0
    # a difference could be known, and none is
    assert np.isnan(weighted_gains(apart, np.array([2, 2, 1, 2]), bootstrap)[2].mean)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 0]])
def test_members_in_another_order_are_the_same_members(order):
    _, known, chosen = draw(np.random.default_rng(4))
    bootstrap = GroupBootstrap(np.arange(len(known)) // 2, draws=200)
    place = np.argsort(order)
    for m in range(3):
        first = weighted_gains(known, chosen, bootstrap)[m]
        second = weighted_gains(known[:, order], place[chosen], bootstrap)[int(place[m])]
        assert first == second
