"""Spend by real usage, caps, and a mean cost that is held while the prompts drift."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest

from erp.config.serve import Budget
from erp.costs.prices import Price
from erp.errors import ErpError
from erp.serving.spend import Spend
from erp.serving.state import State

NOON = 1_800_000_000 - 1_800_000_000 % 86_400 + 43_200.0
PRICES = {"small": Price("small", 0.1, 0.4), "middle": Price("middle", 1.0, 4.0), "large": Price("large", 5.0, 25.0)}
MEMBERS = tuple(PRICES)


def spend(state=None, lambda_=0.0, prices=PRICES, unit=None, **budget):
    return Spend(Budget(**budget), lambda_, prices, state or State(), unit)


def test_the_usage_of_either_kind_of_answer_is_priced():
    counts = spend()
    assert counts.cost("middle", {"prompt_tokens": 1000, "completion_tokens": 500}) == pytest.approx(3e-3)
    assert counts.cost("large", {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}) == pytest.approx(1e-4)
    assert spend(prices={"small": None}).cost("small", {"prompt_tokens": 1, "completion_tokens": 1}) is None


@pytest.mark.parametrize("count", [-1, math.nan, math.inf, "7", None, True, [3], 10**400, 1e300])
def test_usage_that_is_no_count_is_not_believed(count):
    counts = spend(usd_per_day=1.0)
    assert counts.record("large", {"prompt_tokens": count, "completion_tokens": 1}, NOON) is None
    assert counts.record("large", {"completion_tokens": 1}, NOON) is None
    assert counts.record("nobody", {"prompt_tokens": 1, "completion_tokens": 1}, NOON) is None
    assert not counts.capped(NOON)


def test_caps_hold_for_their_hour_and_their_day():
    counts = spend(usd_per_hour=1.0, usd_per_day=1.5)
    million = {"prompt_tokens": 1_000_000, "completion_tokens": 0}
    assert counts.record("middle", {"prompt_tokens": 999_999, "completion_tokens": 0}, NOON) == pytest.approx(0.999999)
    assert not counts.capped(NOON)
    counts.record("middle", {"prompt_tokens": 1, "completion_tokens": 0}, NOON)
    assert counts.capped(NOON)
    assert not counts.capped(NOON + 3600)
    counts.record("middle", million, NOON + 3600)
    assert counts.capped(NOON + 7200), "the day's"
    assert not counts.capped(NOON + 43_200)


def test_without_a_mean_lambda_is_the_run_s_and_never_moves():
    for lambda_ in (0.0, 3.5, math.inf):
        counts = spend(lambda_=lambda_, usd_per_day=9.0)
        counts.record("large", {"prompt_tokens": 10**6, "completion_tokens": 0}, NOON)
        assert counts.lambda_ == lambda_


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 40.0, 1e4])
def test_lambda_starts_at_the_run_s_rises_when_too_much_is_spent_and_falls_again(lambda_):
    counts = spend(lambda_=lambda_, mean_usd=1e-3)
    assert counts.lambda_ == pytest.approx(lambda_)
    counts.record("large", {"prompt_tokens": 1000, "completion_tokens": 0}, NOON)
    risen = counts.lambda_
    assert risen > lambda_
    for _ in range(3):
        counts.record("large", {"prompt_tokens": 0, "completion_tokens": 0}, NOON)
    assert lambda_ < counts.lambda_ < risen
    for _ in range(10):
        counts.record("large", {"prompt_tokens": 0, "completion_tokens": 0}, NOON)
    assert counts.lambda_ < lambda_ or counts.lambda_ == lambda_ == 0


def test_a_run_that_always_takes_the_cheapest_begins_there_and_comes_down():
    counts = spend(lambda_=math.inf, mean_usd=1e-3)
    assert counts.lambda_ > 1e4
    for _ in range(2000):
        counts.record("small", {"prompt_tokens": 1000, "completion_tokens": 0}, NOON)
    assert counts.lambda_ < 100


def test_workers_move_one_lambda_and_a_restart_finds_it(tmp_path):
    states = [State(tmp_path / "state.sqlite") for _ in range(2)]
    workers = [spend(state, mean_usd=1e-3) for state in states]
    for worker in workers:
        worker.record("large", {"prompt_tokens": 5000, "completion_tokens": 0}, NOON)
    alone = spend(mean_usd=1e-3)
    for _ in workers:
        alone.record("large", {"prompt_tokens": 5000, "completion_tokens": 0}, NOON)
    assert workers[1].lambda_ == pytest.approx(alone.lambda_)
    for state in states:
        state.close()
    again = State(tmp_path / "state.sqlite")
    assert spend(again, mean_usd=1e-3).lambda_ == pytest.approx(alone.lambda_)
    assert spend(again, mean_usd=2e-3).lambda_ == 0, "another budget begins anew"
    again.close()


def test_a_budget_needs_every_price():
    for budget in ({"mean_usd": 1e-3}, {"usd_per_hour": 1.0}, {"usd_per_day": 1.0}):
        (key,) = budget
        with pytest.raises(ErpError, match=rf"gateway\.budget\.{key} = .*: nobody knows what middle costs"):
            spend(prices={**PRICES, "middle": None}, **budget)


def _day(seed, lambda_, budget, requests=20_000, in_flight=32):
    """Mean cost of a simulated day: the prompts of its hours differ in length and in how much a large member helps."""
    rng = np.random.default_rng(seed)
    hour = np.arange(requests) / requests * 24
    length = 400 * np.exp(0.8 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 0.7, requests))
    answer = 300 * np.exp(0.5 * np.cos(hour / 12 * 2 * np.pi) + rng.normal(0, 0.8, requests))
    hard = np.clip(0.5 + 0.3 * np.sin(hour / 8 * 2 * np.pi) + rng.normal(0, 0.25, requests), 0, 1)
    rewards = 0.95 - hard[:, None] * np.array([0.7, 0.4, 0.15]) + rng.normal(0, 0.05, (requests, 3))
    predicted = np.array([[p.input_usd_per_mtok, p.output_usd_per_mtok] for p in PRICES.values()])
    costs = (length[:, None] * predicted[:, 0] + 300 * predicted[:, 1]) / 1e6
    counts, waiting, total = spend(lambda_=lambda_, mean_usd=budget), deque(), 0.0
    for i in range(requests):
        member = MEMBERS[int(np.argmax(rewards[i] - counts.lambda_ * costs[i]))]
        waiting.append((member, {"prompt_tokens": int(length[i]), "completion_tokens": int(answer[i])}))
        if len(waiting) > in_flight:  # what a request costs is known when it has been answered
            total += counts.record(*waiting.popleft(), NOON)
    return (total + sum(counts.cost(*late) for late in waiting)) / requests


@pytest.mark.parametrize("budget", [0.0005, 0.002, 0.006])
@pytest.mark.parametrize("lambda_", [0.0, 30.0, math.inf])
def test_the_mean_cost_of_a_day_whose_prompts_drift_is_within_3_percent_of_the_budget(budget, lambda_):
    assert _day(7, lambda_, budget) == pytest.approx(budget, rel=0.03)


def test_a_fixed_lambda_does_not_hold_the_mean_of_that_day():
    assert _day(7, 30.0, None) != pytest.approx(0.002, rel=0.03)
