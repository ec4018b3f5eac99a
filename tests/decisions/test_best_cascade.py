"""The search for a cascade, against a search of every chain and threshold, one at a time."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from erp.decisions.alternatives import Cascade, best_cascade, favourite_of_all, run_cascade
from erp.errors import ErpError
from tests.decisions.draws import ask_in_turn, enumerate_draws, full, means, pack, ragged

INF = float("inf")


def best_by_search(samples, costs, mean_cost, budget, every_subset):
    """Every chain at every observed reward and both infinities, one at a time."""
    m = costs.shape[1]
    order = sorted(range(m), key=lambda member: (mean_cost[member], member))
    chains = [
        chain for size in range(2, m + 1) if every_subset or size in (2, m) for chain in combinations(order, size)
    ]
    observed = np.unique(samples.reward[~np.isnan(samples.reward)])
    found = []
    for chain, threshold in product(chains, [-INF, *observed, INF]):
        reward, cost, _ = enumerate_draws(samples, costs, ask_in_turn(Cascade(chain, threshold)))
        if cost.mean() <= budget + 1e-12:
            key = (-reward.mean().round(9), cost.mean().round(9), len(chain), threshold)
            found.append((key, Cascade(chain, threshold)))
    return min(found, key=lambda each: each[0])[1] if found else None


@pytest.mark.parametrize("budget", [0.9, 1.3, 1.8, 2.5, INF])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_cascade_of_a_small_pool_is_that_of_a_search(seed, budget):
    samples, costs = ragged(seed, n=4, m=3, k=2, levels=None if seed else 3)
    mean_cost = costs.mean(axis=0)
    # Enough quantiles to hold every observed reward.
    got = best_cascade(samples, costs, mean_cost, budget, thresholds=500)
    assert got == best_by_search(samples, costs, mean_cost, budget, every_subset=True)
    if got is not None:
        assert run_cascade(got, samples, costs).mean_cost <= budget + 1e-9


@pytest.mark.parametrize("members", [4, 8])
def test_prompts_looked_at_in_blocks_give_the_cascade_of_all_at_once(monkeypatch, members):
    samples, costs = ragged(7, n=30, m=members, k=3)
    mean_cost = costs.mean(axis=0)
    budgets = np.quantile(mean_cost, [0.2, 0.5, 0.8])
    at_once = [best_cascade(samples, costs, mean_cost, budget) for budget in budgets]
    assert len(set(at_once)) > 1
    monkeypatch.setattr("erp.decisions.alternatives._CASCADES", 7 * 52)
    assert [best_cascade(samples, costs, mean_cost, budget) for budget in budgets] == at_once


@pytest.mark.parametrize(("budget", "length"), [(1.0, 2), (1.6, 7)])
def test_the_best_cascade_of_a_larger_pool_is_a_pair_or_the_whole_pool(budget, length):
    samples, costs = ragged(11, n=12, m=7, k=1)
    costs = costs * np.linspace(0.5, 1.2, 7)
    got = best_cascade(samples, costs, costs.mean(axis=0), budget, thresholds=500)
    assert len(got.chain) == length
    assert got == best_by_search(samples, costs, costs.mean(axis=0), budget, every_subset=False)


def test_six_members_try_every_subset():
    # Only 1, then 3, then 5 answers everything; members 0, 2 and 4 cost and never help.
    reward = np.zeros((3, 6, 1))
    reward[[0, 1, 2], [1, 3, 5]] = 1.0
    costs = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    got = best_cascade(full(reward), costs, costs, INF)
    assert got == Cascade((1, 3, 5), 1.0)
    assert run_cascade(got, full(reward), costs).reward.tolist() == [1, 1, 1]


@pytest.mark.parametrize("value", [1.0, 0.1, -0.7])
@pytest.mark.parametrize("n", [1, 3, 5, 7])
def test_ties_go_to_the_cheaper_then_to_the_lower_threshold(n, value):
    everything_equal = full(np.full((n, 3, 3), value))
    costs = np.array([2.0, 1.0, 1.0])
    assert best_cascade(everything_equal, costs, costs, INF) == Cascade((1, 2), -INF)
    assert best_cascade(everything_equal, np.zeros(3), np.zeros(3), 0.0) == Cascade((0, 1), -INF)
    # In order of the means, whatever the costs of these prompts; the cheaper on these prompts is taken.
    assert best_cascade(everything_equal, costs, np.arange(3.0), INF) == Cascade((1, 2), -INF)
    many = full(np.full((n, 40, 1), value))
    assert best_cascade(many, np.zeros(40), np.zeros(40), 0.0) == Cascade((0, 1), -INF)


def test_means_that_differ_by_rounding_tie():
    samples = pack([[0.2], [0.1, 0.2, 0.3]])
    assert means(samples)[0, 1] > means(samples)[0, 0]
    assert best_cascade(samples, np.ones(2), np.arange(2.0), INF) == Cascade((0, 1), -INF)


def test_a_shorter_chain_goes_before_a_lower_threshold():
    # 1, 2 at threshold 1 and 0, 1, 2 at threshold 0 both earn 1 on every prompt and cost 2, 1 and 2.
    reward = np.array([[1.0, 0.0, 1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])[:, :, None]
    costs = np.array([[2.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    assert best_cascade(full(reward), costs, np.arange(3.0), INF) == Cascade((1, 2), 1.0)


def test_both_infinities_are_tried_beside_the_quantiles():
    reward = np.tile([[[0.0], [1.0]]], (4, 1, 1))
    costs = np.array([1.0, 2.0])
    # One quantile is the smallest reward, which every answer reaches.
    assert best_cascade(full(reward), costs, costs, 3.0, thresholds=1) == Cascade((0, 1), INF)
    assert best_cascade(full(reward), costs, costs, 2.9, thresholds=1) == Cascade((0, 1), -INF)
    assert best_cascade(full(reward), costs, costs, 3.0, thresholds=2) == Cascade((0, 1), 1.0)


def test_a_budget_that_no_cascade_fits():
    samples, costs = ragged(12, n=20, m=3)
    mean_cost = costs.mean(axis=0)
    cheapest = int(mean_cost.argmin())
    assert best_cascade(samples, costs, mean_cost, mean_cost.min() * 0.99) is None
    just = best_cascade(samples, costs, mean_cost, mean_cost.min())
    assert run_cascade(just, samples, costs).shares[cheapest] == pytest.approx(1)
    one = full(np.ones((4, 1, 2)))
    assert best_cascade(one, np.ones(1), np.ones(1), INF) is None


def test_what_a_larger_budget_buys_is_never_less():
    samples, costs = ragged(13, n=60, m=5, k=3)
    budgets = np.linspace(costs.mean(axis=0).min() + 1e-6, 6, 15)
    earned = [
        run_cascade(best_cascade(samples, costs, costs.mean(axis=0), budget), samples, costs).mean_reward
        for budget in budgets
    ]
    assert (np.diff(earned) >= -1e-12).all()
    assert earned[-1] > earned[0]


def test_the_field_s_largest_pool_takes_a_moment():
    rng = np.random.default_rng(0)
    samples, costs = full(rng.normal(size=(400, 55, 1))), rng.uniform(0.5, 2.0, (400, 55))
    found = best_cascade(samples, costs, costs.mean(axis=0), 1.5)
    assert run_cascade(found, samples, costs).mean_cost <= 1.5
    assert favourite_of_all(samples, costs).reward == pytest.approx(samples.reward.max(axis=(1, 2)))


def test_a_search_and_a_chain_that_do_not_fit():
    samples, costs = ragged(15)
    with pytest.raises(ErpError, match=r"chain = \(0, 3\): the samples have 3 members"):
        run_cascade(Cascade((0, 3), 0.0), samples, costs)
    with pytest.raises(ErpError, match=r"mean cost = array of shape \(2,\)"):
        best_cascade(samples, costs, np.ones(2), 1.0)
    with pytest.raises(ErpError, match="mean cost: not finite at member 1 is nan"):
        best_cascade(samples, costs, np.array([1.0, np.nan, 2.0]), 1.0)
    with pytest.raises(ErpError, match="budget = nan"):
        best_cascade(samples, costs, np.ones(3), float("nan"))
    with pytest.raises(ErpError, match="thresholds = 0"):
        best_cascade(samples, costs, np.ones(3), 1.0, thresholds=0)
