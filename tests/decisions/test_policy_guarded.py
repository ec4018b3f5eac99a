import numpy as np
import pytest
from scipy.stats import ttest_1samp

from erp.decisions.choice import choose
from erp.decisions.policy import Calibration, Observed
from erp.decisions.policy_guarded import GuardedPolicy
from erp.errors import ErpError

INF = float("inf")
COSTS = np.array([1.0, 2.0, 3.0])


def guarded(single=0, z=1.645, lambda_=0.0):
    """A guard whose best single member is at position `single`."""
    policy, m = GuardedPolicy(z, lambda_), 3
    none = Observed(np.zeros((1, m)), COSTS, np.zeros((1, m)), np.zeros(1, dtype=int))
    policy.calibrate(Calibration(("a", "b", "c"), "reward", 100.0 * (np.arange(m) == single), COSTS, none))
    return policy


def problem(seed, n=200, k=8, missing=0.2):
    rng = np.random.default_rng(seed)
    neighbours = rng.normal(size=(n, k, 3)) + rng.normal(size=(n, 1, 3))
    neighbours[rng.random(neighbours.shape) < missing] = np.nan
    return rng.normal(size=(n, 3)), neighbours


def chosen(policy, scores, neighbours, costs=COSTS):
    return policy.choose(scores, costs, neighbours).weights.argmax(axis=1)


@pytest.mark.parametrize("single", range(3))
@pytest.mark.parametrize(("z", "lambda_"), [(0.0, 0.0), (1.0, 0.0), (1.645, 0.3)])
@pytest.mark.parametrize("per_cell", [True, False])
def test_who_may_answer_is_a_t_statistic_above_z(single, z, lambda_, per_cell):
    scores, neighbours = problem(single)
    costs = np.random.default_rng(9).uniform(0, 3, scores.shape) if per_cell else np.broadcast_to(COSTS, scores.shape)
    got = chosen(guarded(single, z, lambda_), scores, neighbours, costs if per_cell else COSTS)
    left = 0
    for i, member in enumerate(got):
        may = [single]
        for m in {0, 1, 2} - {single}:
            d = neighbours[i, :, m] - neighbours[i, :, single] - lambda_ * (costs[i, m] - costs[i, single])
            d = d[~np.isnan(d)]
            if len(d) > 1 and ttest_1samp(d, 0.0).statistic > z:
                may.append(m)
        may.sort()
        assert member == may[choose(scores[i : i + 1, may], costs[i : i + 1, may], lambda_)[0]]
        left += member != single
    assert 5 < left < 195


def test_at_z_infinity_the_best_single_always_answers():
    scores, neighbours = problem(4)
    neighbours[:, :, 2] += 1e6
    assert (chosen(guarded(1, INF), scores, neighbours) == 1).all()


def test_with_z_zero_and_one_neighbour_the_neighbour_decides_and_with_any_larger_z_it_cannot():
    scores = np.array([[0.0, 1.0, 2.0]])
    neighbour = np.array([[[0.0, 0.1, 0.0]]])  # b is better than a there, c is not
    assert chosen(guarded(0, 0.0), scores, neighbour).tolist() == [1]
    assert chosen(guarded(0, 1e-9), scores, neighbour).tolist() == [0]
    assert chosen(guarded(0, 0.0), scores, neighbour - neighbour).tolist() == [0]  # ahead by nothing is not ahead


def test_without_spread_any_lead_is_beyond_noise():
    scores, neighbours = np.array([[0.0, 1.0, 2.0]]), np.tile([0.0, 0.0, 0.5], (1, 4, 1))
    assert chosen(guarded(0, 100.0), scores, neighbours).tolist() == [2]


def test_neighbours_without_both_rewards_say_nothing():
    scores = np.array([[0.0, 1.0, 2.0]])
    neighbours = np.array([[[np.nan, 9.0, 9.0], [0.0, np.nan, 9.0], [0.0, np.nan, 9.1]]])
    assert chosen(guarded(0, 0.0), scores, neighbours).tolist() == [2]  # b has no neighbour in common with a
    assert chosen(guarded(0, 0.0), scores, np.full((1, 3, 3), np.nan)).tolist() == [0]
    assert chosen(guarded(0, 0.0), scores, np.empty((1, 0, 3))).tolist() == [0]


def test_a_price_counts_against_the_dearer_and_for_the_cheaper():
    scores, neighbours = np.zeros((1, 3)), np.tile([0.0, 0.3, 0.0], (1, 4, 1))
    scores[0, 1] = 0.3
    assert chosen(guarded(0, 1.0, 0.2), scores, neighbours).tolist() == [1]  # .3 for 1 unit at .2
    assert chosen(guarded(0, 1.0, 0.4), scores, neighbours).tolist() == [0]
    assert chosen(guarded(2, 1.0, 0.4), scores, neighbours).tolist() == [0]  # b: -.5, a: -.4, c: -1.2


def test_blocks_do_not_show(monkeypatch):
    scores, neighbours = problem(5)
    whole = chosen(guarded(), scores, neighbours)
    monkeypatch.setattr("erp.decisions.policy_guarded.BLOCK", 7 * 8 * 3)
    np.testing.assert_array_equal(chosen(guarded(), scores, neighbours), whole)


def test_the_best_single_is_the_one_at_the_price_on_train():
    policy = GuardedPolicy(lambda_=1.0)
    none = Observed(np.zeros((1, 3)), COSTS, np.zeros((1, 3)), np.zeros(1, dtype=int))
    policy.calibrate(Calibration(("a", "b", "c"), "reward", np.array([0.0, 1.5, 2.0]), COSTS, none))
    assert policy.state() == {"best_single": 1}
    assert policy.label == "guarded, z = 1.645, lambda = 1"


def test_no_neighbours_and_neighbours_of_others_are_refused():
    scores, neighbours = problem(6)
    with pytest.raises(ErpError, match="policy = guarded: was given no neighbours"):
        guarded().choose(scores, COSTS)
    for wrong in (neighbours[:5], neighbours[:, :, :2], neighbours[0]):
        with pytest.raises(ErpError, match="neighbours = array of shape"):
            guarded().choose(scores, COSTS, wrong)
    with pytest.raises(ErpError, match="neighbours = array of shape"):
        guarded(2).choose(scores[:, :2], COSTS[:2], neighbours[:, :, :2])
