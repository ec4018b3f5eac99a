"""Playing on samples: none is used twice, and a cascade is what it was."""

from __future__ import annotations

import numpy as np
import pytest

from erp.decisions.alternatives import Cascade, run_cascade
from erp.decisions.sequential.cascade import InTurn
from erp.decisions.sequential.policy import STOP, Plan
from erp.decisions.sequential.simulate import simulate
from erp.errors import ErpError
from tests.decisions.draws import full, means, pack, ragged


class Everything(Plan):
    """Ask everyone as often as may be; remembers what came."""

    def __init__(self, members, repeats):
        self.members, self.repeats, self.came = members, repeats, []

    def next(self, seen):
        left = seen.count < self.repeats
        if not left.any():
            self.came.append(seen.rewards.copy())
        return np.where(left.any(axis=1), left.argmax(axis=1), STOP)


@pytest.mark.parametrize("threshold", [-9.0, 0.5, 9.0])
def test_a_cascade_played_is_the_cascade_by_its_expectation(threshold):
    rng = np.random.default_rng(0)
    samples, costs = full(rng.integers(0, 3, (5, 3, 3)) / 2), rng.uniform(0.5, 2, (5, 3))
    chain = (2, 0)
    found = simulate(InTurn(np.array(chain), np.full((5, 1), threshold)), samples, costs, orders=27)
    want = run_cascade(Cascade(chain, threshold), samples, costs)
    np.testing.assert_allclose(found.reward, want.reward, atol=1e-12)
    np.testing.assert_allclose(found.cost, want.cost, atol=1e-12)
    np.testing.assert_allclose(found.shares, want.shares, atol=1e-12)


def test_random_orders_come_near_the_expectation():
    samples, costs = ragged(1, n=40, m=3, k=4)
    found = simulate(InTurn(np.array([0, 1, 2]), np.zeros((40, 2))), samples, costs, orders=4000, seed=1)
    want = run_cascade(Cascade((0, 1, 2), 0.0), samples, costs)
    np.testing.assert_allclose(found.reward, want.reward, atol=0.06)
    np.testing.assert_allclose(found.cost, want.cost, atol=0.06)


def test_no_sample_is_used_twice_and_each_comes_first_equally_often():
    reward = np.arange(24.0).reshape(2, 3, 4)  # all different
    plan = Everything(3, 4)
    simulate(plan, full(reward), np.ones(3), orders=8)
    came = np.stack(plan.came)  # (8, 2, 3, 4)
    np.testing.assert_array_equal(np.sort(came, axis=3), np.broadcast_to(reward, came.shape))
    first, times = np.unique(came[..., 0], return_counts=True)
    assert len(first) == 24
    assert set(times) == {2}


def test_the_best_answer_is_returned_and_everything_is_paid_for():
    samples = pack([[3.0], [5.0], [4.0]], [[2.0], [1.0], [2.0]])
    found = simulate(Everything(3, 1), samples, np.array([1.0, 2.0, 4.0]), scoring=0.5)
    assert found.reward.tolist() == [5, 2]
    assert found.cost.tolist() == [8.5, 8.5]
    assert found.calls.tolist() == [3, 3]
    assert found.shares.tolist() == [0.5, 0.5, 0]
    assert simulate(InTurn(np.arange(3), np.full((2, 2), 9.0)), samples, np.ones(3)).reward.tolist() == [4, 2]


def test_asking_once_earns_the_mean():
    samples, costs = ragged(4, n=30, m=3, k=1)
    found = simulate(InTurn(np.array([1]), np.zeros((30, 0))), samples, costs)
    np.testing.assert_allclose(found.reward, means(samples)[:, 1])


def test_more_answers_than_samples_are_refused():
    samples, costs = ragged(4, n=30, m=3, k=3)
    with pytest.raises(ErpError, match=r"policy.repeats = 2: some cell has 1 samples"):
        simulate(Everything(3, 2), samples, costs)
