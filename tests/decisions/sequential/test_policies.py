"""The three policies that look at rewards: what they learn on validation, and what they do with it."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from erp.decisions.alternatives import best_cascade
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Calibration, Observed
from erp.decisions.sequential.cascade import CascadePolicy
from erp.decisions.sequential.cascade_routing import CascadeRoutingPolicy, Repriced
from erp.decisions.sequential.laws import Normal, ZeroOne
from erp.decisions.sequential.policy import STOP, Seen
from erp.decisions.sequential.reservation import ReservationPolicy
from erp.decisions.sequential.residuals import Residuals
from erp.decisions.sequential.simulate import simulate
from erp.errors import ErpError
from erp.trained.session import Session
from tests.decisions.draws import full

MEMBERS, COSTS = ("small", "middle", "large"), np.array([1.0, 3.0, 10.0])


def known(n=200, k=3, zero_one=True, seed=0, **forecast):
    """Validation prompts, hard ones hard for everyone, of which half the difficulty is predicted."""
    rng = np.random.default_rng(seed)
    told, hidden = rng.normal(size=(2, n, 1))
    scores = 0.5 + 0.15 * told + np.array([-0.2, 0.0, 0.15])
    mu = scores + 0.15 * hidden
    reward = rng.random((n, 3, k)) < mu[:, :, None] if zero_one else mu[:, :, None] + 0.3 * rng.normal(size=(n, 3, k))
    samples = full(reward.astype(float))
    costs = np.broadcast_to(COSTS, (n, 3))
    seen = Observed(
        scores, COSTS, reward.mean(axis=2), np.arange(n), Forecast(scores, costs, **forecast), costs, samples
    )
    return Calibration(MEMBERS, "reward", scores.mean(axis=0), COSTS, seen)


POLICIES = [CascadePolicy(), CascadePolicy(bar="predicted"), ReservationPolicy(), CascadeRoutingPolicy()]


@pytest.mark.parametrize("zero_one", [True, False])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda each: f"{each.name}-{getattr(each, 'bar', '')}")
def test_what_is_learnt_comes_back_from_its_state_and_keeps_the_budget(policy, zero_one):
    policy, seen = (
        type(policy)(**({"bar": policy.bar} if hasattr(policy, "bar") else {}), budget=4.0),
        known(zero_one=zero_one),
    )
    policy.calibrate(seen)
    again = type(policy)(**({"bar": policy.bar} if hasattr(policy, "bar") else {}))
    again.restore(policy.state())
    forecast, samples = seen.validation.forecast, seen.validation.samples
    one, other = (simulate(each.start(forecast), samples, COSTS) for each in (policy, again))
    np.testing.assert_array_equal(one.reward, other.reward)
    np.testing.assert_array_equal(one.cost, other.cost)
    assert one.mean_cost <= 4.0 + 1e-9
    single = samples.reward[:, 1].mean()  # what the member earns that a budget of 4 affords
    assert one.mean_reward > single
    assert policy.choose(forecast.scores, COSTS).weights.sum() == len(forecast.scores)
    dials = policy.dials(forecast.costs)
    ends = [simulate(policy.start(forecast, dial), samples, COSTS).calls.mean() for dial in (dials[0], dials[-1])]
    assert min(ends) == 1
    assert max(ends) > 1.5


def test_a_constant_cascade_is_the_best_one_of_today():
    seen = known()
    policy = CascadePolicy(budget=5.0)
    policy.calibrate(seen)
    want = best_cascade(seen.validation.samples, np.broadcast_to(COSTS, (200, 3)), COSTS, 5.0)
    assert policy.state()["chain"] == list(want.chain)
    assert policy.threshold == want.threshold
    named = CascadePolicy(chain=["large", "small"], threshold=0.5)
    named.calibrate(seen)
    assert named.state()["chain"] == [2, 0]


def test_a_predicted_bar_is_the_best_reward_predicted_of_the_members_left():
    seen = known(zero_one=False)
    policy = CascadePolicy(bar="predicted", threshold=-0.05)
    policy.calibrate(seen)
    scores = np.array([[0.3, 0.9, 0.6], [0.3, 0.5, 0.6]])
    plan = policy.start(Forecast(scores, np.broadcast_to(COSTS, (2, 3))))
    np.testing.assert_allclose(plan.bars, [[0.85, 0.55], [0.55, 0.55]])


def test_scoring_is_part_of_the_price():
    seen = replace(known(), scoring=100.0)
    policy = ReservationPolicy(lambda_=0.01)  # an answer costs a reward of 1 and more: one is asked, no second
    policy.calibrate(seen)
    assert simulate(policy.start(seen.validation.forecast), seen.validation.samples, COSTS).calls.max() == 1
    assert policy.state()["scoring"] == 100


def test_a_router_that_tells_quantiles_is_taken_at_its_word():
    points = np.sort(np.random.default_rng(1).random((200, 3, 5)), axis=2)
    seen = known(zero_one=False, points=points, weights=np.full(5, 0.2))
    policy = ReservationPolicy(lambda_=0.02)
    policy.calibrate(seen)
    assert policy.state()["law"] == "predicted"
    index = policy.start(seen.validation.forecast).index[0]
    over = np.maximum(points[0] - index[:, None], 0).mean(axis=1)
    np.testing.assert_allclose(over, 0.02 * COSTS, atol=1e-9)
    with pytest.raises(ErpError, match=r"policy.law = predicted: the router predicts no quantiles"):
        ReservationPolicy(law="predicted").calibrate(known())


def test_a_router_that_tells_spreads_has_its_own_error_added():
    spread = np.full((200, 3), 0.3)
    policy = ReservationPolicy(lambda_=0.02)
    policy.calibrate(known(zero_one=False, n=2000, spread=np.full((2000, 3), 0.3)))
    seen = known(zero_one=False, spread=spread)
    plan, law = policy.start(seen.validation.forecast), Normal(seen.validation.scores, np.sqrt(spread**2 + 0.15**2))
    np.testing.assert_allclose(law.excess(plan.index), np.broadcast_to(0.02 * COSTS, (200, 3)), rtol=0.06)


def joint(residuals, counts):
    """Covariance of all single answers, one block a member."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return residuals.shared[np.ix_(owner, owner)] + np.diag((residuals.single - np.diag(residuals.shared))[owner])


@pytest.mark.parametrize("counts", [(1, 0, 0), (0, 2, 1), (1, 1, 0)])
def test_the_posterior_is_the_conditional_law_of_all_answers_written_out(counts):
    rng = np.random.default_rng(2)
    root = rng.normal(size=(3, 3))
    residuals = Residuals(root @ root.T, np.diag(root @ root.T) + rng.random(3))
    scores, came = rng.normal(size=(1, 3)), np.full((1, 3, 2), np.nan)
    for m, times in enumerate(counts):
        came[0, m, :times] = rng.normal(size=times)
    mean, ratio = residuals.posterior(scores, Seen(np.arange(1), came, np.array([0])))
    for m in range(3):
        owner = [j for j in range(3) for _ in range(counts[j])]
        new = np.array([residuals.shared[m, j] for j in owner])
        gain = new @ np.linalg.inv(joint(residuals, counts))
        left = np.concatenate([came[0, j, : counts[j]] - scores[0, j] for j in range(3)])
        assert mean[0, m] == pytest.approx(scores[0, m] + gain @ left)
        assert ratio[0, m] ** 2 * residuals.single[m] == pytest.approx(residuals.single[m] - gain @ new)


def test_residuals_find_what_is_shared_and_what_is_not():
    seen = known(n=20_000, zero_one=False)
    found = Residuals.of(seen.validation.scores, seen.validation.samples.reward)
    np.testing.assert_allclose(found.shared, 0.15**2, atol=0.002)
    np.testing.assert_allclose(found.single, 0.15**2 + 0.3**2, atol=0.004)


def best_set(chances, prices, best):
    """The set of the largest E max - prices, by all subsets and all outcomes."""
    found = {}
    for size in range(len(chances) + 1):
        for members in combinations(range(len(chances)), size):
            worth = 0.0
            for outcome in product((0, 1), repeat=size):
                chance = np.prod([chances[m] if y else 1 - chances[m] for m, y in zip(members, outcome, strict=True)])
                worth += chance * max([best, *outcome])
            found[members] = worth - sum(prices[m] for m in members)
    return max(found, key=found.get)


@pytest.mark.parametrize("seed", range(20))
def test_the_next_member_is_the_cheapest_of_the_best_set(seed):
    rng = np.random.default_rng(seed)
    chances, prices = rng.uniform(0.1, 0.9, 2), rng.uniform(0.01, 0.4, 2)
    nothing = Residuals(np.zeros((2, 2)), np.ones(2))
    plan = Repriced(ZeroOne(chances[None]), prices[None], chances[None], nothing, np.array([0.0, 1.0]))
    # Behind a failure somebody is asked only where it pays.
    failed = Seen(np.arange(1), np.array([[[0.0], [np.nan]]]), np.array([0]))
    assert plan.next(failed)[0] == (1 if chances[1] > prices[1] else STOP)
    want = best_set(chances, prices, 0.0) or (int((chances - prices).argmax()),)
    pair = sum(chances) - np.prod(chances) - sum(prices)
    greedy = want if len(want) < 2 or pair >= max(chances - prices) else (int((chances - prices).argmax()),)
    assert plan.next(Seen.nothing(1, 2, 1))[0] == min(greedy, key=lambda m: prices[m])


def test_a_failure_lowers_what_others_are_worth():
    seen = known(n=2000)
    policy = CascadeRoutingPolicy(lambda_=0.05)
    policy.calibrate(seen)
    scores = np.array([[0.5, 0.52, 0.7]])
    plan = policy.start(Forecast(scores, COSTS[None]))
    failed = Seen(np.arange(1), np.array([[[0.0], [np.nan], [np.nan]]]), np.array([0]))
    mean, _ = plan.residuals.posterior(scores, failed)
    assert (mean[0, 1:] < scores[0, 1:] - 0.02).all()


def test_a_policy_says_what_it_cannot_do_without():
    with pytest.raises(ErpError, match="policy = reservation: looks at the rewards of single answers"):
        ReservationPolicy().calibrate(replace(known(), validation=replace(known().validation, samples=None)))
    with pytest.raises(ErpError, match=r"policy.repeats = 5: no validation prompt has so many"):
        ReservationPolicy(repeats=5).calibrate(known())
    with pytest.raises(ErpError, match=r"policy.chain: huge is no member"):
        CascadePolicy(chain=["huge"]).calibrate(known())
    for faulty in ({"lambda_": float("inf")}, {"lambda_": -1.0}, {"budget": -1.0}, {"repeats": 0}):
        with pytest.raises(ErpError, match="allowed"):
            ReservationPolicy(**faulty)


@pytest.mark.parametrize("away", range(3))
@pytest.mark.parametrize("policy", [CascadePolicy, ReservationPolicy, CascadeRoutingPolicy])
def test_who_does_not_answer_is_as_one_who_is_not_there(policy, away):
    seen, here = known(), [m for m in range(3) if m != away]
    policy = policy(**({"threshold": 0.5} if policy is CascadePolicy else {"lambda_": 0.02}))
    policy.calibrate(seen)
    state = policy.state()
    if "chain" in state:
        state["chain"] = [float(here.index(int(m))) for m in state["chain"] if m != away]
    else:
        state["shared"] = np.reshape(state["shared"], (3, 3))[np.ix_(here, here)].ravel().tolist()
        state["single"] = [state["single"][m] for m in here]
    fewer = type(policy)()
    fewer.restore(state)
    forecast, names = seen.validation.forecast, [MEMBERS[m] for m in here]
    asked = 0
    for i in range(40):
        one = forecast.take(np.array([i]))
        two = Forecast(one.scores[:, here], one.costs[:, here])
        sessions = [Session(policy, MEMBERS, one, names), Session(fewer, tuple(names), two)]
        if not isinstance(policy, CascadeRoutingPolicy):  # whose sets one belongs to until it does not answer
            sessions.append(Session(policy, MEMBERS, one))
        while sessions[1].next is not None:
            if sessions[-1].next == MEMBERS[away]:  # found out only when it is asked
                sessions[-1].pass_over()
            assert {session.next for session in sessions} == {sessions[1].next}
            reward = seen.validation.samples.reward[i, MEMBERS.index(sessions[1].next), 0]
            for session in sessions:
                session.observe(reward)
            asked += 1
        assert sessions[0].next is None
        assert len({session.answer for session in sessions}) == 1
    assert asked >= 40
    with pytest.raises(ErpError, match="nobody was to be asked any more"):
        sessions[0].pass_over()
