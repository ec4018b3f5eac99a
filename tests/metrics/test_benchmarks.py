import numpy as np
import pytest
from scipy.spatial import ConvexHull

from erp.decisions.choice import Outcome, choose, constant, one_hot, outcome, uniform
from erp.decisions.curve import exact_curve
from erp.decisions.references import best_single
from erp.errors import ErpError
from erp.metrics.benchmarks import Gain, Pareto, aiq, apgr, cpt, gain, pareto
from erp.metrics.routing import audc

COST, REWARD = np.array([1.0, 2.0, 5.0]), np.array([0.2, 0.6, 0.4])
RANDOM = np.random.default_rng(0).uniform(size=(100, 3))


def area(cost, reward):
    return aiq(np.array(cost), np.array(reward), COST, REWARD)


def test_aiq_worked_by_hand():
    # A ramp from .2 at cost 1 to .6 at 2, then flat to 5: (.4 + 3 * .6) / 4.
    assert area([2.0], [0.6]) == pytest.approx(0.55)
    assert area([5.0], [0.4]) == pytest.approx(0.3)  # one ramp
    assert area([1.0], [0.2]) == pytest.approx(0.2)
    # (2, .3) lies under the line from (1, .2) to (3, .8); the fall to .5 at 4 does not count.
    assert area([4.0, 2.0, 3.0], [0.5, 0.3, 0.8]) == pytest.approx((2 * 0.5 + 2 * 0.8) / 4)


def test_aiq_is_clipped_to_the_pools_range_and_starts_at_its_cheapest():
    assert area([5.5], [9.0]) == area([1.0], [0.2]) == pytest.approx(0.2)
    assert area([0.5], [0.5]) == pytest.approx(0.5)
    assert area([0.5], [0.1]) == pytest.approx(0.2)
    cost, reward = np.array([0.0, 0.0, 2.0]), np.array([0.1, 0.3, 0.5])  # cost 0, and two cheapest: the best starts
    assert aiq(cost[2:], reward[2:], cost, reward) == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(20))
def test_aiq_is_the_area_of_scipys_hull(seed):
    rng = np.random.default_rng(seed)
    cost, reward = rng.uniform(0.5, 6, 12), rng.normal(size=12)
    inside = cost <= 5
    x, y = np.append(np.maximum(cost[inside], 1), 1), np.append(reward[inside], 0.2)
    floor = y.min() - 1
    closed = np.stack([np.append(x, [5, 1, 5]), np.append(y, [y.max(), floor, floor])], axis=1)
    assert area(cost, reward) == pytest.approx(ConvexHull(closed).volume / 4 + floor)
    assert area(cost, reward) == area(cost[::-1], reward[::-1])
    assert area(cost, reward) >= audc(cost, reward, COST, REWARD)


def test_aiq_needs_a_range():
    assert np.isnan(aiq(np.ones(1), np.ones(1), np.ones(3), np.arange(3.0)))  # equal costs
    assert np.isnan(aiq(np.ones(1), np.ones(1), np.ones(1), np.ones(1)))  # one member


def test_no_constant_beats_a_router_whose_curve_contains_it():
    rng = np.random.default_rng(1)
    for _ in range(20):
        cost, reward = rng.uniform(size=4), rng.normal(size=4)
        own_cost, own_reward = np.append(rng.uniform(size=5), cost), np.append(rng.normal(size=5), reward)
        for metric in (aiq, audc):
            routers = metric(own_cost, own_reward, cost, reward)
            constants = [metric(cost[[m]], reward[[m]], cost, reward) for m in range(4)]
            assert routers >= max(constants) - 1e-12


def test_a_joining_router_moves_no_aiq_but_the_distances():
    own, rival = (np.array([2.0, 4.0]), np.array([0.5, 0.7])), (np.array([0.1, 9.0]), np.array([0.9, 99.0]))
    alone = {name: aiq(*curve, COST, REWARD) for name, curve in {"own": own}.items()}
    beside = {name: aiq(*curve, COST, REWARD) for name, curve in {"own": own, "rival": rival}.items()}
    assert alone["own"] == beside["own"]
    assert pareto({"own": own}, COST, REWARD)["own"].distance == 0
    assert pareto({"own": own, "rival": rival}, COST, REWARD)["own"].distance > 0


def test_apgr_and_cpt_worked_by_hand():
    share, reward = np.array([0.5]), np.array([0.8])  # weak .2, strong 1.0
    assert apgr(share, reward, 0.2, 1.0) == pytest.approx((0.5 * 0.5 + 0.5 * 0.9 - 0.2) / 0.8)
    assert cpt(share, reward, 0.2, 1.0, 0.5) == pytest.approx(1 / 3)  # .6, two thirds up the first piece
    assert cpt(share, reward, 0.2, 1.0, 0.75) == pytest.approx(0.5)
    assert cpt(share, reward, 0.2, 1.0, 0.0) == 0.0
    assert cpt(share, reward, 0.2, 1.0, 1.0) == 1.0
    assert np.isnan(cpt(share, reward, 0.2, 1.0, 1.1))


def test_random_routing_recovers_half_the_gap():
    rewards, costs = np.random.default_rng(2).uniform(size=(40, 2)) + np.arange(2), np.array([0.0, 1.0])
    weak, strong = rewards.mean(axis=0)
    coin = outcome(uniform(40, 2), rewards, costs)
    assert apgr(np.array([coin.mean_cost]), np.array([coin.mean_reward]), weak, strong) == pytest.approx(0.5)
    grid = np.linspace(0, 1, 7)
    line = weak + grid * (strong - weak)
    assert apgr(grid, line, weak, strong) == pytest.approx(0.5)
    assert [cpt(grid, line, weak, strong, x) for x in (0.2, 0.5, 0.8)] == pytest.approx([0.2, 0.5, 0.8])


def test_apgr_counts_a_fall_and_cpt_stops_at_the_first_crossing():
    share, reward = np.array([0.75, 0.25, 0.5]), np.array([0.5, 1.0, 0.0])  # weak 0, strong 1
    assert apgr(share, reward, 0.0, 1.0) == pytest.approx(0.25 * (0.5 + 0.5 + 0.25 + 0.75))
    assert cpt(share, reward, 0.0, 1.0, 0.5) == pytest.approx(0.125)
    assert cpt(share, reward, 0.0, 1.0, 1.0) == pytest.approx(0.25)
    # An over-shoot above the strong member's reward is kept too; equal shares count as their mean.
    assert cpt(share, reward + 1, 0.0, 1.0, 1.5) == pytest.approx(0.25 * 1.5 / 2)
    assert apgr(np.array([0.5, 0.5]), np.array([0.2, 0.8]), 0.0, 1.0) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(10))
def test_cpt_is_the_first_point_of_a_fine_walk(seed):
    rng = np.random.default_rng(seed)
    share, reward = rng.uniform(size=6), rng.normal(0.5, 0.5, 6)
    order = np.argsort(share)
    fine = np.linspace(0, 1, 200_001)
    walk = np.maximum.accumulate(np.interp(fine, [0, *share[order], 1], [0, *reward[order], 1]))
    for x in (0.3, 0.8, 1.0):
        assert cpt(share, reward, 0.0, 1.0, x) == pytest.approx(fine[np.argmax(walk >= x - 1e-12)], abs=1e-4)


def test_rounding_does_not_hide_the_strong_member():
    above = np.nextafter(1.0, 2.0)
    assert cpt(np.array([0.5, above]), np.array([0.2, 1 - 1e-12]), 0.0, 1.0, 1.0) == 1.0
    assert cpt(np.array([above]), np.array([2.0]), 0.0, 1.0, 1.5) == 1.0


def test_shares_of_a_pair_are_the_costs_of_its_exact_curve():
    rng = np.random.default_rng(3)
    rewards, price = rng.uniform([0, 0.5], [1, 1.5], (30, 2)), np.array([0.0, 1.0])
    curve = exact_curve(rewards, price, rewards, price)  # scores that know the rewards
    assert apgr(curve.cost, curve.reward, *rewards.mean(axis=0)) > 0.6
    assert curve.cost[-1] == 0


def test_no_gap_no_share_of_it():
    for strong in (0.2, 0.1):
        assert np.isnan(apgr(np.array([0.5]), np.array([0.3]), 0.2, strong))
        assert np.isnan(cpt(np.array([0.5]), np.array([0.3]), 0.2, strong, 0.5))


def test_gain_worked_by_hand():
    single = Outcome(np.array([1.0, 0.0]), np.array([4.0, 4.0]), np.array([0.0, 1.0]))
    router = Outcome(np.array([1.0, 0.5]), np.array([4.0, 1.0]), np.array([0.5, 0.5]))
    assert gain(router, single) == Gain(0.25, 1.5, 0.5, 0.375)
    assert gain(single, router) == Gain(-0.25, None, pytest.approx(-1 / 3), None)


def test_gain_has_ratios_only_on_scales_that_have_a_zero():
    free = Outcome(np.array([1.0, -1.0]), np.zeros(2), np.ones(1))
    assert gain(free, free) == Gain(0.0, 0.0, None, None)
    wrong = Outcome(np.zeros(2), np.ones(2), np.ones(1))
    assert gain(free, wrong) == Gain(0.0, 1.0, None, 1.0)  # a reward below 0
    assert gain(wrong, wrong) == Gain(0.0, 0.0, None, 0.0)  # a mean reward of 0


@pytest.mark.parametrize("lambda_", [0.0, 0.7, float("inf")])
def test_a_router_equal_to_the_best_single_gains_exactly_nothing(lambda_):
    rewards, costs = RANDOM, np.array([0.1, 0.2, 0.3])
    best = best_single(rewards.mean(axis=0), costs, lambda_)
    single = outcome(constant(best, 100, 3), rewards, costs)
    flat = np.broadcast_to(rewards.mean(axis=0), (100, 3))  # scores that know no prompt from another
    router = outcome(one_hot(choose(flat, costs, lambda_), 3), rewards, costs)
    assert gain(router, single) == Gain(0.0, 0.0, 0.0, 0.0)


def test_gain_refuses_what_is_missing_or_not_paired():
    whole = outcome(constant(0, 3, 1), np.ones((3, 1)), np.ones(1))
    for reward, message in ((np.array([1.0, np.nan, 1.0]), "not finite"), (np.ones(2), "not pairs")):
        with pytest.raises(ErpError, match=message):
            gain(Outcome(reward, np.ones(3), np.ones(1)), whole)


def test_pareto_worked_by_hand():
    # Ranges of the pool: cost 4, reward .4. (3, .4) is half a cost range right of (1, .4), nearest of the frontier.
    curves = {
        "good": (np.array([1.0, 3.0]), np.array([0.4, 0.8])),
        "bad": (np.array([3.0, 1.0]), np.array([0.4, 0.4])),
        "worse": (np.array([1.0]), np.array([0.2])),
    }
    got = pareto(curves, COST, REWARD)
    assert got["good"] == Pareto(0.0, 2, ("bad",))
    assert got["bad"] == Pareto(pytest.approx(0.25), 1, ("good",))
    assert got["worse"] == Pareto(pytest.approx(0.5), 0, ("good", "bad"))


@pytest.mark.parametrize("seed", range(10))
def test_pareto_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    curves = {name: tuple(rng.integers(0, 8, (2, 6)) / 4.0) for name in "abc"}  # a grid: ties and duplicates
    every = np.concatenate([np.stack(curve, axis=1) for curve in curves.values()])
    front = [p for p in every if not any(q[0] <= p[0] and q[1] >= p[1] and (q != p).any() for q in every)]
    got = pareto(curves, COST, REWARD)
    for name, curve in curves.items():
        away = [min(np.hypot((c - f[0]) / 4, (r - f[1]) / 0.4) for f in front) for c, r in zip(*curve, strict=True)]
        assert got[name].distance == pytest.approx(np.mean(away))
        assert got[name].on_frontier == sum(d == 0 for d in away)
        assert set(got[name].rivals) == {other for other in got if other != name and got[other].on_frontier}


def test_pareto_without_a_scale_still_names_the_frontier():
    curves = {"a": (np.ones(1), np.ones(1)), "b": (np.ones(1), np.zeros(1))}
    for members in ((np.ones(2), np.arange(2.0)), (np.arange(2.0), np.ones(2)), (np.ones(1), np.ones(1))):
        got = pareto(curves, *members)
        assert np.isnan(got["a"].distance)
        assert (got["a"].on_frontier, got["b"].on_frontier, got["b"].rivals) == (1, 0, ("a",))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    cost, reward = np.array([0.5, 0.5]), np.array([0.5, bad])
    with pytest.raises(ErpError, match="not finite"):
        aiq(cost, reward, COST, REWARD)
    with pytest.raises(ErpError, match=r"members: .* not finite"):
        aiq(cost, cost, cost, reward)
    with pytest.raises(ErpError, match="not finite"):
        apgr(cost, reward, 0.0, 1.0)
    with pytest.raises(ErpError, match="not finite"):
        apgr(cost, cost, 0.0, bad)
    with pytest.raises(ErpError, match=r"curve of b: .*not finite"):
        pareto({"a": (cost, cost), "b": (cost, reward)}, COST, REWARD)
    with pytest.raises(ErpError, match="x = "):
        cpt(cost, cost, 0.0, 1.0, bad)


def test_shapes_and_shares_are_refused_by_name():
    with pytest.raises(ErpError, match="two equal lengths"):
        aiq(np.ones(2), np.ones(3), COST, REWARD)
    with pytest.raises(ErpError, match="two equal lengths"):
        aiq(np.ones(0), np.ones(0), COST, REWARD)
    with pytest.raises(ErpError, match="not shares; 0 to 1"):
        apgr(np.array([20.0]), np.ones(1), 0.0, 1.0)
    with pytest.raises(ErpError, match=r"x = -0\.1"):
        cpt(np.ones(1), np.ones(1), 0.0, 1.0, -0.1)
    with pytest.raises(ErpError, match="curves = nothing"):
        pareto({}, COST, REWARD)
