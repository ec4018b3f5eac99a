"""The lambda that CostSave is read at: shown on validation to keep the best single's reward, and kept elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import erp
from erp.decisions.choice import choose
from erp.decisions.policy import LambdaPolicy
from erp.evaluation.choices import Choices
from erp.evaluation.evaluate import evaluate
from erp.evaluation.held_out import HeldOut
from erp.evaluation.points import choose_lambdas
from erp.formats.results import RESULTS
from erp.metrics.intervals import GroupBootstrap
from erp.targets import Targets

SETTINGS = {"draws": 500, "seed": 1, "level": 0.95}
COSTS = np.array([1.0, 3.0, 10.0])


def held(scores, rewards, groups=None, single=2):
    n, unknown = len(scores), np.full(rewards.shape, np.nan)
    return HeldOut(
        members=("a", "b", "c"), scores=scores, category_scores=None,
        targets=Targets(rewards, np.ones(rewards.shape, int), unknown, unknown), costs=np.tile(COSTS, (n, 1)),
        predicted_costs=COSTS, train_mean_reward=np.eye(3)[single], train_mean_cost=COSTS,
        groups=np.arange(n) if groups is None else groups, scale="reward",
    )  # fmt: skip


def world(kind, n, rng):
    """Scores (n, 3), mean rewards, observed rewards, groups of prompts from one world."""
    groups = np.arange(n) // (3 if "grouped" in kind else 1)
    some = groups[-1] + 1
    level, best = rng.normal(0, 0.25, (some, 3))[groups], np.array([0.35, 0.5, 0.6])
    if "noise" in kind:  # the router knows the members' means alone
        truth = np.tile([0.35, 0.45, 0.5], (n, 1))
        scores = truth + rng.normal(0, 0.1 if "loud" in kind else 0.03, (n, 3))
    elif "equal" in kind:  # a cheaper member is as good, and nothing else can be told
        truth = np.tile([0.3, 0.5, 0.5], (n, 1))
        scores = np.array([0.3, 0.49, 0.5]) + rng.normal(0, 0.05, (n, 3))
    elif "rough" in kind:  # rewards far from 0 or 1
        truth = level + best
        return truth + rng.normal(0, 0.15, (n, 3)), truth, truth + rng.standard_t(4, (n, 3)) / 4, groups
    else:
        raw = level + best
        truth = raw.clip(0, 1)
        scores = raw + rng.normal(0, 0.4 if "weak" in kind else 0.15, (n, 3))
        scores = (scores - scores.mean(axis=0)) / 2 + truth.mean(axis=0)
    rewards = (rng.random((n, 3)) < truth).astype(float)
    if "ties" in kind:  # seven prompts of ten are solved by all or by none
        tied, all_of_them = rng.random((2, some, 1))[:, groups] < np.array([0.7, 0.5])[:, None, None]
        rewards, truth = np.where(tied, all_of_them, rewards), np.where(tied, 0.5, truth)
    return scores, truth, rewards, groups


KINDS = [
    "good", "good ties", "weak", "rough", "grouped", "grouped ties", "noise", "loud noise", "noise ties", "equal",
    "equal ties",
]  # fmt: skip


def gained(scores, rewards, lambda_):
    return (rewards[np.arange(len(rewards)), choose(scores, COSTS, lambda_)] - rewards[:, 2]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_what_is_called_the_same_reward_is_kept(margin):
    """Over tables of 100, 300 and 1,000 validation prompts: of all, and of those in which a lambda is chosen.

    Where the router knows nothing a lambda passes by chance alone, so "of those chosen" says nothing there.
    """
    rng = np.random.default_rng(0)
    kept: dict[str, list[list[bool]]] = {}
    for kind in KINDS:
        scores, truth, _, _ = world(kind, 60_000, rng)
        for n in (100, 300, 1000):
            for _ in range(100):
                own, other = world(kind, n, rng), world(kind, 2 * n, rng)
                lambda_ = choose_lambdas(held(own[0], own[2], own[3]), SETTINGS, margin).same_reward
                kept.setdefault(kind, []).append(
                    [False, True, True] if lambda_ is None
                    else [True, gained(scores, truth, lambda_) >= -margin,
                          gained(other[0], other[2], lambda_) >= -margin - 1e-12]
                )  # fmt: skip
    shares = {kind: np.array(found).mean(axis=0) for kind, found in kept.items()}
    told = {
        kind: np.array(found)[np.array(found)[:, 0], 1:].mean(axis=0)
        for kind, found in kept.items() if "noise" not in kind and "equal" not in kind
    }  # fmt: skip
    print("chosen, kept by the population, kept on test", shares, "of those chosen", told)
    for kind, (_, population, test) in shares.items():
        assert population >= 0.93, (kind, shares)
        assert test >= 0.9, (kind, shares)
    for kind, of_chosen in told.items():
        assert (of_chosen >= 0.88).all(), (kind, told)
    assert np.mean(list(told.values()), axis=0).min() >= 0.9
    assert shares["good"][0] > 0.8  # and it is found where there is one


def test_the_cheapest_before_the_first_that_is_not_shown():
    """Every lambda up to the first whose interval reaches -margin, one by one, with all its points tested."""
    rng = np.random.default_rng(3)
    found = 0
    for margin in (0.0, 0.05, 0.2):
        for n in (12, 30):  # fewer changes of the policy than are tested
            for _ in range(10):
                truth = rng.normal([0.3, 0.5, 0.6], 0.5, (n, 3))
                test = held(truth + rng.normal(0, 0.1, (n, 3)), truth + rng.normal(0, 0.1, (n, 3)))
                curve, boot = test.curve(), GroupBootstrap(test.groups, **SETTINGS)
                if len(curve.lambdas) > 40:
                    continue
                want = None
                for at, lambda_ in enumerate(curve.lambdas):
                    members = choose(test.scores, COSTS, lambda_ * (1 + 1e-9))
                    gains = test.rewards[np.arange(n), members] - test.rewards[:, 2]
                    if not boot.interval(gains).low > -margin:
                        break
                    if want is None or curve.cost[at] <= curve.cost[want]:
                        want = at
                chosen = choose_lambdas(test, SETTINGS, margin)
                assert chosen.same_reward == (None if want is None else curve.lambdas[want])
                if want is not None:
                    found += 1
                    assert chosen.difference.mean == pytest.approx(
                        curve.reward[want] - test.rewards[:, 2].mean(), abs=1e-12
                    )
                    assert chosen.difference.low > -margin
                else:
                    assert chosen.difference is None
    assert found > 20


def test_a_mean_that_was_reached_by_luck_is_none():
    """The router that knows nothing: some lambda's mean on validation is no less than the best single's, by chance."""
    rng = np.random.default_rng(0)
    lucky = none = 0
    for _ in range(40):
        scores, _, rewards, _ = world("noise", 100, rng)
        test = held(scores, rewards)
        lucky += bool((test.curve().reward >= rewards[:, 2].mean()).any())
        none += choose_lambdas(test, SETTINGS).same_reward is None
    assert lucky > 15
    assert none >= 37


def test_rephrasings_are_one_observation():
    scores, _, rewards, _ = world("good", 60, np.random.default_rng(5))
    one = choose_lambdas(held(scores, rewards), SETTINGS)
    ten = held(np.repeat(scores, 10, axis=0), np.repeat(rewards, 10, axis=0), np.repeat(np.arange(60), 10))
    assert choose_lambdas(ten, SETTINGS).same_reward == one.same_reward
    alone = choose_lambdas(replace(ten, groups=np.arange(600)), SETTINGS)  # as if they were independent
    assert alone.same_reward is not None
    assert one.same_reward is None or one.same_reward < alone.same_reward
    whole = choose_lambdas(replace(ten, groups=np.zeros(600, dtype=int)), SETTINGS)
    assert whole.same_reward is None  # one group has no interval, and shows nothing


def test_the_margin_is_what_test_may_miss_by():
    rng = np.random.default_rng(7)
    rewards = rng.normal(0.5, 0.001, (200, 3))
    rewards[:, :2] -= 0.3, 0.03
    scores = np.tile([0.1, 0.5, 0.51], (200, 1))
    for margin, saved in ((0.0, None), (0.02, 0.0), (0.05, 7.0)):
        chosen = choose_lambdas(held(scores, rewards), SETTINGS, margin)
        found = evaluate(held(scores, rewards[::-1].copy()), LambdaPolicy(0.0), SETTINGS, chosen)["cost_save"]
        assert (found and found["value"]) == saved
    assert found["reward_gain"]["mean"] == pytest.approx(-0.03, abs=1e-3)


def test_what_was_chosen_is_written_and_read_back():
    """Costs of an ulp's difference push a breakpoint to infinity, which no JSON can hold: no point is chosen there."""
    costs = np.array([1.0, 1.0 + 2.0**-52, 10.0]) * 1e-300
    scores = np.tile([0.1, 0.4, 0.5], (50, 1)) * 1e12
    rewards = np.tile([0.9, 0.2, 0.1], (50, 1))
    test = replace(held(scores, rewards), predicted_costs=costs, costs=np.tile(costs, (50, 1)))
    assert np.isinf(test.curve().lambdas[-1])
    chosen = choose_lambdas(test, SETTINGS, 0.01)
    assert (chosen.most_reward, chosen.same_reward) == (0.0, 0.0)
    scores, _, rewards, _ = world("good", 400, np.random.default_rng(1))
    for one in (chosen, choose_lambdas(held(scores, rewards), SETTINGS, 0.01)):
        choices = Choices(one, None)
        text = json.dumps(choices.as_plain("abc"), allow_nan=False)
        assert Choices.from_plain(json.loads(text), "abc") == choices
    # A run of before: what it chose is read, and nothing said of how sure it was.
    before = {"most_reward": 0.5, "same_reward": 1.0, "cascade": None}
    read = RESULTS.read({"cost": {"shown_size": 1.0}, "chosen_on_validation": before}, "results.json")
    old = Choices.from_plain(read["chosen_on_validation"], "abc").lambdas
    assert (old.same_reward, old.margin, old.difference) == (1.0, 0.0, None)


@pytest.mark.parametrize(
    ("unit", "shift", "price"), [(1e-6, 0, 1e6), (1e6, 0, 1e-6), (1e4, -1e4, 1.0), (1.0, 1e3, 1e-6)]
)
def test_the_points_are_the_same_at_every_scale(unit, shift, price):
    """Rewards in tenths, a twin member at another price: exact ties that units would break by rounding."""
    rng = np.random.default_rng(11)
    for _ in range(20):
        scores = rng.integers(0, 11, (60, 3)) / 10
        rewards = np.clip(scores + rng.integers(-2, 3, (60, 3)) / 10, 0, 1)
        scores[:, 1], rewards[:, 1] = scores[:, 2], rewards[:, 2]
        test = held(scores, rewards)
        there = replace(
            held(scores * unit + shift, rewards * unit + shift), costs=test.costs * price, predicted_costs=COSTS * price
        )
        for margin in (0.0, 0.1):
            here, scaled = choose_lambdas(test, SETTINGS, margin), choose_lambdas(there, SETTINGS, margin * unit)
            for point in ("most_reward", "same_reward"):
                want, found = getattr(here, point), getattr(scaled, point)
                assert (want is None) == (found is None)
                if want is not None:
                    assert found == pytest.approx(want * unit / price, rel=1e-6, abs=0)
                    assert (there.choice(found).weights == test.choice(want).weights).all()


def test_where_the_same_reward_costs_more_the_report_says_so(tmp_path):
    """Reward is gained by the dear member alone, on four prompts of ten: what is called a saving would be below 0."""
    hard = np.arange(400) % 5 < 2
    table = pd.DataFrame({"prompt": [f"item {at}" for at in range(400)], "category": np.where(hard, "hard", "easy")})
    members = [
        table.assign(model="dear", reward=hard.astype(float), cost_usd=0.01),
        table.assign(model="cheap", reward=1.0 - hard, cost_usd=0.001),
    ]
    pd.concat(members).to_csv(tmp_path / "t.csv", index=False)
    of_table = ["data=table", f"data.path={tmp_path / 't.csv'}", "router=category_mean", "backbone=hashing"]
    made = erp.train([*of_table, "tracking=off", "figures=false", f"out={tmp_path / 'runs'}"])
    found = made.results["cost_save"]
    more = found["cost"] - 0.001
    assert found["cost_saved"]["mean"] == pytest.approx(-more, rel=1e-9)
    (line,) = [one for one in (made.folder / "report.md").read_text().splitlines() if "CostSave at" in one]
    words = rf"it costs {1000 * more:.1f}\d* \(.*\) USD per thousand prompts more, {more / 0.001:.0%} of its cost"
    assert re.search(words, line)
    assert "it saves" not in line
