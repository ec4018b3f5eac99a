"""Off-policy estimates: by hand, by what has to hold, and on simulated logs whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from erp.errors import ErpError
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.off_policy import Logged, off_policy


def logged(taken=(0, 0, 1, 1), rewards=(1.0, 0.0, 0.5, 1.0), propensities=(0.8, 0.5, 0.2, 0.5)):
    return Logged(np.array(taken), np.array(rewards), np.array(propensities))


def one_hot(members, m=2):
    return np.eye(m)[np.array(members)]


def by_request(n, draws=200):
    return GroupBootstrap(np.arange(n), draws=draws)


def test_four_requests_by_hand():
    """Always member 1: weights 0, 0, 1/0.2, 1/0.5."""
    predicted = np.array([[0.9, 0.6], [0.2, 0.4], [0.5, 0.7], [0.1, 0.8]])
    found = off_policy(logged(), one_hot([1, 1, 1, 1]), predicted, by_request(4))
    assert found.inverse_propensity.mean == pytest.approx((5 * 0.5 + 2 * 1.0) / 4)
    assert found.self_normalised.mean == pytest.approx((5 * 0.5 + 2 * 1.0) / 7)
    mended = [0.6, 0.4, 0.7 + 5 * (0.5 - 0.7), 0.8 + 2 * (1.0 - 0.8)]
    assert found.doubly_robust.mean == pytest.approx(np.mean(mended))
    assert found.gain.mean == pytest.approx(np.mean(mended) - 2.5 / 4)
    assert found.effective == pytest.approx(49 / 29)


def test_a_policy_that_tosses_a_coin_by_hand():
    """Member 0 with 1/4: weights .25/.8, .25/.5, .75/.2, .75/.5."""
    policy = np.array([[0.25, 0.75]] * 4)
    weights = np.array([0.3125, 0.5, 3.75, 1.5])
    found = off_policy(logged(), policy, np.zeros((4, 2)), by_request(4))
    earned = (weights * [1.0, 0.0, 0.5, 1.0]).sum()
    assert found.inverse_propensity.mean == pytest.approx(earned / 4)
    assert found.doubly_robust.mean == pytest.approx(earned / 4), "predictions of 0 mend nothing"
    assert found.self_normalised.mean == pytest.approx(earned / weights.sum())


def test_the_policy_that_logged_is_worth_what_the_log_earned():
    always = logged(propensities=(1.0, 1.0, 1.0, 1.0))
    found = off_policy(always, one_hot([0, 0, 1, 1]), np.full((4, 2), 0.3), by_request(4))
    for estimate in (found.inverse_propensity, found.self_normalised, found.doubly_robust):
        assert estimate.mean == pytest.approx(0.625)
    assert (found.gain.mean, found.gain.low, found.gain.high) == pytest.approx((0, 0, 0))
    assert found.effective == 4


def test_a_policy_that_never_did_what_was_drawn_rests_on_predictions_alone():
    found = off_policy(logged(), one_hot([1, 1, 0, 0]), np.full((4, 2), 0.3), by_request(4))
    assert found.effective == 0
    assert np.isnan(found.self_normalised.mean)
    assert found.doubly_robust.mean == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("changed", "policy", "predicted", "words"),
    [
        ({"propensities": (0.0, 0.5, 0.2, 0.5)}, one_hot([1, 1, 1, 1]), np.zeros((4, 2)), "propensities"),
        ({"propensities": (1.5, 0.5, 0.2, 0.5)}, one_hot([1, 1, 1, 1]), np.zeros((4, 2)), "propensities"),
        ({"propensities": (np.nan, 0.5, 0.2, 0.5)}, one_hot([1, 1, 1, 1]), np.zeros((4, 2)), "propensities"),
        ({}, np.full((4, 2), 0.7), np.zeros((4, 2)), "policy"),
        ({}, one_hot([1, 1, 1, 1]), np.zeros((4, 3)), "do not fit"),
        ({}, one_hot([1, 1, 1, 1]), np.full((4, 2), np.nan), "not finite"),
        ({"rewards": (1.0,)}, one_hot([1, 1, 1, 1]), np.zeros((4, 2)), "do not fit"),
    ],
)
def test_what_is_no_log_is_refused(changed, policy, predicted, words):
    with pytest.raises(ErpError, match=words):
        off_policy(logged(**changed), policy, predicted, by_request(4))


class World:
    """A table with known truth: 20,000 prompts whose easy ones go to a small member, and a log of 3,000 of them."""

    def __init__(self, seed=0, m=3, explore=0.3):
        rng = np.random.default_rng(seed)
        hard = rng.beta(2, 2, 20_000)
        self.truth = np.clip(0.95 - hard[:, None] * np.array([0.9, 0.6, 0.3]), 0, 1)  # chance that an answer is right
        self.predicted = np.clip(0.9 * self.truth + rng.normal(0.06, 0.1, self.truth.shape), 0, 1)
        costs = np.array([0.0, 0.1, 0.35])
        logging, self.policy = (one_hot((self.predicted - price * costs).argmax(axis=1), m) for price in (1.5, 0.6))
        self.propensities = (1 - explore) * logging + explore / m
        self.value = float((self.policy * self.truth).sum(axis=1).mean())

    def log(self, seed, n=3000):
        rng = np.random.default_rng(seed)
        rows = rng.integers(0, len(self.truth), n)
        odds = self.propensities[rows]
        taken = (odds.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        rewards = (rng.random(n) < self.truth[rows, taken]).astype(float)
        return rows, Logged(taken, rewards, odds[np.arange(n), taken])


def test_intervals_hold_the_truth_in_92_to_98_percent_of_300_logs_and_without_propensities_they_do_not():
    world = World()
    held = dict.fromkeys(("inverse_propensity", "self_normalised", "doubly_robust", "matching"), 0)
    for seed in range(300):
        rows, log = world.log(seed + 1)
        n, policy = len(rows), world.policy[rows]
        bootstrap = by_request(n, draws=1000)
        found = off_policy(log, policy, world.predicted[rows], bootstrap)
        agree = policy[np.arange(n), log.taken]
        control = bootstrap.ratios((agree * log.rewards)[:, None], agree)[0]  # the mean where both took the same member
        intervals = {name: getattr(found, name) for name in held if name != "matching"} | {"matching": control}
        for name, interval in intervals.items():
            held[name] += interval.low <= world.value <= interval.high
    shares = {name: count / 300 for name, count in held.items()}
    assert shares.pop("matching") < 0.8, "a control that ignores propensities"
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares
