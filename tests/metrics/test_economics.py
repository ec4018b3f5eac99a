import numpy as np
import pytest

from erp.decisions.choice import Outcome
from erp.decisions.curve import exact_curve, members_along
from erp.errors import ErpError
from erp.metrics.economics import BreakEven, break_even, collection_cost, share_entropy, share_to_dearest


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


def test_share_to_the_dearest_along_a_curve():
    scores = np.array([[0.0, 1.0, 3.0 + i] for i in range(10)])
    costs = np.array([0.0, 1.0, 3.0])  # cost 0 too
    lambdas = np.append(exact_curve(scores, costs, scores, costs).lambdas, np.inf)
    members = members_along(scores, costs, lambdas)
    shares = np.stack([(members == m).mean(axis=1) for m in range(3)], axis=1)
    dearest = share_to_dearest(shares, costs)  # a router that always prefers the dearest is seen to collapse
    assert (dearest[0], dearest[-1]) == (1.0, 0.0)
    assert (np.diff(dearest) <= 0).all()
    assert dearest.tolist() == shares[:, 2].tolist()
    assert share_to_dearest(np.array([0.5, 0.2, 0.3]), np.array([0.0, 1.0, 1.0])) == pytest.approx(0.5)  # two dearest
    assert np.isnan(share_to_dearest(shares, np.ones(3))).all()


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
