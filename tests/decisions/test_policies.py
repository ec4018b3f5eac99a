"""What all policies share."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from erp.build import build
from erp.decisions.choice import choose
from erp.decisions.policy import LambdaPolicy, Policy, require_suited
from erp.decisions.policy_budget import BudgetPolicy
from erp.decisions.policy_guarantee import GuaranteePolicy
from erp.decisions.policy_guarded import GuardedPolicy
from erp.decisions.policy_tolerance import TolerancePolicy
from erp.errors import ErpError
from tests.decisions.policies import calibrated, known, observed, permuted

INF = float("inf")
CONF = Path(__file__).parents[2] / "conf" / "policy"
NODES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(CONF.glob("*.yaml"))}


# --- every policy there is -------------------------------------------------------------------------------------------


@pytest.fixture(params=NODES)
def every(request):
    """A policy as its yaml makes it, calibrated; what it knew; and neighbours' rewards for its validation prompts."""
    policy, validation = build(NODES[request.param], Policy, key="policy"), observed(1)
    policy.calibrate(known(validation, observed(2)))
    return request.param, policy, validation, np.random.default_rng(3).normal(size=(200, 6, 4))


def test_a_yaml_says_in_its_first_line_what_it_is_and_bears_its_own_name():
    asked_once = {"lambda", "budget", "tolerance", "guarded", "guarantee"}
    assert asked_once | {"best_route", "cascade", "cascade_routing", "reservation"} == set(NODES)
    for name, node in NODES.items():
        assert node["name"] == name == build(node, Policy, key="policy").name
        assert (CONF / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


def test_a_fresh_policy_chooses_the_same_from_a_state_that_went_through_json(every):
    name, policy, part, neighbours = every
    restored = build(NODES[name], Policy, key="policy")
    restored.restore(json.loads(json.dumps(policy.state(), allow_nan=False)))
    one, other = (p.choose(part.scores, part.predicted_costs, neighbours).weights for p in (policy, restored))
    np.testing.assert_array_equal(one, other)
    assert restored.state() == policy.state()
    assert restored.notes() == policy.notes()


def test_each_prompt_is_decided_by_itself(every):
    _, policy, part, neighbours = every
    whole = policy.choose(part.scores, part.predicted_costs, neighbours).weights
    for i in (0, 17, 199):
        row = slice(i, i + 1)
        alone = policy.choose(part.scores[row], part.predicted_costs, neighbours[row]).weights
        np.testing.assert_array_equal(alone[0], whole[i])


def test_permuting_members_permutes_the_choice(every):
    name, policy, part, neighbours = every
    order = np.array([2, 0, 3, 1])
    other, calibration = build(NODES[name], Policy, key="policy"), permuted(observed(2), order)
    part_ = permuted(part, order)
    other.calibrate(known(part_, calibration, tuple("abcd"[m] for m in order)))
    mine = policy.choose(part.scores, part.predicted_costs, neighbours).weights
    theirs = other.choose(part_.scores, part_.predicted_costs, neighbours[:, :, order]).weights
    np.testing.assert_allclose(theirs, mine[:, order], atol=1e-9)


def test_a_pool_of_one_and_a_single_prompt(every):
    name = every[0]
    one = observed(4, n=1, m=1)
    policy = calibrated(build(NODES[name], Policy, key="policy"), one, one)
    assert policy.choose(one.scores, one.predicted_costs, np.ones((1, 2, 1))).weights.tolist() == [[1.0]]


def test_nan_scores_and_costs_that_do_not_fit_are_refused(every):
    _, policy, part, neighbours = every
    broken = part.scores.copy()
    broken[3, 1] = np.nan
    with pytest.raises(ErpError, match="row 3, member 1"):
        policy.choose(broken, part.predicted_costs, neighbours)
    with pytest.raises(ErpError, match="does not fit"):
        policy.choose(part.scores, part.predicted_costs[:2], neighbours)


@pytest.mark.parametrize("name", ["budget", "guarded", "guarantee"])
def test_what_has_learnt_nothing_neither_chooses_nor_tells_a_state(name):
    policy, part = build(NODES[name], Policy, key="policy"), observed(0)
    with pytest.raises(ErpError, match=f"policy = {name}: has not been calibrated"):
        policy.choose(part.scores, part.predicted_costs, np.ones((200, 2, 4)))
    with pytest.raises(ErpError, match="has not been calibrated"):
        policy.state()
    with pytest.raises(ErpError, match=f"policy = {name}: its state has no number"):
        policy.restore({})


@pytest.mark.parametrize("value", ["0.5", None, True, float("nan"), [1.0]])
def test_a_state_with_no_number_in_a_number_s_place_is_refused(value):
    state = calibrated(BudgetPolicy(), observed(0)).state()
    with pytest.raises(ErpError, match="no number under share_above"):
        BudgetPolicy().restore({**state, "share_above": value})


@pytest.mark.parametrize("value", [-1, 0.5, 1e400])
def test_a_state_with_no_position_in_a_position_s_place_is_refused(value):
    with pytest.raises(ErpError, match=r"best_single = .* no position"):
        GuardedPolicy().restore({"best_single": value})


def test_the_base_decides_nothing():
    with pytest.raises(NotImplementedError, match="Policy defines no choose"):
        Policy().choose(np.zeros((1, 1)), np.zeros(1))


# --- whether a policy suits a run -------------------------------------------------------------------------------------

SUITED = {"router": "ridge", "scale": "reward", "has_neighbours": True, "cost_kind": "usd", "members": ("a", "b")}


@pytest.mark.parametrize("name", NODES)
def test_a_router_with_everything_suits_every_policy(name):
    require_suited(build(NODES[name], Policy, key="policy"), **SUITED)


@pytest.mark.parametrize("name", NODES)
def test_ordinal_scores_are_refused_by_those_that_compare_rewards(name):
    policy = build(NODES[name], Policy, key="policy")
    given = {**SUITED, "scale": "ordinal", "router": "zooter"}
    if name in ("tolerance", "guarded", "guarantee", "cascade_routing", "reservation"):
        with pytest.raises(ErpError, match=f"policy = {name}: .*router = zooter are ordinal"):
            require_suited(policy, **given)
    else:
        require_suited(policy, **given)


def test_no_neighbours_no_costs_and_a_stranger_are_refused_all_at_once():
    with pytest.raises(ErpError, match=r"policy = guarded: .*router = ridge has none"):
        require_suited(GuardedPolicy(), **{**SUITED, "has_neighbours": False})
    with pytest.raises(ErpError) as caught:
        require_suited(GuaranteePolicy("z"), **{**SUITED, "scale": "ordinal", "cost_kind": "none"})
    assert len(caught.value.faults) == 3
    assert "policy.reference = z" in str(caught.value)


@pytest.mark.parametrize(
    ("policy", "needs"),
    [(LambdaPolicy(0), False), (LambdaPolicy(1), True), (BudgetPolicy(), True), (GuaranteePolicy(), True),
     (TolerancePolicy(0), False), (TolerancePolicy(0.1), True), (GuardedPolicy(), False),
     (GuardedPolicy(lambda_=2), True)],
)  # fmt: skip
def test_without_costs_only_what_does_not_weigh_them_is_allowed(policy, needs):
    given = {**SUITED, "cost_kind": "none"}
    if needs:
        with pytest.raises(ErpError, match=f"policy = {policy.name}: no costs are known"):
            require_suited(policy, **given)
    else:
        require_suited(policy, **given)


@pytest.mark.parametrize(
    ("make", "line"),
    [(lambda: LambdaPolicy(-1), "lambda = -1"), (lambda: BudgetPolicy(-0.1), "policy.budget = -0.1"),
     (lambda: BudgetPolicy(math.nan), "policy.budget = nan"),
     (lambda: BudgetPolicy(None, None), "policy.budget = null"),
     (lambda: BudgetPolicy(None, -1), "policy.share_of_best_single = -1"),
     (lambda: TolerancePolicy(-1), "policy.tau = -1"), (lambda: TolerancePolicy(math.nan), "policy.tau = nan"),
     (lambda: GuardedPolicy(-1), "policy.z = -1"), (lambda: GuardedPolicy(math.nan), "policy.z = nan"),
     (lambda: GuardedPolicy(lambda_=INF), "policy.lambda = inf"), (lambda: GuardedPolicy(lambda_=-1), "lambda = -1")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(make, line):
    with pytest.raises(ErpError, match=f"^{line}:"):
        make()


# --- the rule among some, and draws ----------------------------------------------------------------------------------


@pytest.mark.parametrize("per_cell", [True, False])
@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("lambda_", [0.0, 0.7, INF])
def test_the_rule_among_all_is_choose_and_among_some_is_choose_on_those(per_cell, levels, lambda_):
    part = observed(5, per_cell=per_cell, levels=levels)
    costs = np.broadcast_to(part.predicted_costs, part.scores.shape)
    everyone = np.ones(part.scores.shape, dtype=bool)
    np.testing.assert_array_equal(
        choose(part.scores, part.predicted_costs, lambda_, everyone), choose(part.scores, costs, lambda_)
    )
    some = np.random.default_rng(6).random(part.scores.shape) < 0.5
    some[:, 1] |= ~some.any(axis=1)
    got = choose(part.scores, part.predicted_costs, lambda_, some)
    for i, member in enumerate(got):
        among = np.flatnonzero(some[i])
        assert member == among[choose(part.scores[i : i + 1, among], costs[i : i + 1, among], lambda_)[0]]


# --- lambda ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lambda_", [0.0, 0.7, INF])
def test_a_fixed_lambda_is_the_decision_rule(lambda_):
    part, policy = observed(7), LambdaPolicy(lambda_)
    got = policy.choose(part.scores, part.predicted_costs).weights.argmax(axis=1)
    np.testing.assert_array_equal(got, choose(part.scores, part.predicted_costs, lambda_))
    assert policy.lambda_ == lambda_
    assert policy.state() == {}
