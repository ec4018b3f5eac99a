"""Policies at a mean budget and at a tolerance."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from erp.decisions.choice import choose, one_hot, outcome
from erp.decisions.curve import exact_curve
from erp.decisions.policy import LambdaPolicy, Observed
from erp.decisions.policy_budget import BudgetPolicy
from erp.decisions.policy_tolerance import TolerancePolicy
from tests.decisions.policies import calibrated, observed, predicted_cost

INF = float("inf")

# --- budget ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_cell", [True, False])
@pytest.mark.parametrize("levels", [None, 3])  # 3: many prompts tie
@pytest.mark.parametrize("seed", range(5))
def test_the_mean_predicted_cost_on_validation_is_the_budget(per_cell, levels, seed):
    part = observed(seed, per_cell=per_cell, levels=levels)
    free, cheapest = (predicted_cost(LambdaPolicy(price), part) for price in (0.0, INF))
    for share in (0.0, 1e-6, 0.1, 0.5, 0.9, 1.0):
        budget = cheapest + share * (free - cheapest)
        policy = calibrated(BudgetPolicy(budget), part)
        assert predicted_cost(policy, part) == pytest.approx(budget, rel=1e-12, abs=1e-12)
        assert policy.mean_budget == budget
        assert policy.notes() == ()


def test_a_budget_at_a_point_of_the_curve_is_that_point_and_between_two_it_mixes_them():
    part = observed(8, n=50)
    curve = exact_curve(part.scores, part.predicted_costs, part.scores, part.predicted_costs)
    for p in (1, 20, len(curve.cost) - 2):
        weights = calibrated(BudgetPolicy(float(curve.cost[p])), part).choose(part.scores, part.predicted_costs).weights
        after = (curve.lambdas[p] + curve.lambdas[p + 1]) / 2
        np.testing.assert_allclose(
            weights, one_hot(choose(part.scores, part.predicted_costs, after), 4).weights, atol=1e-9
        )
        policy = calibrated(BudgetPolicy(float(0.75 * curve.cost[p] + 0.25 * curve.cost[p + 1])), part)
        mixed = np.abs(policy.choose(part.scores, part.predicted_costs).weights - 0.5) < 0.5 - 1e-6
        assert mixed.sum() == 2  # one prompt, two members
        assert policy.state()["share_above"] == pytest.approx(0.25)
        assert policy.state()["lambda_above"] == curve.lambdas[p + 1]


def test_by_hand_every_prompt_ties():
    # Members at cost 1 and 3; the dear one is predicted 1 better everywhere: all prompts change at lambda = .5.
    part = Observed(np.tile([0.0, 1.0], (10, 1)), np.array([1.0, 3.0]), np.zeros((10, 2)), np.arange(10))
    policy = calibrated(BudgetPolicy(1.5), part)
    np.testing.assert_allclose(
        policy.choose(part.scores, part.predicted_costs).weights, [[0.75, 0.25]] * 10, atol=1e-15
    )
    assert policy.state() == pytest.approx(
        {"budget": 1.5, "lambda_below": 0, "lambda_above": 0.5, "share_above": 0.75, "least": 1, "most": 3}
    )


def test_no_rule_on_validation_earns_more_predicted_reward_at_the_budget():
    # A linear programme over all choices is the judge.
    part = observed(9, n=12, m=3)
    n, m = part.scores.shape
    for budget in np.linspace(part.predicted_costs.min(), part.predicted_costs.max(), 5):
        best = linprog(
            -part.scores.ravel() / n, A_ub=[np.tile(part.predicted_costs, n) / n], b_ub=[budget],
            A_eq=np.kron(np.eye(n), np.ones(m)), b_eq=np.ones(n), bounds=(0, 1),
        )  # fmt: skip
        choice = calibrated(BudgetPolicy(float(budget)), part).choose(part.scores, part.predicted_costs)
        assert outcome(choice, part.scores, part.predicted_costs).mean_reward == pytest.approx(-best.fun, abs=1e-9)


def test_below_the_cheapest_and_above_the_dearest_the_ends_are_taken_and_said():
    part = observed(10)
    poor, rich = calibrated(BudgetPolicy(0.0), part), calibrated(BudgetPolicy(INF), part)
    for policy, lambda_, words in ((poor, INF, "less than the cheapest"), (rich, 0.0, "does not bind")):
        other = observed(11)
        got = policy.choose(other.scores, part.predicted_costs).weights.argmax(axis=1)
        np.testing.assert_array_equal(got, choose(other.scores, part.predicted_costs, lambda_))
        (note,) = policy.notes()
        assert words in note


def test_a_relative_budget_is_a_share_of_what_the_best_single_member_is_predicted_to_cost():
    part = observed(12, per_cell=True)
    part.rewards[:, 2] += 5
    policy = calibrated(BudgetPolicy(share_of_best_single=0.75), part)
    assert policy.mean_budget == pytest.approx(0.75 * part.predicted_costs[:, 2].mean())
    assert BudgetPolicy(2.0, 0.75).label == "budget = 2"
    assert policy.label == "budget = 0.75 of best single's cost"


def test_equal_costs_leave_nothing_to_buy():
    part = replace(observed(13), predicted_costs=np.ones(4))
    policy = calibrated(BudgetPolicy(1.0), part)
    np.testing.assert_array_equal(
        policy.choose(part.scores, part.predicted_costs).weights.argmax(axis=1), part.scores.argmax(axis=1)
    )


# --- tolerance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("per_cell", [True, False])
@pytest.mark.parametrize("levels", [None, 3])
def test_tolerance_is_brute_force_and_its_ends_are_the_best_and_the_cheapest(per_cell, levels):
    part = observed(14, per_cell=per_cell, levels=levels)
    costs = np.broadcast_to(part.predicted_costs, part.scores.shape)
    for tau in (0.0, 0.5, 1.0, INF):
        got = TolerancePolicy(tau).choose(part.scores, part.predicted_costs).weights.argmax(axis=1)
        for member, s, c in zip(got, part.scores, costs, strict=True):
            within = [m for m in range(4) if s[m] >= s.max() - tau]
            assert member == min(within, key=lambda m: (c[m], -s[m], m))
        if tau in (0.0, INF):
            np.testing.assert_array_equal(got, choose(part.scores, costs, tau))


def test_dearer_never_answers_as_the_tolerance_grows():
    part = observed(15)
    chosen = [TolerancePolicy(tau).choose(part.scores, part.predicted_costs).weights @ part.predicted_costs
              for tau in np.linspace(0, 3, 13)]  # fmt: skip
    assert all((after <= before).all() for before, after in itertools.pairwise(chosen))
    assert chosen[-1].mean() < chosen[0].mean()


def test_a_difference_of_tau_but_for_rounding_is_within_tau():
    assert 0.8 - 0.7 > 0.1
    weights = TolerancePolicy(0.1).choose(np.array([[0.8, 0.7]]), np.array([2.0, 1.0])).weights
    assert weights.tolist() == [[0.0, 1.0]]
    assert TolerancePolicy(0.0999).choose(np.array([[0.8, 0.7]]), np.array([2.0, 1.0])).weights[0, 0] == 1
