"""The report's numbers agree with each other, and with the plain definitions computed one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from erp.decisions.choice import choose
from erp.decisions.curve import exact_curve
from erp.decisions.policy import Calibration, LambdaPolicy
from erp.decisions.policy_guarded import GuardedPolicy
from erp.evaluation.evaluate import INTERVAL_POINTS, evaluate
from erp.evaluation.held_out import HeldOut
from erp.evaluation.points import choose_lambdas
from erp.metrics import draws
from erp.metrics.draws import drawn_counts, kept_counts
from erp.metrics.intervals import GroupBootstrap
from erp.targets import Targets

COSTS = np.array([0.137, 1.3, 14.7])
SETTINGS = {"draws": 300, "seed": 1, "level": 0.95}


def one_sample(rewards):
    """Targets of a table with K = 1, missing where a reward is NaN."""
    unknown = np.full(rewards.shape, np.nan)
    return Targets(rewards, (~np.isnan(rewards)).astype(int), unknown, unknown)


def held_out(n=300, seed=0, hundredths=True, **changes):
    """Three members; scores in hundredths tie often, as those of neighbours' means do."""
    rng = np.random.default_rng(seed)
    mu = rng.normal([0.3, 0.5, 0.6], 0.3, (n, 3))
    scores = mu + rng.normal(0, 0.2, (n, 3))
    fields = {
        "members": ("a", "b", "c"), "scores": np.round(scores, 2) if hundredths else scores,
        "category_scores": np.broadcast_to([0.3, 0.5, 0.6], (n, 3)),
        "targets": one_sample(mu + rng.normal(0, 0.1, (n, 3))),
        "costs": COSTS * rng.uniform(0.5, 1.5, (n, 3)), "predicted_costs": COSTS,
        "train_mean_reward": np.array([0.3, 0.5, 0.6]), "train_mean_cost": COSTS,
        "groups": rng.integers(0, n // 2, n), "scale": "reward",
    }  # fmt: skip
    return HeldOut(**{**fields, **changes})


@pytest.mark.parametrize("hundredths", [True, False])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_interval_and_shares_are_those_of_the_curve_s_points(hundredths, offset):
    held = held_out(hundredths=hundredths)
    held = held_out(hundredths=hundredths, scores=held.scores + offset)
    found = evaluate(held, LambdaPolicy(0.0), SETTINGS)
    curve = exact_curve(held.scores, held.predicted_costs, held.rewards, held.costs).thin(INTERVAL_POINTS)
    band, shares = found["interval"], found["shares"]
    assert (np.asarray(band["lambda"]) == curve.lambdas).all()
    assert (np.asarray(shares["lambda"]) == curve.lambdas).all()
    np.testing.assert_allclose(band["reward"], curve.reward, rtol=0, atol=1e-12)
    np.testing.assert_allclose(band["cost"], curve.cost, rtol=0, atol=1e-12)
    np.testing.assert_allclose(shares["cost"], curve.cost, rtol=0, atol=1e-12)
    along = np.stack([shares["members"][name] for name in held.members], axis=1)
    np.testing.assert_allclose(along.sum(axis=1), 1)
    first = np.bincount(choose(held.scores, held.predicted_costs, 0.0), minlength=3) / len(held.scores)
    assert along[0].tolist() == first.tolist()
    assert along[-1].tolist() == [1.0, 0.0, 0.0]  # lambda = infinity: the cheapest
    assert band["cost"][-1] == pytest.approx(held.costs[:, 0].mean(), rel=1e-12)
    # Shares fit the points: with one cost per member the mean cost is their product.
    flat = held_out(hundredths=hundredths, scores=held.scores, costs=np.broadcast_to(COSTS, held.rewards.shape))
    shares = evaluate(flat, LambdaPolicy(0.0), SETTINGS)["shares"]
    along = np.stack([shares["members"][name] for name in held.members], axis=1)
    np.testing.assert_allclose(along @ COSTS, shares["cost"], rtol=0, atol=1e-12)


def test_every_interval_is_the_one_of_its_own_column():
    held, lambda_ = held_out(), 0.01
    found = evaluate(held, LambdaPolicy(lambda_), SETTINGS)
    bootstrap, rows = GroupBootstrap(held.groups, **SETTINGS), np.arange(len(held.rewards))

    def same(got, column):
        want = bootstrap.interval(column)
        assert [got["mean"], got["low"], got["high"]] == pytest.approx([want.mean, want.low, want.high], abs=1e-14)

    routing, base = found["routing"], held.rewards[:, 2]
    router = held.rewards[rows, choose(held.scores, COSTS, 0.0)]
    same(routing["router"]["gain_vs_best_single"], router - base)
    same(routing["oracle"]["gain_vs_best_single"], held.rewards.max(axis=1) - base)
    same(routing["random"]["gain_vs_best_single"], held.rewards.mean(axis=1) - base)
    same(routing["gain_vs_category_mean"], router - held.rewards[:, 2])
    same(routing["members"]["b"]["gain_vs_best_single"], held.rewards[:, 1] - base)
    share = bootstrap.ratios((router - base)[:, None], held.rewards.max(axis=1) - base)[0]
    assert routing["router"]["headroom_recovered"] == pytest.approx(share.mean)
    spread = routing["router"]["headroom_interval"]
    assert [spread["low"], spread["high"]] == pytest.approx([share.low, share.high])
    assert routing["oracle"]["headroom_recovered"] == 1
    band = found["interval"]
    same({"mean": band["reward"][0], "low": band["low"][0], "high": band["high"][0]}, router)  # lambda = 0

    policy, chosen = found["policy"], choose(held.scores, COSTS, lambda_)
    reward, cost = held.rewards[rows, chosen], held.costs[rows, chosen]
    single = int(np.argmax(held.train_mean_reward - lambda_ * COSTS))
    assert policy["best_single_member"] == held.members[single] == "b"
    assert policy["best_single_reward"] == pytest.approx(held.rewards[:, single].mean())
    assert policy["best_single_cost"] == pytest.approx(held.costs[:, single].mean())
    assert policy["utility"] == pytest.approx(reward.mean() - lambda_ * cost.mean())
    same(policy["gain_vs_best_single"], reward - held.rewards[:, single])
    utilities = held.rewards - lambda_ * held.costs
    same(policy["utility_gain_vs_best_single"], utilities[rows, chosen] - utilities[:, single])


def test_draws_too_many_to_keep_are_made_few_times(monkeypatch):
    """Making them is what the time of a report then goes to."""
    made = []
    monkeypatch.setattr(draws, "drawn_counts", lambda *of: made.append(of) or drawn_counts(*of))
    monkeypatch.setattr(draws, "MOST_KEPT_CELLS", 0)
    evaluate(held_out(), LambdaPolicy(0.01), SETTINGS)
    assert len(made) <= 5


def test_all_intervals_of_many_groups_come_from_one_set_of_draws(monkeypatch):
    """Validation, test, and the test prompts that some members alone have: all are resampled by as many bags."""
    monkeypatch.setattr(draws, "MOST_RESAMPLED", 20)
    test, validation = held_out(), held_out().take(np.arange(50))
    rewards = test.rewards.copy()
    rewards[5:15, 1] = np.nan
    count = np.isfinite(rewards).astype(int)
    partial = replace(test, targets=replace(test.targets, mean=rewards, count=count))
    kept_counts.cache_clear()
    chosen = choose_lambdas(validation, SETTINGS)
    found = evaluate(partial, LambdaPolicy(0.01), SETTINGS, chosen)
    assert found["overlaps"]["members"]["b"]["prompts"] == len(rewards) - 10
    assert kept_counts.cache_info().misses == 1
    assert kept_counts.cache_info().hits >= 4


@pytest.mark.parametrize("per_cell", [True, False])
def test_a_policy_that_reads_neighbours_decides_by_blocks_what_it_decides_at_once(monkeypatch, per_cell):
    monkeypatch.setattr("erp.evaluation.held_out.DECIDED_AT_ONCE", 64)
    rng, held = np.random.default_rng(3), held_out()
    rewards = rng.normal(size=(len(held.scores), 20, 3)) + rng.normal(size=(len(held.scores), 1, 3))
    asked = []
    rewarded = held.rewards.copy()
    rewarded[::7, 1] = np.nan
    held = replace(
        held, neighbours=lambda at: asked.append(len(at)) or rewards[at], targets=one_sample(rewarded),
        predicted_costs=held.costs if per_cell else COSTS,
    )  # fmt: skip
    policy = GuardedPolicy(1.0, 0.01)
    policy.calibrate(Calibration(held.members, "reward", held.train_mean_reward, held.train_mean_cost, held.observed))
    for part, rows in ((held, np.arange(len(rewarded))), (held.complete(), np.flatnonzero(held.targets.complete))):
        at_once = policy.choose(held.scores[rows], held.take(rows).predicted_costs, rewards[rows])
        assert (part.decided(policy).weights == at_once.weights).all()
        assert 0 < at_once.weights[:, held.single()].mean() < 1
    assert max(asked) == 64
    found = evaluate(held, policy, SETTINGS)
    assert found["policy"]["shares"] == dict(zip(held.members, at_once.weights.mean(axis=0), strict=True))


def test_at_infinity_utilities_have_no_number():
    policy = evaluate(held_out(), LambdaPolicy(math.inf), SETTINGS)["policy"]
    assert policy["utility"] is None
    assert policy["utility_gain_vs_best_single"] is None
    assert policy["best_single_member"] == "a"
    assert policy["gain_vs_best_single"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def test_what_a_constant_gets_stands_beside_what_the_router_gets():
    rewards = np.array([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [np.nan, 1.0, 2.0]])
    held = held_out(
        4, targets=one_sample(rewards), scores=np.where(np.isnan(rewards), 0.0, rewards), groups=np.arange(4),
        train_mean_reward=np.array([0.1, 0.2, 0.3]),
    )  # fmt: skip
    found = evaluate(held, LambdaPolicy(0.0), SETTINGS)["prediction"]
    assert (found["pairwise_order_accuracy"], found["top1_accuracy"]) == (1.0, 1.0)
    # a < b < c: all three pairs right, none, two, and the one that is left
    assert found["pairwise_order_accuracy_constant"] == pytest.approx(6 / 10)
    assert found["top1_accuracy_constant"] == pytest.approx(1 / 3)


def test_a_router_that_does_not_route_is_named():
    scores = np.broadcast_to([0.0, 1.0, 0.5], (300, 3)).copy()
    assert evaluate(held_out(scores=scores), LambdaPolicy(0.0), SETTINGS)["routing"]["router"]["constant_member"] == "b"
    scores[7, 0] = 2.0
    routing = evaluate(held_out(scores=scores), LambdaPolicy(0.0), SETTINGS)["routing"]
    assert routing["router"]["constant_member"] is None
    assert "constant_member" not in routing["oracle"]


def test_without_categories_and_without_headroom():
    same = np.broadcast_to(np.random.default_rng(0).normal(size=(300, 1)), (300, 3))
    found = evaluate(held_out(category_scores=None, targets=one_sample(same)), LambdaPolicy(0.0), SETTINGS)["routing"]
    assert found["category_mean"] is None
    assert found["gain_vs_category_mean"] is None
    assert found["router"]["headroom_recovered"] is None
