import numpy as np
import pandas as pd
import pytest

from erp.decisions.choice import Choice, choose, one_hot, outcome, uniform
from erp.decisions.references import best_single, category_oracle, oracle
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
