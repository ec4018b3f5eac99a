"""Sampling first and scoring, against enumeration of every combination of samples that could be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from erp.decisions.alternatives import Cascade, best_cascade, favourite_of_all, run_cascade
from erp.decisions.choice import outcome
from erp.decisions.references import oracle
from erp.errors import ErpError
from erp.table.samples import Samples, separate_samples
from erp.table.synthetic import Synthetic
from tests.decisions.draws import agrees, ask_in_turn, enumerate_draws, full, keep_the_favourite, means, pack, ragged

INF = float("inf")


@pytest.mark.parametrize("levels", [None, 2, 4])
@pytest.mark.parametrize("seed", range(4))
def test_the_favourite_of_all_is_the_mean_over_every_combination_of_draws(seed, levels):
    samples, costs = ragged(seed, m=4, levels=levels)
    assert agrees(favourite_of_all(samples, costs), enumerate_draws(samples, costs, keep_the_favourite))
    equal = np.ones_like(costs)
    assert agrees(favourite_of_all(samples, equal), enumerate_draws(samples, equal, keep_the_favourite))


def test_the_favourite_of_all_by_hand():
    # Draws (0, 1), (0, 1), (4, 1), (4, 1): half the time 4 of the first, else 1 of the second.
    got = favourite_of_all(pack([[0.0, 4.0], [1.0]], [[2.0], [2.0]]), np.array([[1.0, 3.0], [3.0, 1.0]]))
    assert got.reward.tolist() == [2.5, 2.0]
    assert got.cost.tolist() == [4.0, 4.0]
    assert got.shares.tolist() == [0.25, 0.75]  # equal rewards: the cheaper answers


@pytest.mark.parametrize("levels", [None, 3])
def test_with_one_sample_the_favourite_of_all_is_the_naive_oracle(levels):
    samples, costs = ragged(5, n=40, m=5, k=1, levels=levels)
    rewards = samples.reward[:, :, 0]
    got, want = favourite_of_all(samples, costs), outcome(oracle(rewards, costs), rewards, costs)
    assert (got.reward == want.reward).all()
    assert got.shares == pytest.approx(want.shares, rel=1e-12)
    assert got.mean_cost > want.mean_cost  # the oracle pays one of them


@pytest.mark.parametrize("seed", range(3))
def test_the_favourite_of_all_is_never_below_a_member_and_costs_them_all(seed):
    samples, costs = ragged(seed, n=50, m=6, k=5)
    got = favourite_of_all(samples, costs)
    assert (got.reward >= means(samples).max(axis=1) - 1e-12).all()
    assert got.cost == pytest.approx(costs.sum(axis=1))
    assert got.shares.sum() == pytest.approx(1)
    by_member = favourite_of_all(samples, costs[0])
    assert by_member.cost == pytest.approx(np.full(50, costs[0].sum()))


def test_many_prompts_are_cut_into_blocks_without_a_seam():
    rng = np.random.default_rng(0)
    samples, costs = full(rng.normal(size=(3000, 12, 12))), rng.uniform(size=(3000, 12))
    got = favourite_of_all(samples, costs)
    rows = rng.permutation(3000)[:20]
    few = favourite_of_all(Samples(samples.reward[rows], samples.count[rows], rows), costs[rows])
    assert (got.reward[rows] == few.reward).all()
    assert got.shares.sum() == pytest.approx(1)


@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("chain", [(0, 1), (2, 0), (1, 2, 0), (3, 1, 0, 2), (2,)])
def test_a_cascade_is_the_mean_over_every_combination_of_draws(chain, levels):
    samples, costs = ragged(7, m=4, levels=levels)
    for threshold in (-INF, -0.4, 0.0, 0.5, INF):
        cascade = Cascade(chain, threshold)
        got = run_cascade(cascade, samples, costs)
        assert agrees(got, enumerate_draws(samples, costs, ask_in_turn(cascade)))
        assert got.shares.sum() == pytest.approx(1)


def test_a_cascade_by_hand():
    # The first says 0 or 4: half the time 4 stands at cost 1, else the second's 1 at cost 1 + 3.
    got = run_cascade(Cascade((0, 1), 4.0), pack([[0.0, 4.0], [1.0]]), np.array([1.0, 3.0]))
    assert (got.reward.tolist(), got.cost.tolist(), got.shares.tolist()) == ([2.5], [2.5], [0.5, 0.5])


def test_the_ends_of_the_threshold():
    samples, costs = ragged(8, n=30, m=4)
    first = run_cascade(Cascade((2, 0, 3), -INF), samples, costs)
    assert agrees(first, (means(samples)[:, 2], costs[:, 2], [0, 0, 1, 0]))
    last = run_cascade(Cascade((2, 0, 3), INF), samples, costs)
    assert agrees(last, (means(samples)[:, 3], costs[:, [2, 0, 3]].sum(axis=1), [0, 0, 0, 1]))


def test_permuting_the_members_permutes_the_results():
    samples, costs = ragged(9, n=30, m=5)
    order = np.array([3, 0, 4, 1, 2])
    place = np.argsort(order)
    moved, moved_costs = Samples(samples.reward[:, order], samples.count[:, order], samples.rows), costs[:, order]
    a, b = favourite_of_all(samples, costs), favourite_of_all(moved, moved_costs)
    assert agrees(b, (a.reward, a.cost, a.shares[order]))
    best = best_cascade(samples, costs, costs.mean(axis=0), 1.7)
    assert len(set(best.chain)) > 1
    moved_best = best_cascade(moved, moved_costs, moved_costs.mean(axis=0), 1.7)
    assert moved_best == Cascade(tuple(int(place[m]) for m in best.chain), best.threshold)
    a, b = run_cascade(best, samples, costs), run_cascade(moved_best, moved, moved_costs)
    assert agrees(b, (a.reward, a.cost, a.shares[order]))


def test_one_prompt_from_a_table():
    table, _ = Synthetic(prompts=1, members=2, samples=3).draw()
    samples = separate_samples(table, np.array([0]))
    costs = np.array([[1.0, 2.0]])
    assert agrees(favourite_of_all(samples, costs), enumerate_draws(samples, costs, keep_the_favourite))
    assert best_cascade(samples, costs, costs[0], 3.0).chain == (0, 1)


@pytest.mark.parametrize(
    ("chain", "threshold", "error"),
    [
        ((), 0.0, r"chain = \(\)"),
        ((0, 1, 0), 0.0, r"chain = \(0, 1, 0\)"),
        ((-1, 0), 0.0, r"chain = \(-1, 0\)"),
        ((0, 1), float("nan"), "threshold = nan"),
    ],
)
def test_what_is_no_cascade(chain, threshold, error):
    with pytest.raises(ErpError, match=error):
        Cascade(chain, threshold)


def calls(samples, costs):
    yield lambda: favourite_of_all(samples, costs)
    yield lambda: run_cascade(Cascade((0, 1), 0.0), samples, costs)
    yield lambda: best_cascade(samples, costs, np.arange(3.0), 1.0)


def test_bad_input_is_refused_by_name():
    samples, costs = ragged(14)
    missing = costs.copy()
    missing[2, 1] = np.nan
    cell = samples.reward.copy()
    cell[3, 2, 0] = np.nan
    none_at_all, no_count = samples.reward.copy(), samples.count.copy()
    none_at_all[4, 1], no_count[4, 1] = np.nan, 0
    infinite = samples.reward.copy()
    infinite[1, 0, 0] = INF
    for bad_samples, bad_costs, error in (
        (samples, missing, "costs: not finite at row 2, member 1 is nan"),
        (samples, costs[:, :2], r"costs = array of shape \(6, 2\)"),
        (samples, costs[:5], r"costs = array of shape \(5, 3\)"),
        (Samples(cell, samples.count, samples.rows), costs, "disagree at row 3, member 2;"),
        (Samples(infinite, samples.count, samples.rows), costs, "disagree at row 1, member 0;"),
        (Samples(none_at_all, no_count, samples.rows), costs, "disagree at row 4, member 1;"),
        (Samples(samples.reward, samples.count * 0, samples.rows), costs, "disagree at row 0, member 0,"),
        (Samples(samples.reward[:, :, 0], samples.count, samples.rows), costs, r"rewards of shape \(6, 3\)"),
        (Samples(samples.reward, samples.count[:, :2], samples.rows), costs, r"counts of shape \(6, 2\)"),
        (Samples(samples.reward[:0], samples.count[:0], samples.rows), costs, r"rewards of shape \(0, 3, 3\)"),
    ):
        for call in calls(bad_samples, bad_costs):
            with pytest.raises(ErpError, match=error):
                call()


def test_an_infinity_behind_the_last_sample_is_no_padding():
    samples, costs = ragged(14)
    at = tuple(np.argwhere(samples.count == 1)[0])
    reward = samples.reward.copy()
    reward[(*at, 1)] = INF
    with pytest.raises(ErpError, match="rewards and counts disagree"):
        favourite_of_all(Samples(reward, samples.count, samples.rows), costs)
