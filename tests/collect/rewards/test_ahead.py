"""Texts are tokenised while those before them are computed."""

import threading

import pytest

from erp.collect.rewards.ahead import one_ahead


def test_the_next_is_worked_on_while_one_is_used():
    begun = {number: threading.Event() for number in range(3)}

    def work(number):
        begun[number].set()
        return number * 10

    results = one_ahead(work, range(3))
    assert next(results) == 0
    assert begun[1].wait(5)
    assert not begun[2].is_set()  # one ahead, not all
    assert list(results) == [10, 20]
    assert list(one_ahead(work, [])) == []


def test_what_went_wrong_comes_in_its_turn():
    def work(number):
        if number == 1:
            raise ValueError("no")
        return number

    results = one_ahead(work, range(3))
    assert next(results) == 0
    with pytest.raises(ValueError, match="no"):
        next(results)
