"""Circuit breakers, on a clock of the test's own."""

from __future__ import annotations

import pytest

from erp.serving.breaker import Breakers


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breakers(clock):
    return Breakers(failures=3, seconds=30.0, clock=clock)


def fail(breakers, times):
    for _ in range(times):
        breakers.asked("a")
        breakers.failed("a")


def test_a_member_is_left_alone_after_failures_in_a_row_and_others_are_not(breakers, clock):
    fail(breakers, 2)
    assert not breakers.open("a")
    fail(breakers, 1)
    assert breakers.open("a")
    assert not breakers.open("b")
    clock.now = 29.9
    assert breakers.open("a")
    clock.now = 30.0
    assert not breakers.open("a")


def test_an_answer_between_failures_begins_the_count_anew(breakers):
    fail(breakers, 2)
    breakers.answered("a")
    fail(breakers, 2)
    assert not breakers.open("a")


def test_half_open_lets_one_request_try(breakers, clock):
    fail(breakers, 3)
    clock.now = 30.0
    assert not breakers.open("a")
    assert not breakers.open("a"), "looking is not asking"
    breakers.asked("a")
    assert breakers.open("a"), "one is trying it already"
    breakers.answered("a")
    assert not breakers.open("a")
    fail(breakers, 2)
    assert not breakers.open("a"), "closed again: it takes three"


def test_a_trial_that_fails_opens_it_again_and_one_that_never_ends_blocks_nobody_for_long(breakers, clock):
    fail(breakers, 3)
    clock.now = 30.0
    fail(breakers, 1)
    assert breakers.open("a")
    clock.now = 60.0
    breakers.asked("a")
    clock.now = 89.9
    assert breakers.open("a")
    clock.now = 90.0
    assert not breakers.open("a")
