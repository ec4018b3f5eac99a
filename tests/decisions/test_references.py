import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from erp.decisions.choice import Choice, choose, one_hot, outcome, uniform
from erp.decisions.references import best_constant, best_single, category_oracle, oracle
from erp.errors import ErpError

INF = float("inf")


def names(*values):
    return np.array(values, dtype=object)


def test_best_single_with_ties_prices_and_missing_means():
    cost = np.array([3.0, 1.0, 1.0])
    assert best_single(np.array([1.0, 1.0, 1.0]), cost) == 1
    assert best_single(np.array([2.0, 1.0, 1.0]), cost) == 0
    assert best_single(np.array([2.0, 1.0, 1.0]), cost, 1.0) == 1
    assert best_single(np.array([np.nan, 0.0, 1.0]), cost) == 2
    assert best_single(np.array([9.0, np.nan, 1.0]), cost, INF) == 2
    with pytest.raises(ErpError, match="NaN for every member"):
        best_single(np.full(3, np.nan), cost)


@pytest.mark.parametrize("lambda_", [0.0, 0.3, 2.0])
def test_nothing_beats_the_oracle_on_its_own_table(lambda_):
    rng = np.random.default_rng(0)
    rewards, costs = rng.normal(size=(80, 4)), rng.uniform(size=(80, 4))

    def utility(choice: Choice):
        got = outcome(choice, rewards, costs)
        return got.reward - lambda_ * got.cost

    best = utility(oracle(rewards, costs, lambda_))
    rivals = [
        uniform(80, 4),
        Choice(rng.dirichlet(np.ones(4), 80)),
        one_hot(choose(rng.normal(size=(80, 4)), costs, 1.0), 4),
    ]
    for rival in rivals:
        assert (best >= utility(rival) - 1e-12).all()


def test_oracle_ties_go_to_the_cheapest_and_missing_rewards_are_refused():
    assert oracle(np.ones((1, 3)), np.array([[2.0, 1.0, 1.0]])).weights.tolist() == [[0, 1, 0]]
    with pytest.raises(ErpError, match="rewards: not finite at row 0, member 1"):
        oracle(np.array([[1.0, np.nan]]), np.ones(2))


def test_category_oracle_equals_pandas_and_keeps_prompts_without_a_category_apart():
    rng = np.random.default_rng(1)
    rewards = rng.normal(size=(60, 3))
    categories = rng.choice(names("a", "b", "c"), 60)
    best = pd.DataFrame(rewards).groupby(categories).mean().idxmax(axis=1)
    assert (category_oracle(rewards, categories).weights.argmax(1) == best[categories].to_numpy()).all()
    got = category_oracle(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), names("a", None, float("nan")))
    assert got.weights.tolist() == [[1, 0], [0, 1], [0, 1]]
    with pytest.raises(ErpError, match="categories = 1 names"):
        category_oracle(rewards, names("a"))


@pytest.mark.parametrize("seed", range(20))
def test_best_constant_is_the_linear_programme_s(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(1, 9))
    reward, cost = rng.normal(size=m), rng.uniform(0.1, 3, m)
    if seed % 2:
        reward, cost = reward.round(), cost.round(0) + 1  # ties
    for budget in (cost.min(), *rng.uniform(cost.min(), cost.max(), 5), cost.max(), 9.0):
        weights = best_constant(reward, cost, budget)
        judge = linprog(-reward, A_ub=cost[None], b_ub=[budget], A_eq=np.ones((1, m)), b_eq=[1])
        assert weights @ reward == pytest.approx(-judge.fun, abs=1e-9)
        assert weights @ cost <= budget + 1e-9
        assert weights.sum() == pytest.approx(1, abs=1e-15)
        assert (weights >= 0).all()
        assert (weights > 0).sum() <= 2


def test_best_constant_by_hand():
    reward, cost = np.array([0.0, 9.0, 1.0, 4.0]), np.array([1.0, 9.0, 2.0, 3.0])
    assert best_constant(reward, cost, 2.0).tolist() == [0.5, 0, 0, 0.5]  # above the member at 2 itself
    assert best_constant(reward, cost, 6.0).tolist() == [0, 0.5, 0, 0.5]
    assert best_constant(reward, cost, INF).tolist() == [0, 1, 0, 0]
    assert best_constant(-reward, cost, 5.0).tolist() == [1, 0, 0, 0]  # it need not spend the budget


def test_best_constant_below_the_cheapest_is_the_best_of_the_cheapest():
    cost = np.array([2.0, 1.0, 1.0, 1.0])
    assert best_constant(np.array([9.0, 3.0, 4.0, 4.0]), cost, 0.5).tolist() == [0, 0, 1, 0]
    assert best_constant(np.array([9.0, 3.0, 4.0, 5.0]), cost, -INF).tolist() == [0, 0, 0, 1]


def test_best_constant_at_equal_costs_is_the_best_single():
    reward = np.array([1.0, 3.0, np.nan, 3.0])
    for budget in (0.0, 1.0, 2.0):
        assert best_constant(reward, np.ones(4), budget).tolist() == [0, 1, 0, 0]
    assert best_constant(np.array([5.0]), np.zeros(1), 0.0).tolist() == [1]


def test_best_constant_ties_and_missing_members():
    # All on a line: the member at the budget, not a mixture of its neighbours that is better by rounding.
    for start in (0.1, 0.3, 0.7):
        line = start + 0.1 * np.arange(8)
        for member in range(8):
            assert best_constant(line, 3 * line, float(3 * line[member])).argmax() == member
            assert (best_constant(line, 3 * line, float(3 * line[member])) > 0).sum() == 1
    assert best_constant(np.ones(3), np.array([3.0, 1.0, 1.0]), 5.0).tolist() == [0, 1, 0]
    # The missing member would be both cheapest and, on the way to the dear one, part of the mixture.
    missing = np.array([np.nan, 0.0, 4.0])
    assert best_constant(missing, np.array([0.0, 1.0, 3.0]), 2.0).tolist() == [0, 0.5, 0.5]
    assert best_constant(missing, np.array([np.nan, 1.0, 3.0]), 0.0).tolist() == [0, 1, 0]


def test_best_constant_refuses_by_name():
    two = np.ones(2)
    for reward, cost, budget, error in (
        (two, np.ones(3), 1.0, r"mean cost = array of shape \(3,\)"),
        (two, two, float("nan"), "budget = nan"),
        (np.full(2, np.nan), two, 1.0, "NaN for every member"),
        (np.array([1.0, INF]), two, 1.0, "mean reward: not finite at member 1 is inf"),
        (two, np.array([1.0, np.nan]), 1.0, "mean cost: not finite at member 1 is nan"),
    ):
        with pytest.raises(ErpError, match=error):
            best_constant(reward, cost, budget)
