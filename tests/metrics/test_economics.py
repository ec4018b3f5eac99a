import numpy as np
import pytest

from erp.decisions.choice import Outcome, choose, one_hot, outcome
from erp.errors import ErpError
from erp.metrics.economics import BreakEven, break_even, collection_cost, route_shares, share_entropy


def flat(reward, cost):
    return Outcome(np.full(4, reward), np.full(4, cost), np.ones(1))


def test_entropy_worked_by_hand():
    entropy, evenness = share_entropy(np.array([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]]))
    assert entropy == pytest.approx([0, np.log(4), np.log(2)])
    assert evenness == pytest.approx([0, 1, 0.5])
    entropy, evenness = share_entropy(np.ones(1))
    assert entropy == 0
    assert np.isnan(evenness)
    for bad in (np.array([0.5, 0.4]), np.array([1.5, -0.5]), np.array([np.nan, 1.0]), np.ones(0)):
        with pytest.raises(ErpError, match="shares: "):
            share_entropy(bad)


@pytest.mark.parametrize("per_prompt", [False, True])
def test_route_shares_are_those_of_the_choices_at_each_lambda(per_prompt):
    rng = np.random.default_rng(0)
    scores, costs = rng.normal(size=(25, 4)), rng.uniform(size=(25, 4)) + np.arange(4)
    seen = costs if per_prompt else costs.mean(axis=0)
    got = route_shares(scores, seen, costs, points=1000)
    assert got.lambdas[0] == 0
    between = np.append((got.lambdas[1:] + got.lambdas[:-1]) / 2, np.inf)  # breakpoints themselves are ties
    for p, lambda_ in enumerate(between):
        made = outcome(one_hot(choose(scores, seen, lambda_), 4), scores, costs)
        assert got.shares[p] == pytest.approx(made.shares)
        assert got.cost[p] == pytest.approx(made.mean_cost)
    assert got.dearest == pytest.approx(got.shares[:, 3])
    assert got.evenness == pytest.approx(got.entropy / np.log(4))
    thin = route_shares(scores, seen, costs, points=5)
    assert thin.shares.shape == (5, 4)
    assert (thin.shares[[0, -1]] == got.shares[[0, -1]]).all()


def test_a_router_that_always_prefers_the_dearest_is_seen_to_collapse():
    costs = np.array([0.0, 1.0, 3.0])  # cost 0 too
    scores = np.array([[0.0, 1.0, 3.0 + i] for i in range(10)])
    got = route_shares(scores, costs, costs)
    assert (got.dearest[0], got.dearest[-1]) == (1.0, 0.0)
    assert (got.cost[0], got.cost[-1]) == (3.0, 0.0)
    assert (np.diff(got.dearest) <= 0).all()


def test_route_shares_with_equal_costs_or_one_member():
    equal = route_shares(np.arange(6.0).reshape(3, 2), np.ones(2), np.ones(2))
    assert np.isnan(equal.dearest).all()
    assert equal.shares.tolist() == [[0.0, 1.0]]
    two = route_shares(np.array([[0.0, 2.0, 1.0], [0.0, 1.0, 2.0]]), np.array([0, 1.0, 1.0]), np.array([0, 1.0, 1.0]))
    assert two.dearest[0] == 1  # two dearest members: their shares together
    one = route_shares(np.ones((3, 1)), np.ones(1), np.ones(1))
    assert one.shares.tolist() == [[1.0]]
    assert one.entropy.tolist() == [0.0]
    assert np.isnan([one.evenness, one.dearest]).all()


def test_route_shares_refuse_scores_that_are_not_finite():
    with pytest.raises(ErpError, match="scores: not finite at row 1, member 0"):
        route_shares(np.array([[0.0, 1.0], [np.nan, 1.0]]), np.arange(2.0), np.arange(2.0))
    with pytest.raises(ErpError, match="costs = array of shape"):
        route_shares(np.zeros((2, 2)), np.arange(2.0), np.arange(3.0))
    with pytest.raises(ErpError, match="points = 1"):
        route_shares(np.zeros((2, 2)), np.arange(2.0), np.arange(2.0), points=1)


def test_collection_cost_worked_by_hand():
    costs = np.array([[1.0, 10.0], [2.0, np.nan]])
    assert collection_cost(costs, np.array([[2, 1], [3, 0]])) == 18.0
    assert collection_cost(costs[:, :1], 32) == 96.0
    assert collection_cost(np.zeros((2, 2)), 4) == 0.0
    for samples in (-1, np.ones(2, dtype=int), np.array([[1, 1], [-1, 0]])):
        with pytest.raises(ErpError, match="samples = "):
            collection_cost(costs, samples)
    for bad in (costs, -np.ones((2, 2))):
        with pytest.raises(ErpError, match="not finite or negative in a sampled cell"):
            collection_cost(bad, 1)


def test_break_even_worked_by_hand():
    single = flat(0.5, 5.0)
    assert break_even(flat(0.6, 2.0), single, 100.0, 1.0) == BreakEven(3.0, 2.0, 50.0, None)
    assert break_even(flat(0.5, 2.0), single, 101.0, 1.0).prompts == 51.0
    assert break_even(flat(0.5, 4.9), single, 0.3, 0.0).prompts == 3.0  # .3 / .1: neither 2 nor 4
    assert break_even(flat(0.5, 2.0), single, 0.0, 1.0).prompts == 0.0
    for collection in (1.0, 7.0, 1000.0):
        got = break_even(flat(0.5, 4.3), single, collection, 0.1)
        assert got.prompts * got.net_saving >= collection * (1 - 1e-9)
        assert (got.prompts - 1) * got.net_saving < collection


def test_break_even_that_never_comes_says_why():
    single = flat(0.5, 5.0)
    cheap = break_even(flat(0.4, 1.0), single, 100.0, 0.0)
    assert cheap == BreakEven(None, None, None, "earns less than the best single: its lower cost is not a saving")
    assert break_even(single, single, 100.0, 0.0) == BreakEven(0.0, 0.0, np.inf, "saves nothing")
    assert break_even(flat(0.9, 6.0), single, 0.0, 0.0).prompts == np.inf  # earns more, at a higher cost
    own = break_even(flat(0.5, 4.0), single, 100.0, 1.0)
    assert own == BreakEven(1.0, 0.0, np.inf, "costs as much per prompt as it saves")
    assert break_even(single, single, 0.0, 0.0).prompts == 0.0  # nothing to pay


def test_break_even_refuses_what_is_not_a_cost():
    single = flat(0.5, 5.0)
    for costs in ((-1.0, 0.0), (np.nan, 0.0), (1.0, np.inf), (1.0, -1.0)):
        with pytest.raises(ErpError, match="collection, router cost = "):
            break_even(single, single, *costs)
    with pytest.raises(ErpError, match="reward: not finite"):
        break_even(flat(np.nan, 1.0), single, 1.0, 1.0)
