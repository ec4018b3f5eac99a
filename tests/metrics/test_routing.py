import numpy as np
import pytest

from erp.decisions.choice import constant, outcome, uniform
from erp.decisions.curve import exact_curve
from erp.decisions.references import oracle
from erp.errors import ErpError
from erp.metrics.routing import audc, clip_curve, cost_range, regret

COST, REWARD = np.array([1.0, 2.0, 5.0]), np.array([0.2, 0.6, 0.4])


def area(cost, reward):
    return audc(np.array(cost), np.array(reward), COST, REWARD)


def test_cost_range_is_of_the_members_means():
    assert cost_range(np.array([[1.0, 9.0], [3.0, 1.0]])) == (2.0, 5.0)


def test_audc_worked_by_hand():
    # From 1 to 2 at the cheapest member's .2, from 2 to 5 at .6: (.2 * 1 + .6 * 3) / 4.
    assert area([2.0], [0.6]) == pytest.approx(0.5)
    # The dearest member reaches its reward only at the right end: the start counts throughout.
    assert area([5.0], [0.4]) == pytest.approx(0.2)
    assert area([1.0], [0.2]) == pytest.approx(0.2)
    # The running maximum: the fall from .6 to .3 at cost 3 does not count; order of points does not matter.
    assert area([4.0, 2.0, 3.0], [0.8, 0.6, 0.3]) == pytest.approx((0.2 + 0.6 * 2 + 0.8) / 4)


def test_audc_is_clipped_to_the_pools_range():
    assert area([5.5], [9.0]) == area([1.0], [0.2])
    assert area([0.5], [0.5]) == pytest.approx(0.5)  # cheaper than any member: held from the left end
    assert area([0.5], [0.1]) == pytest.approx(0.2)


def test_audc_with_points_of_equal_cost_takes_the_best():
    assert area([2.0, 2.0], [0.6, 0.1]) == area([2.0, 2.0], [0.1, 0.6]) == area([2.0], [0.6])


def test_audc_equals_a_riemann_sum():
    rng = np.random.default_rng(0)
    cost, reward = rng.uniform(0.5, 6, 30), rng.normal(size=30)
    grid = 1 + 4 * (np.arange(200_000) + 0.5) / 200_000
    steps = [max([0.2, *reward[cost <= edge]]) for edge in np.sort(np.append(cost, 0))]
    at = np.searchsorted(np.sort(cost), grid, side="right")
    assert area(cost, reward) == pytest.approx(np.array(steps)[at].mean(), abs=1e-4)


def test_audc_of_a_pool_that_costs_the_same_has_no_range():
    assert np.isnan(audc(np.ones(1), np.ones(1), np.ones(3), np.arange(3.0)))


def test_audc_does_not_depend_on_pool_order_where_the_cheapest_tie():
    cost, reward = np.array([1.0, 1.0, 2.0]), np.array([0.1, 0.3, 0.5])
    order = [1, 0, 2]
    assert audc(cost[2:], reward[2:], cost, reward) == audc(cost[2:], reward[2:], cost[order], reward[order]) == 0.3


def test_the_oracles_curve_has_at_least_every_members_area():
    rng = np.random.default_rng(1)
    rewards, costs = rng.normal(size=(100, 4)), rng.uniform(size=(100, 4)) + np.arange(4)
    means = costs.mean(axis=0), rewards.mean(axis=0)
    best = exact_curve(rewards, means[0], rewards, costs)
    oracles = audc(best.cost, best.reward, *means)
    for m in range(4):
        assert oracles >= audc(means[0][[m]], means[1][[m]], *means)


def test_regret_worked_by_hand():
    rewards, costs = np.array([[1.0, 3.0], [2.0, 0.0]]), np.array([1.0, 2.0])
    assert regret(constant(0, 2, 2), rewards, costs, 0.0) == 1.0
    assert regret(constant(0, 2, 2), rewards, costs, 1.5) == pytest.approx((0.5 + 0) / 2)
    assert regret(uniform(2, 2), rewards, costs, 0.0) == 1.0
    assert regret(oracle(rewards, costs, 1.5), rewards, costs, 1.5) == 0.0
    for lambda_ in (float("inf"), float("nan"), -1.0):
        with pytest.raises(ErpError, match="lambda = "):
            regret(uniform(2, 2), rewards, costs, lambda_)


def test_the_part_of_a_curve_inside_the_pools_range():
    cost, reward, bounds = clip_curve(np.array([5.0, 0.5, 5.1, 3.0]), np.array([1.0, 2.0, 3.0, 4.0]), COST, REWARD)
    assert bounds == (1.0, 5.0)
    assert cost.tolist() == [1.0, 5.0, 1.0, 3.0]  # the start first; 5 is inside, .5 counts as 1
    assert reward.tolist() == [0.2, 1.0, 2.0, 4.0]
    assert clip_curve(np.array([9.0]), np.ones(1), COST, REWARD)[0].tolist() == [1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_audc_refuses_what_it_would_have_to_ignore(bad):
    fine, broken = np.ones(3), np.array([1.0, bad, 1.0])
    for curve in ((fine, broken), (broken, fine)):
        with pytest.raises(ErpError, match=r"curve: .*not finite"):
            audc(*curve, COST, REWARD)
    for members in ((COST, broken), (broken, REWARD)):
        with pytest.raises(ErpError, match=r"members: .*not finite"):
            audc(fine, fine, *members)
    with pytest.raises(ErpError, match="two equal lengths"):
        audc(fine, np.ones(2), COST, REWARD)
    with pytest.raises(ErpError, match="two equal lengths"):
        audc(np.ones(0), np.ones(0), COST, REWARD)


def test_the_oracle_takes_the_highest_of_graded_rewards_not_any_above_zero():
    # An oracle that counts every reward above 0 as right would take the cheapest, and earn .1, .2 and -1.
    rewards = np.array([[0.1, 0.7, 0.6], [0.2, 0.3, 0.9], [-1.0, -3.0, -0.5]])
    costs = np.array([1.0, 2.0, 3.0])
    choice = oracle(rewards, costs)
    assert choice.weights.argmax(axis=1).tolist() == [1, 2, 2]
    assert outcome(choice, rewards, np.broadcast_to(costs, (3, 3))).reward.tolist() == [0.7, 0.9, -0.5]
    assert oracle(rewards, costs, 0.6).weights.argmax(axis=1).tolist() == [0, 0, 0]
    assert oracle(rewards, costs, 0.3).weights.argmax(axis=1).tolist() == [1, 2, 0]
