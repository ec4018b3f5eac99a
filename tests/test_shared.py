"""What the jobs of a sweep share: made once, kept for a while, and only in a sweep."""

import pytest

from erp import shared


@pytest.fixture
def sweep():
    shared.begin()
    yield
    shared.end()


class Maker:
    """Counts what it makes."""

    def __init__(self):
        self.made = []

    def __call__(self, *source, most=shared.MOST):
        def make():
            self.made.append(source)
            return object()

        return shared.shared("thing", make, *source, most=most)


@pytest.mark.usefixtures("sweep")
def test_values_are_known_by_what_they_are_and_objects_by_being_the_same():
    make, one, other = Maker(), [1], [1]
    assert make(one, "a", 1, None) is make(one, "a", 1, None)
    assert make(other, "a", 1, None) is not make(one, "a", 1, None)
    assert make(one, "b", 1, None) is not make(one, "a", 1, None)
    assert len(make.made) == 3


@pytest.mark.usefixtures("sweep")
def test_what_a_result_was_made_from_lives_as_long_as_it_does():
    """An address is used again once an object is gone: its successor would get the other's result."""
    make = Maker()
    assert len({id(make([number], most=100)) for number in range(100)}) == 100


@pytest.mark.usefixtures("sweep")
def test_the_last_few_are_kept():
    make = Maker()
    for number in [0, 1, 2, 0, 3, 0, 1]:
        make(number, most=3)
    assert make.made == [(0,), (1,), (2,), (3,), (1,)]
    assert shared.shared("another thing", lambda: "made", 0) == "made"


def test_outside_a_sweep_nothing_is_kept():
    make = Maker()
    assert make("a") is not make("a")
    shared.begin()
    assert make("a") is make("a")
    shared.begin()  # another job
    assert make("a") is make("a")
    shared.end()
    assert make("a") is not make("a")


@pytest.mark.usefixtures("sweep")
def test_what_could_not_be_made_is_tried_again():
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        shared.shared("thing", fail, "a")
    assert shared.shared("thing", lambda: 1, "a") == 1
