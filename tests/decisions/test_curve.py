from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from erp.decisions.choice import choose, one_hot, outcome
from erp.decisions.curve import Curve, exact_curve, members_along
from erp.errors import ErpError

INF = float("inf")


def fractions(values):
    return [[Fraction(int(numerator), int(denominator)) for numerator, denominator in row] for row in values]


def rational_problem(seed):
    """Small tables of rationals with shared denominators, so that scores, costs and breakpoints tie often."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    pick = lambda low, high, rows=n: fractions(  # noqa: E731
        np.stack([rng.integers(low, high, (rows, m)), rng.choice([1, 2, 3], (rows, m))], axis=2)
    )
    scores, rewards, costs = pick(-4, 5), pick(-9, 10), pick(0, 6)
    per_member = bool(rng.integers(2))
    predicted = pick(0, 4, 1) * n if per_member else pick(0, 4)
    return scores, predicted, rewards, costs, per_member


def brute_choice(score, cost, lambda_):
    return min(range(len(score)), key=lambda m: (-(score[m] - lambda_ * cost[m]), cost[m], m))


def brute_point(scores, predicted, rewards, costs, lambda_):
    chosen = [brute_choice(s, c, lambda_) for s, c in zip(scores, predicted, strict=True)]
    return tuple(
        float(sum(row[m] for row, m in zip(table, chosen, strict=True)) / len(chosen)) for table in (rewards, costs)
    )


def crossings(scores, predicted):
    """Every lambda > 0 at which any two members of a prompt tie: a superset of the breakpoints."""
    found = set()
    for s, c in zip(scores, predicted, strict=True):
        for a in range(len(s)):
            for b in range(len(s)):
                if c[a] > c[b] and s[a] > s[b]:
                    found.add((s[a] - s[b]) / (c[a] - c[b]))
    return sorted(found)


def test_equals_brute_force_between_all_breakpoints_of_200_rational_problems():
    for seed in range(200):
        scores, predicted, rewards, costs, per_member = rational_problem(seed)
        as_float = [np.array(table, dtype=float) for table in (scores, predicted, rewards, costs)]
        curve = exact_curve(as_float[0], as_float[1][0] if per_member else as_float[1], *as_float[2:])
        cuts = [Fraction(0), *crossings(scores, predicted)]
        lambdas = [
            Fraction(0),
            *[(a + b) / 2 for a, b in pairwise(cuts)],
            cuts[-1] + 1,
            cuts[-1] * 10**6 + 1,
        ]
        for lambda_ in lambdas:
            p = curve.at(float(lambda_))
            expected = brute_point(scores, predicted, rewards, costs, lambda_)
            assert (curve.reward[p], curve.cost[p]) == pytest.approx(expected, abs=1e-12), (seed, lambda_)
        # No point too many, up to rounding: each stands at a crossing.
        for found in curve.lambdas[1:]:
            assert min(abs(found - float(cut)) for cut in cuts) < 1e-12


@pytest.mark.parametrize("per_member", [True, False])
@pytest.mark.parametrize("levels", [None, 3])  # 3: many equal scores and equal costs
def test_both_ends_are_choose_at_zero_and_infinity_and_points_between_agree(per_member, levels):
    rng = np.random.default_rng(7)
    draw = (lambda *s: rng.normal(size=s)) if levels is None else (lambda *s: rng.integers(0, levels, s).astype(float))
    n, m = 400, 6
    scores, predicted, rewards, costs = draw(n, m), draw(n, m), draw(n, m), draw(n, m)
    predicted = predicted[0] if per_member else predicted
    curve = exact_curve(scores, predicted, rewards, costs)
    assert curve.lambdas[0] == 0
    assert (np.diff(curve.lambdas) > 0).all()
    middle = (curve.lambdas[:-1] + curve.lambdas[1:]) / 2
    for lambda_ in (0.0, INF, *middle[np.diff(curve.lambdas) > 1e-9][::37]):
        got = outcome(one_hot(choose(scores, predicted, lambda_), m), rewards, costs)
        p = curve.at(lambda_)
        assert (curve.reward[p], curve.cost[p]) == pytest.approx((got.mean_reward, got.mean_cost), abs=1e-10)
    assert curve.at(INF) == len(curve.lambdas) - 1


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(3)
    tables = [rng.normal(size=(50, 4)) for _ in range(4)]
    whole = exact_curve(*tables)
    whole_members = members_along(tables[0], tables[1], np.array([0.0, 1.0]))
    monkeypatch.setattr("erp.decisions.curve.BLOCK", 7)
    parts = exact_curve(*tables)
    assert (parts.lambdas == whole.lambdas).all()
    assert parts.reward == pytest.approx(whole.reward)
    assert (members_along(tables[0], tables[1], np.array([0.0, 1.0])) == whole_members).all()


def test_permuting_members_does_not_move_the_curve():
    rng = np.random.default_rng(4)
    scores, rewards, costs = (rng.normal(size=(60, 5)) for _ in range(3))
    predicted, order = rng.uniform(size=5), rng.permutation(5)
    a = exact_curve(scores, predicted, rewards, costs)
    b = exact_curve(scores[:, order], predicted[order], rewards[:, order], costs[:, order])
    assert (a.lambdas == b.lambdas).all()
    assert a.reward == pytest.approx(b.reward)


def test_worked_by_hand():
    # Prompt 0: dear (3 at cost 2) to cheap (1 at cost 1) at lambda 2. Prompt 1: at lambda 0.5.
    curve = exact_curve(
        np.array([[1.0, 3.0], [1.0, 1.5]]),
        np.array([1.0, 2.0]),
        np.array([[0.0, 4.0], [2.0, 1.0]]),
        np.array([1.0, 2.0]),
    )
    assert curve.lambdas.tolist() == [0.0, 0.5, 2.0]
    assert curve.cost.tolist() == [2.0, 1.5, 1.0]
    assert curve.reward.tolist() == [2.5, 3.0, 1.0]
    assert [curve.at(x) for x in (0.0, 0.49, 0.5, 1.9, 2.0, INF)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("predicted", [np.zeros(3), np.full(3, 2.5), np.full((4, 3), 2.5)])
def test_equal_costs_give_a_single_point(predicted):
    scores = np.arange(12.0).reshape(4, 3)
    curve = exact_curve(scores, predicted, scores, np.ones((4, 3)))
    assert curve.lambdas.tolist() == [0.0]
    assert curve.reward.tolist() == [scores.max(1).mean()]


def test_one_member_one_prompt_and_equal_scores():
    assert exact_curve(np.array([[2.0]]), np.array([1.0]), np.array([[3.0]]), np.array([[4.0]])).reward.tolist() == [
        3.0
    ]
    curve = exact_curve(
        np.ones((1, 3)), np.array([3.0, 1.0, 1.0]), np.array([[0.0, 1.0, 2.0]]), np.array([[3.0, 1.0, 1.0]])
    )
    # Ties at lambda = 0: the cheapest, then the first of the two cheapest.
    assert (curve.lambdas.tolist(), curve.reward.tolist()) == ([0.0], [1.0])


def test_three_members_that_tie_at_one_breakpoint_go_straight_to_the_cheapest():
    curve = exact_curve(
        np.array([[0.0, 1.0, 2.0]]), np.array([0.0, 1.0, 2.0]), np.array([[5.0, 6.0, 7.0]]), np.array([[0.0, 1.0, 2.0]])
    )
    assert (curve.lambdas.tolist(), curve.reward.tolist()) == ([0.0, 1.0], [7.0, 5.0])


def test_costs_so_close_that_the_breakpoint_is_infinite():
    scores, predicted = np.array([[0.0, 1e300]]), np.array([0.0, 1e-300])
    curve = exact_curve(scores, predicted, np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
    assert curve.lambdas.tolist() == [0.0, INF]
    assert (curve.at(1e308), curve.at(INF)) == (0, 1)


def test_what_is_not_finite_is_refused():
    good = np.ones((3, 2))
    bad = good.copy()
    bad[2, 1] = np.nan
    for position, name in enumerate(["scores", "predicted costs", "rewards", "costs"]):
        tables = [bad if p == position else good for p in range(4)]
        with pytest.raises(ErpError, match=f"^{name}: not finite at row 2, member 1 is nan"):
            exact_curve(*tables)
    with pytest.raises(ErpError, match="rewards = array of shape"):
        exact_curve(good, good, np.ones((2, 2)), good)


def test_thin_keeps_both_ends():
    curve = Curve(np.arange(100.0), -np.arange(100.0), np.arange(100.0) / 2)
    thin = curve.thin(7)
    assert len(thin.lambdas) == 7
    assert (thin.lambdas[0], thin.lambdas[-1], thin.cost[-1]) == (0.0, 99.0, -99.0)
    assert (np.diff(thin.lambdas) > 0).all()
    assert curve.thin(100) is curve
    with pytest.raises(ErpError, match="points = 1"):
        curve.thin(1)


@pytest.mark.parametrize("per_member", [True, False])
def test_members_along_are_those_of_choose(per_member):
    rng = np.random.default_rng(5)
    scores, predicted = rng.normal(size=(200, 4)), rng.uniform(size=(200, 4))
    predicted = predicted[0] if per_member else predicted
    lambdas = np.array([3.0, 0.0, INF, 0.4, 0.4])  # in any order, repeated
    expected = [choose(scores, predicted, x) for x in lambdas]
    assert (members_along(scores, predicted, lambdas) == np.array(expected)).all()
    assert members_along(scores, predicted, np.array([])).shape == (0, 200)
    with pytest.raises(ErpError, match="lambda = -1"):
        members_along(scores, predicted, np.array([-1.0]))


def test_members_at_a_breakpoint_are_those_after_it():
    members = members_along(np.array([[1.0, 3.0]]), np.array([1.0, 2.0]), np.array([1.9, 2.0]))
    assert members.tolist() == [[1], [0]]
    # Three lines through one point: straight to the cheapest.
    members = members_along(np.array([[0.0, 1.0, 2.0]]), np.array([0.0, 1.0, 2.0]), np.array([0.5, 1.0]))
    assert members.tolist() == [[2], [0]]


@pytest.mark.parametrize("per_member", [True, False])
def test_breakpoints_that_differ_by_rounding_are_one(per_member):
    # Scores in hundredths tie often, and .3 - .2 is not .2 - .1 in floating point.
    rng = np.random.default_rng(11)
    scores, rewards = rng.integers(0, 101, (300, 3)) / 100, rng.normal(size=(300, 3))
    predicted = np.array([0.137, 1.3, 14.7]) if per_member else np.array([[0.137, 1.3, 14.7]] * 300)
    curve = exact_curve(scores, predicted, rewards, np.array([0.1, 1.0, 9.0]))
    assert (np.diff(curve.lambdas)[1:] > 1e-9 * curve.lambdas[1:-1]).all()
    cuts = {Fraction(d, 100) / (Fraction(str(b)) - Fraction(str(a)))
            for a, b in ((0.137, 1.3), (0.137, 14.7), (1.3, 14.7)) for d in range(1, 101)}  # fmt: skip
    assert len(curve.lambdas) <= 1 + len(cuts)
    members = members_along(scores, predicted, curve.lambdas)
    rows = np.arange(300)
    assert curve.reward == pytest.approx([rewards[rows, m].mean() for m in members], abs=1e-12)
    assert curve.cost == pytest.approx([np.array([0.1, 1.0, 9.0])[m].mean() for m in members], abs=1e-12)
    assert (members[-1] == choose(scores, predicted, INF)).all()
