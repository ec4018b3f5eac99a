"""The decision: hand-worked cases, and what has to hold for any of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from erp.errors import ErpError
from erp.serving.asked import asked
from erp.serving.decide import Moment, Predicted, decide, judged

POOL = ("small", "middle", "large")
REWARDS = {"small": 0.2, "middle": 0.6, "large": 0.7}
COSTS = {"small": 1.0, "middle": 2.0, "large": 8.0}


def predicted(chosen="large", **changes):
    given = {"rewards": REWARDS, "costs": COSTS, "weights": {name: float(name == chosen) for name in POOL}}
    return Predicted(**{**given, **changes}, chosen=chosen)


def moment(**changes):
    return Moment(**{"capable": POOL, "constant": ("middle", "large", "small"), **changes})


def test_the_policy_s_choice_comes_first_and_the_others_by_utility():
    found = decide(predicted(), moment(lambda_=0.05))
    assert (found.member, found.path, found.propensity) == ("large", "routed", 1.0)
    assert found.utilities == pytest.approx({"small": 0.15, "middle": 0.5, "large": 0.3})
    assert found.order == ("large", "middle", "small")


def test_who_cannot_answer_gives_way_to_the_best_of_the_others():
    found = decide(predicted(), moment(capable=("small", "middle")))
    assert (found.member, found.path, found.order) == ("middle", "filtered", ("middle", "small"))
    with pytest.raises(ErpError, match="nobody"):
        decide(predicted(), moment(capable=()))


def test_a_conversation_stays_while_its_member_can():
    assert decide(predicted(), moment(pinned="small")).path == "pinned"
    assert decide(predicted(), moment(pinned="small")).member == "small"
    assert decide(predicted(), moment(pinned="small", capable=("middle", "large"))).path == "routed"
    assert decide(predicted(), moment(pinned="gone")).path == "routed"


def test_a_spent_budget_takes_the_cheapest_even_of_a_pinned_conversation():
    found = decide(predicted(), moment(capped=True, pinned="large"))
    assert (found.member, found.path, found.order) == ("small", "budget", ("small", "middle", "large"))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_no_number_is_not_believed(broken):
    for changes in ({"rewards": {**REWARDS, "small": broken}}, {"costs": {**COSTS, "small": broken}}):
        found = decide(predicted(**changes), moment())
        assert (found.member, found.path, found.order) == ("middle", "fallback", ("middle", "large", "small"))
        assert not found.utilities
    assert decide(None, moment()).path == "fallback"
    late = decide(predicted(), moment(late=True, capable=("small", "large")))
    assert (late.member, late.path) == ("large", "timeout")


def test_exploring_draws_evenly_and_says_how_likely_it_was():
    explored = decide(predicted(), moment(explore=0.3, draw=(0.29, 0.5)))
    assert (explored.member, explored.path) == ("middle", "explored")
    assert explored.propensity == pytest.approx(0.1)
    usual = decide(predicted(), moment(explore=0.3, draw=(0.3, 0.5)))
    assert (usual.member, usual.path) == ("large", "routed")
    assert usual.propensity == pytest.approx(0.8)


def test_odds_of_a_policy_that_mixes_two_members_are_its_propensity():
    weights = {"small": 0.25, "middle": 0.0, "large": 0.75}
    assert decide(predicted("small", weights=weights), moment()).propensity == 0.25
    # large cannot: its odds fall to the best of the others, which is middle
    filtered = decide(predicted("large", weights=weights), moment(capable=("small", "middle")))
    assert (filtered.member, filtered.propensity) == ("middle", 0.75)


def test_an_infinite_lambda_ranks_by_cost():
    assert decide(predicted("small"), moment(lambda_=math.inf)).order == ("small", "middle", "large")


def test_a_decision_is_judged_where_the_policy_chose_and_the_answer_is_a_text():
    chat = {"model": "erp/auto", "messages": [{"role": "user", "content": "hello"}]}
    text, many, tool = (asked({**chat, **more}, "chat", "last_user") for more in ({}, {"n": 2}, {"tools": [{}]}))
    usual = decide(predicted("small"), moment())
    found, is_judged = judged(usual, text, "large", POOL)
    assert (is_judged, found.member, found.order, found.path) == (True, "large", ("large", "small", "middle"), "routed")
    other = asked({"model": "erp/auto", "input": "hello"}, "responses", "last_user")
    for body in (many, tool, other):
        assert judged(usual, body, "large", POOL) == (usual, False)
    for now in (moment(pinned="middle"), moment(capped=True), moment(late=True)):
        kept = decide(predicted("small"), now)
        assert judged(kept, text, "large", POOL) == (kept, False)
    # An explored one is compared with explored ones alone, of which each member has the same share.
    drawn = decide(predicted("small"), moment(explore=0.5, draw=(0.0, 0.0)))
    found, is_judged = judged(drawn, text, "large", POOL)
    assert (is_judged, found.member, found.propensity) == (False, "small", pytest.approx(1 / 3))
    assert drawn.propensity == pytest.approx(0.5 + 0.5 / 3)


numbers = st.fixed_dictionaries(dict.fromkeys(POOL, st.floats(0, 1)))
drawn = st.tuples(st.floats(0, 0.999), st.floats(0, 0.999))


@given(numbers, numbers, st.sets(st.sampled_from(POOL), min_size=1), st.floats(0, 1), st.sampled_from(POOL))
def test_propensities_over_all_draws_sum_to_one(rewards, costs, capable, explore, chosen):
    """Brute force: what every member is chosen with, added up, is 1; nobody that cannot answer is ever chosen."""
    names = [name for name in POOL if name in capable]
    total = {}
    for draw in [(1.0, 0.0), *((0.0, (i + 0.5) / len(names)) for i in range(len(names)))]:
        if draw[0] < explore or draw[0] == 1.0:
            found = decide(predicted(chosen, rewards=rewards, costs=costs),
                           moment(capable=names, explore=explore, draw=draw))  # fmt: skip
            assert found.member in capable
            assert set(found.order) == capable
            total[found.member] = found.propensity
    assert all(0 <= p <= 1 for p in total.values())
    if explore > 0:
        assert sum(total.values()) == pytest.approx(1)
    else:
        assert list(total.values()) == [1.0]
