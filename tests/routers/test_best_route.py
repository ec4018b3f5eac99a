"""BEST-Route's labels by every subset of samples, its heads on what they are to learn, and its rule arm by arm."""

from itertools import combinations

import numpy as np
import pytest
import torch

from erp.decisions.forecast import Forecast
from erp.decisions.policy import Calibration, Observed
from erp.decisions.sequential.best_route import BestRoutePolicy
from erp.decisions.sequential.simulate import simulate
from erp.errors import ErpError
from erp.routers.best_route import BestRoute
from erp.table.samples import Samples
from erp.trained.session import Session
from tests.routers.gradient import batch_of, learnt, prepared, sampled

NAN = np.nan


def labels(samples, reference, n, slack):
    """P(best of j >= one of the reference's - slack), over every j of the samples and every one of the reference's."""
    found = np.full((*samples.shape[:2], n), NAN)
    for i, row in enumerate(samples):
        bars = [bar - slack for bar in row[reference] if not np.isnan(bar)]
        for m, cell in enumerate(row):
            there = cell[~np.isnan(cell)]
            for j in range(1, n + 1):
                wins = [max(some) >= bar for some in combinations(there, j) for bar in bars]
                if wins:
                    found[i, m, j - 1] = np.mean(wins)
    return found


def drawn(seed=0, n=60, k=4, missing=0.15):
    """Four members; the third costs the most."""
    found = sampled(seed, n=n, k=k, missing=missing)
    costs = np.tile([1.0, 2.0, 9.0, 3.0], (n, 1))
    return batch_of(found.samples.numpy(), found.features.embedding, costs=costs)


def test_labels_by_hand():
    # The dear one answers 1 and 3. Of (0, 2), one answer reaches 1 half of the time and 3 never; the better one always
    # reaches 1. Of (1, 3) and (3, 1): 1 always, 3 half of the time, and the better one always both.
    samples = [[[0, 2], [1, 3]], [[3, 1], [1, 3]], [[2, NAN], [1, 3]], [[5, 5], [NAN, NAN]]]
    batch = batch_of(samples, costs=np.tile([1.0, 2.0], (4, 1)))
    told = prepared(BestRoute(n=2), batch).target(batch).numpy()
    np.testing.assert_allclose(told[:, 0], [[0.25, 0.5], [0.75, 1.0], [0.5, NAN], [NAN, NAN]])
    within_one = prepared(BestRoute(n=2, slack=1.0), batch).target(batch).numpy()
    np.testing.assert_allclose(within_one[:, 0], [[0.75, 1.0], [0.75, 1.0], [1.0, NAN], [NAN, NAN]])


@pytest.mark.parametrize(("slack", "missing"), [(0.0, 0.0), (0.3, 0.25)])
def test_labels_are_shares_of_all_subsets_of_samples(slack, missing):
    batch = drawn(missing=missing)
    rounded = batch_of(np.round(batch.samples.numpy() * 2) / 2, costs=batch.costs.numpy())  # with ties
    told = prepared(BestRoute(n=3, slack=slack), rounded).target(rounded).numpy()
    np.testing.assert_allclose(told, labels(rounded.samples.numpy(), 2, 3, slack), atol=1e-6)


def test_the_loss_is_the_cross_entropy_over_the_arms_that_are_not_the_reference_s():
    batch = drawn()
    router = prepared(BestRoute(n=3, hidden=(4,)), batch).eval()
    torch.nn.init.normal_(router.trunk[-1].weight)
    with torch.no_grad():
        p = router.matches(batch.features).numpy()
        loss = float(router.loss(batch))
    assert (p[:, 2] == 1).all()
    y, p = (part[:, [0, 1, 3]] for part in (labels(batch.samples.numpy(), 2, 3, 0.0), p))
    each = -y * np.log(p) - (1 - y) * np.log(1 - p)
    assert np.isnan(each).any()
    assert loss == pytest.approx(np.nanmean(each), rel=1e-4)


def test_heads_learn_the_chance_of_every_arm():
    """Of prompts of two kinds: what is predicted is the mean label of each."""
    rng, kind = np.random.default_rng(0), np.arange(400) % 2
    samples = rng.standard_normal((400, 3, 4))
    samples[:, 0] += np.where(kind, -1.0, 1.0)[:, None]
    batch = batch_of(samples, np.eye(2)[kind], costs=np.tile([1.0, 2.0, 9.0], (400, 1)))
    router = learnt(BestRoute(n=3, hidden=()), batch, batch, learning_rate=0.05, max_epochs=60).eval()
    with torch.no_grad():
        found = router.matches(batch.features).numpy()
    for k in (0, 1):
        expected = labels(samples[kind == k], 2, 3, 0.0).mean(axis=0)
        np.testing.assert_allclose(found[kind == k][0, :2], expected[:2], atol=0.04)
    np.testing.assert_allclose(found[0, 1], [1 / 2, 2 / 3, 3 / 4], atol=0.05)  # an equal: the largest of j + 1 draws


def calibrated(forecast, samples, scoring=0.0, **settings):
    policy, costs = BestRoutePolicy(**settings), forecast.costs
    n, m = costs.shape
    seen = Observed(forecast.scores, costs, np.zeros((n, m)), np.arange(n), forecast, costs, samples)
    policy.calibrate(Calibration(tuple("abc"), "ordinal", np.zeros(m), costs[0], seen, scoring=scoring))
    return policy


def arms(n=50, seed=3):
    """Two members beside a reference that costs 7, and up to three answers of each; K = 4."""
    rng = np.random.default_rng(seed)
    matches = np.sort(rng.random((n, 3, 3)), axis=2)
    matches[:, 2] = 1.0
    forecast = Forecast(matches[..., 0], np.tile([1.0, 3.0, 7.0], (n, 1)), matches=matches)
    reward = rng.standard_normal((n, 3, 4))
    return forecast, Samples(reward, np.full((n, 3), 4), np.arange(n))


def test_the_cheapest_arm_that_is_likely_enough_by_hand():
    matches = np.array([[[0.2, 0.5, 0.9], [0.6, 0.7, 0.8], [1, 1, 1]]])
    forecast = Forecast(matches[..., 0], np.array([[1.0, 2.5, 7.0]]), matches=matches)
    samples = Samples(np.zeros((1, 3, 3)), np.full((1, 3), 3), np.arange(1))
    # Prices 1, 2, 3 of a; 2.5, 5, 7.5 of b; 7 of the reference.
    for threshold, member, times in [(0.2, 0, 1), (0.4, 0, 2), (0.6, 1, 1), (0.7, 0, 3), (0.95, 2, 1)]:
        plan = calibrated(forecast, samples, threshold=threshold).start(forecast)
        assert plan.arms(np.arange(1)) == (member, times)
    # Scoring at 2 an answer: 3, 6, 9 of a; 4.5, 9, ... of b; 9 of the reference.
    plan = calibrated(forecast, samples, scoring=2.0, threshold=0.4).start(forecast)
    assert plan.arms(np.arange(1)) == (1, 1)


def test_who_does_not_answer_is_passed_over_by_hand():
    matches = np.array([[[0.2, 0.5, 0.9], [0.6, 0.7, 0.8], [1, 1, 1]]])
    forecast = Forecast(matches[..., 0], np.array([[1.0, 2.5, 7.0]]), matches=matches)
    samples = Samples(np.zeros((1, 3, 3)), np.full((1, 3), 3), np.arange(1))
    policy, names = calibrated(forecast, samples, threshold=0.7), ("a", "b", "c")
    session = Session(policy, names, forecast)
    session.pass_over()  # a, who was to answer three times; two of b reach .7 for 5
    assert session.next == "b"
    session.observe(0.0)
    session.pass_over()  # b's one answer stands
    assert session.next is None
    assert session.answer.member == "b"
    assert Session(policy, names, forecast, able={"a"}).next == "a"
    calm = Session(calibrated(forecast, samples, threshold=0.95), names, forecast, able={"a", "b"})
    assert calm.next == "a"  # nobody left is likely enough: the likeliest arm is three answers of a
    assert Session(policy, names, forecast, able=set()).next is None


def test_an_arm_costs_as_often_as_it_is_asked_and_earns_the_best_of_as_many():
    forecast, samples = arms()
    policy = calibrated(forecast, samples, scoring=0.5, threshold=0.6)
    plan = policy.start(forecast)
    members, often = plan.arms(np.arange(50))
    assert len({*zip(members.tolist(), often.tolist(), strict=True)}) > 4
    played = simulate(plan, samples, forecast.costs, 0.5, orders=4000)
    for i, (member, times) in enumerate(zip(members, often, strict=True)):
        best = np.mean([max(some) for some in combinations(samples.reward[i, member], times)])
        assert played.reward[i] == pytest.approx(best, abs=0.08)
        assert played.cost[i] == pytest.approx(times * (forecast.costs[i, member] + 0.5))
        assert played.calls[i] == times


def test_the_threshold_is_the_one_that_earns_the_most_on_validation_within_the_budget():
    forecast, samples = arms()
    policy = calibrated(forecast, samples, budget=3.0)
    earned = {}
    for threshold in policy.dials(forecast.costs):
        played = simulate(policy.start(forecast, threshold), samples, forecast.costs)
        if played.mean_cost <= 3.0:
            earned[threshold] = played.mean_reward
    assert len(earned) > 5
    assert policy.threshold == max(earned, key=earned.get)


@pytest.mark.parametrize(
    ("make", "line"),
    [(lambda: BestRoute(n=1), r"router\.n = 1: give 2 or more"), (lambda: BestRoute(slack=-1), r"router\.slack = -1"),
     (lambda: BestRoutePolicy(threshold=1.5), r"policy\.threshold = 1\.5: is no chance"),
     (lambda: BestRoutePolicy(budget=-1), r"policy\.budget = -1")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, line):
    with pytest.raises(ErpError, match=line):
        make()
