"""Reservation values against the best that any rule can do: dynamic programming, and a closed form for two normals."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from erp.decisions.sequential.laws import Normal, Points, ZeroOne, reservation
from erp.decisions.sequential.reservation import ByIndex
from erp.decisions.sequential.simulate import simulate
from tests.decisions.draws import full


def best_of_all_rules(values, prices, repeats=1):
    """Expected reward less prices under the best rule: every state, every action. Somebody has to answer."""

    @cache
    def worth(left, best):
        options = [] if best is None else [best]
        for m, times in enumerate(left):
            if times:
                rest = (*left[:m], times - 1, *left[m + 1 :])
                after = [worth(rest, y if best is None else max(best, y)) for y in values[m]]
                options.append(sum(after) / len(after) - prices[m])
        return max(options)

    return worth((repeats,) * len(values), None)


def played(values, prices, repeats=1, orders=10**6):
    """What asking by reservation values earns less what it costs, every combination of answers once."""
    reward = np.array([values])
    law = Points(reward, np.full(reward.shape[2], 1 / reward.shape[2]))
    plan = ByIndex(reservation(law, np.array([prices])), np.array([prices]), repeats)
    found = simulate(plan, full(reward), np.array(prices), orders=orders)
    return found.mean_reward - found.mean_cost


@pytest.mark.parametrize("seed", range(25))
def test_by_reservation_values_as_by_dynamic_programming(seed):
    rng = np.random.default_rng(seed)
    members, k = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    values = rng.normal(size=(members, k)).round(1).tolist()
    prices = (rng.uniform(0, 0.8, members) * (rng.random(members) < 0.9)).round(2).tolist()
    assert played(values, prices) == pytest.approx(best_of_all_rules(values, prices), abs=1e-12)


def test_two_boxes_by_hand():
    # z = .8 and 2/3. The first succeeds half of the time; else the second is worth .9 - .3.
    chances, prices = np.array([[0.5, 0.9]]), np.array([[0.1, 0.3]])
    plan = ByIndex(reservation(ZeroOne(chances), prices), prices)
    reward = np.array([[[1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [1] * 9 + [0]]], dtype=float)
    found = simulate(plan, full(reward), prices, orders=100)
    assert found.mean_reward == pytest.approx(0.95)
    assert found.mean_cost == pytest.approx(0.1 + 0.5 * 0.3)
    assert found.calls == pytest.approx(1.5)
    assert found.shares == pytest.approx([0.5 + 0.05, 0.45])  # two zeros: the first in pool order
    scored = simulate(plan, full(reward), prices, scoring=0.01, orders=100)
    assert scored.mean_cost == pytest.approx(0.25 + 0.015)


def test_who_is_too_dear_for_what_it_may_add_is_never_asked():
    chances, prices = np.array([[0.6, 0.2, 0.6]]), np.array([[0.1, 0.3, 0.7]])
    index = reservation(ZeroOne(chances), prices)
    assert (index < 0).tolist() == [[False, True, True]]
    found = simulate(ByIndex(index, prices), full(np.zeros((1, 3, 1))), prices)
    assert found.calls.tolist() == [1]


def test_best_of_n_of_one_member_is_its_box_n_times():
    # 0/1 with chance p, price c < p: asked until a success, three times at most.
    p, c, rng = 0.3, 0.1, np.random.default_rng(3)
    reward = (rng.random((20_000, 1, 6)) < p).astype(float)
    plan = ByIndex(np.full((20_000, 1), 1 - c / p), np.full((20_000, 1), c), repeats=3)
    found = simulate(plan, full(reward), np.array([c]), orders=6)
    assert found.mean_reward == pytest.approx(1 - (1 - p) ** 3, abs=0.004)
    assert found.calls.mean() == pytest.approx(1 + (1 - p) + (1 - p) ** 2, abs=0.01)
    assert best_of_all_rules([[0.0] * 7 + [1.0] * 3], [c], repeats=3) == pytest.approx(
        1 - 0.7**3 - c * (1 + 0.7 + 0.49)
    )


def test_two_normal_members_earn_what_the_closed_form_says():
    """The best rule is worth E max_m min(Y_m, z_m) (Kleinberg, Waggoner & Weyl 2016)."""
    mean, sd, price = np.array([0.0, 0.3]), np.array([1.0, 0.5]), np.array([0.1, 0.15])
    n = 200_000
    index = reservation(Normal(mean[None], sd[None]), price[None])
    drawn = np.random.default_rng(0).normal(mean, sd, (n, 2))[:, :, None]
    plan = ByIndex(np.broadcast_to(index, (n, 2)), np.broadcast_to(price, (n, 2)))
    found = simulate(plan, full(drawn), price)
    below = [lambda y, m=m: 1.0 if y >= index[0, m] else stats.norm(mean[m], sd[m]).cdf(y) for m in (0, 1)]
    ends = [-8.0, *sorted(index[0])]
    tail = sum(
        integrate.quad(lambda y: 1 - below[0](y) * below[1](y) - (y < 0), a, b, limit=200)[0] for a, b in pairwise(ends)
    )
    assert found.mean_reward - found.mean_cost == pytest.approx(tail, abs=0.006)
