"""Which prompts are drawn: shares worked by hand, and a sample that is the same whatever the order of rows."""

import random
import tracemalloc
from collections import Counter

import pytest

from erp.collect.prompts.base import Prompt
from erp.collect.prompts.selection import Draw, First, quotas


def prompts(**sizes):
    return [Prompt(f"{name} {i}", category=name) for name, size in sizes.items() for i in range(size)]


def draw(rows, limit, seed=0, balance="proportional"):
    made = Draw(limit, seed, balance)
    for row in rows:
        made.add(row)
    return made


@pytest.mark.parametrize(
    ("sizes", "total", "shares"),
    [
        ({"a": 50, "b": 30, "c": 20}, 10, {"a": 5, "b": 3, "c": 2}),
        # exact shares 1.17, 2.33, 3.5: floors 1, 2, 3, and the one left goes to the largest remainder, .5
        ({"a": 2, "b": 4, "c": 6}, 7, {"a": 1, "b": 2, "c": 4}),
        # 3.33 each: equal remainders go by name
        ({"a": 5, "b": 5, "c": 5}, 10, {"a": 4, "b": 3, "c": 3}),
        ({"a": 3, "b": 1}, 9, {"a": 3, "b": 1}),
        ({"a": 999, "b": 1}, 10, {"a": 10, "b": 0}),
    ],
)
def test_proportional_shares_round_by_the_largest_remainder(sizes, total, shares):
    assert quotas(sizes, total, "proportional") == shares


@pytest.mark.parametrize(
    ("sizes", "total", "shares"),
    [
        ({"a": 100, "b": 100}, 10, {"a": 5, "b": 5}),
        # b gives its 2; the 8 left are halved
        ({"a": 100, "b": 2, "c": 50}, 10, {"a": 4, "b": 2, "c": 4}),
        ({"a": 100, "b": 100, "c": 100}, 10, {"a": 3, "b": 3, "c": 4}),
        ({"a": 1, "b": 2}, 10, {"a": 1, "b": 2}),
    ],
)
def test_equal_shares_pass_on_what_a_small_category_cannot_give(sizes, total, shares):
    assert quotas(sizes, total, "equal") == shares


def test_no_strata_have_no_shares():
    assert quotas({}, 5, "proportional") == quotas({}, 5, "equal") == {}


def test_a_draw_holds_its_shares():
    drawn = list(draw(prompts(a=60, b=30, c=10), 20).drawn())
    assert Counter(p.category for p in drawn) == {"a": 12, "b": 6, "c": 2}
    assert len({p.text for p in drawn}) == 20


@pytest.mark.parametrize("balance", ["proportional", "equal"])
def test_the_order_of_rows_does_not_matter(balance):
    rows = prompts(a=300, b=40, c=7)
    rows += [Prompt("a 5", category="a"), Prompt("a 9", category="b"), Prompt("b 3", category="a")]
    wanted = draw(rows, 25, balance=balance)
    for order in range(5):
        shuffled = random.Random(order).sample(rows, len(rows))
        again = draw(shuffled, 25, balance=balance)
        assert list(again.drawn()) == list(wanted.drawn())
        assert again.sizes() == wanted.sizes() == {"a": 301, "b": 39, "c": 7}
        assert again.repeats == 3


def test_another_seed_draws_another_sample_and_the_same_seed_the_same():
    rows = prompts(a=200, b=100)
    assert list(draw(rows, 30, seed=1).drawn()) == list(draw(rows, 30, seed=1).drawn())
    assert {p.text for p in draw(rows, 30, seed=1).drawn()} != {p.text for p in draw(rows, 30, seed=2).drawn()}


def test_a_larger_limit_keeps_what_a_smaller_one_drew():
    rows = prompts(a=200, b=100)
    assert {p.text for p in draw(rows, 30).drawn()} < {p.text for p in draw(rows, 90).drawn()}


def test_the_sample_is_spread_over_the_source():
    """Every row has the same chance: the mean position of 4,000 drawn of 20,000 is half way, within 4 sd."""
    rows = [Prompt(str(i)) for i in range(20_000)]
    positions = [int(p.text) for p in draw(rows, 4_000).drawn()]
    sd_of_mean = 20_000 / 12**0.5 / 4_000**0.5
    assert abs(sum(positions) / 4_000 - 10_000) < 4 * sd_of_mean


def test_without_a_limit_everything_is_kept():
    rows = prompts(a=5, b=3)
    assert {p.text for p in draw(rows, None).drawn()} == {p.text for p in rows}


def test_a_text_under_two_categories_counts_for_the_first_by_name():
    made = draw([Prompt("same", category="b"), Prompt("same", category="a"), Prompt("other", category="b")], None)
    assert made.sizes() == {"a": 1, "b": 1}
    assert {(p.text, p.category) for p in made.drawn()} == {("same", "a"), ("other", "b")}


def test_memory_is_bounded_by_the_limit():
    made = draw(prompts(a=1000), 10)
    assert sum(len(stratum.held) for stratum in made._strata.values()) <= 30
    assert made.sizes() == {"a": 1000}


def test_prompts_that_may_be_drawn_are_not_in_memory():
    """20 MB of texts, each with what a prompt may have; they come back as they were."""

    def made():
        for i in range(10_000):
            yield Prompt(f"{i} {'word ' * 400}", f"p{i}", "ü" if i % 2 else None, "g", None, '{"answer": "\\ud800"}')

    tracemalloc.start()
    try:
        drawing = draw(made(), None)
        _, peak = tracemalloc.get_traced_memory()
        drawn = {prompt.prompt_id: prompt for prompt in drawing.drawn()}
    finally:
        tracemalloc.stop()
    assert peak < 10e6
    assert drawn == {prompt.prompt_id: prompt for prompt in made()}


def test_the_first_ones_are_read_no_further_than_needed():
    def endless():
        for i in range(5):
            yield Prompt(f"prompt {i // 2}")
        raise AssertionError("read too far")

    first = First(2)
    assert [p.text for p in first.of(endless())] == ["prompt 0", "prompt 1"]
    assert first.repeats == 1
