import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.decisions.choice import Choice, choose, constant, one_hot, outcome, uniform
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError

INF = float("inf")


def rule(scores, costs, lambda_):
    """Best utility, then cheapest, then first; at infinity cheapest, then best score, then first."""
    key = (
        (lambda m: (costs[m], -scores[m], m))
        if lambda_ == INF
        else (lambda m: (-(scores[m] - lambda_ * costs[m]), costs[m], m))
    )
    return min(range(len(scores)), key=key)


@st.composite
def problems(draw):
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    # Small integers: ties of every kind are common, and floating point is exact.
    return rng.integers(-2, 3, (n, m)).astype(float), rng.integers(0, 3, (n, m)).astype(float)


@settings(max_examples=200, deadline=None)
@given(problems(), st.sampled_from([0.0, 0.5, 1.0, 2.0, INF]))
def test_choose_is_the_rule_in_both_cost_shapes(problem, lambda_):
    scores, costs = problem
    assert choose(scores, costs, lambda_).tolist() == [rule(s, c, lambda_) for s, c in zip(scores, costs, strict=True)]
    assert choose(scores, costs[0], lambda_).tolist() == [rule(s, costs[0], lambda_) for s in scores]


def test_choose_over_more_rows_than_one_block():
    rng = np.random.default_rng(0)
    scores, costs = rng.normal(size=(40_000, 3)), rng.uniform(size=(40_000, 3))
    assert (choose(scores, costs[0], 1.0) == (scores - costs[0]).argmax(1)).all()
    assert (choose(scores, costs, 1.0) == (scores - costs).argmax(1)).all()


def test_choose_permutes_with_the_members():
    rng = np.random.default_rng(1)
    scores, costs = rng.normal(size=(50, 4)), rng.uniform(size=4)
    order = rng.permutation(4)
    for lambda_ in (0.0, 0.7, INF):
        assert (order[choose(scores[:, order], costs[order], lambda_)] == choose(scores, costs, lambda_)).all()


def test_ties_at_lambda_zero_go_to_the_cheapest_then_pool_order():
    assert choose(np.array([[1.0, 1.0, 1.0]]), np.array([3.0, 2.0, 2.0]), 0.0).tolist() == [1]
    assert choose(np.array([[1.0, 1.0]]), np.array([0.0, 0.0]), 0.0).tolist() == [0]


def test_lambda_infinite_with_a_free_member():
    # infinity * 0 would be NaN
    assert choose(np.array([[5.0, 1.0]]), np.array([1.0, 0.0]), INF).tolist() == [1]
    assert choose(np.array([[5.0, 1.0]]), np.array([[1.0, 0.0]]), INF).tolist() == [1]


def test_one_member_and_one_prompt():
    assert choose(np.array([[-3.0]]), np.array([2.0]), 1.0).tolist() == [0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [1, 20_000])
def test_scores_that_are_not_finite_are_named_by_position(bad, row):
    scores = np.zeros((20_001, 3))
    scores[row, 2] = bad
    with pytest.raises(ErpError, match=rf"scores: not finite at row {row}, member 2 is {bad}"):
        choose(scores, np.ones(3), 0.0)


def test_bad_costs_lambdas_and_shapes_are_refused():
    scores = np.zeros((2, 3))
    with pytest.raises(ErpError, match="costs: not finite at member 1 is nan"):
        choose(scores, np.array([0.0, np.nan, 1.0]), 0.0)
    with pytest.raises(ErpError, match=r"costs = array of shape \(2,\)"):
        choose(scores, np.zeros(2), 0.0)
    with pytest.raises(ErpError, match=r"scores = array of shape \(0, 3\)"):
        choose(np.zeros((0, 3)), np.zeros(3), 0.0)
    for lambda_ in (-1.0, float("nan")):
        with pytest.raises(ErpError, match="lambda = "):
            choose(scores, np.zeros(3), lambda_)
        with pytest.raises(ErpError, match="lambda = "):
            LambdaPolicy(lambda_)


def test_policy_is_the_rule_as_a_choice():
    scores, costs = np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([1.0, 3.0])
    assert LambdaPolicy().choose(scores, costs).weights.tolist() == [[0, 1], [1, 0]]
    assert LambdaPolicy(INF).choose(scores, costs).weights.tolist() == [[1, 0], [1, 0]]


def test_outcome_of_constants_random_and_mixtures():
    rewards, costs = np.array([[1.0, 3.0], [5.0, 0.0]]), np.array([[1.0, 2.0], [1.0, 4.0]])
    got = outcome(constant(1, 2, 2), rewards, costs)
    assert (got.mean_reward, got.mean_cost, got.shares.tolist()) == (1.5, 3.0, [0.0, 1.0])
    got = outcome(uniform(2, 2), rewards, costs)
    assert got.reward.tolist() == [2.0, 2.5]
    assert got.cost.tolist() == [1.5, 2.5]
    assert got.shares.tolist() == [0.5, 0.5]
    got = outcome(Choice(np.array([[0.25, 0.75], [1.0, 0.0]])), rewards, np.array([1.0, 2.0]))
    assert got.reward.tolist() == [2.5, 5.0]
    assert got.cost.tolist() == [1.75, 1.0]


def test_a_missing_reward_matters_only_where_it_has_weight():
    rewards = np.array([[np.nan, 3.0], [np.nan, 1.0]])
    got = outcome(one_hot(np.array([1, 0]), 2), rewards, np.ones((2, 2)))
    assert got.reward[0] == 3.0
    assert np.isnan(got.reward[1])


def test_a_choice_is_row_stochastic():
    for weights in ([[0.5, 0.4]], [[1.5, -0.5]], [[np.nan, 1.0]]):
        with pytest.raises(ErpError, match="choice weights"):
            Choice(np.array(weights))
    with pytest.raises(ErpError, match="do not fit"):
        outcome(uniform(2, 2), np.zeros((2, 3)), np.zeros((2, 3)))
