import itertools

import numpy as np
import pytest

from erp.errors import ErpError
from erp.metrics.consistency import Consistency, paraphrase_consistency


def distinct(n):
    return np.array([f"text {i}" for i in range(n)], dtype=object)


def brute_force(chosen, scores, groups, texts):
    """Pair by pair, every group the same."""
    members = {}
    for row in range(len(chosen)):
        members.setdefault(groups[row], {}).setdefault(texts[row], row)
    lists = [list(found.values()) for found in members.values() if len(found) >= 2]

    def over_pairs(of):
        inside = np.mean([np.mean([of(a, b) for a, b in itertools.combinations(g, 2)], axis=0) for g in lists], axis=0)
        across = [np.mean([of(a, b) for a in g for b in h], axis=0) for g, h in itertools.permutations(lists, 2)]
        return inside, np.mean(across, axis=0)

    same = over_pairs(lambda a, b: chosen[a] == chosen[b])
    apart = over_pairs(lambda a, b: (scores[a] - scores[b]) ** 2)
    return [len(lists), sum(map(len, lists)), *same, np.mean(apart[0] / apart[1])]


@pytest.mark.parametrize("seed", range(5))
def test_equals_brute_force_over_pairs(seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 12, 50) * 3 - 4
    texts = np.array([f"{g} {t}" for g, t in zip(groups, rng.integers(0, 4, 50), strict=True)], dtype=object)
    scores = rng.normal(size=(50, 3)) + rng.normal(size=(60, 3))[groups + 4]
    chosen = scores.argmax(axis=1)
    got = paraphrase_consistency(chosen, scores, groups, texts)
    expected = brute_force(chosen, scores, groups, texts)
    assert [got.groups, got.prompts, got.same_member, got.by_chance, got.score_variance_within] == pytest.approx(
        expected, rel=1e-12
    )
    order = rng.permutation(3)  # the pool's order does not matter
    other = paraphrase_consistency(np.argsort(order)[chosen], scores[:, order], groups, texts)
    assert other.same_member == pytest.approx(got.same_member)
    assert other.score_variance_within == pytest.approx(got.score_variance_within)


def test_worked_by_hand():
    # Group 0: members 0, 0, 1: 1 of 3 pairs. Group 1: both 1. Group 2 is a single text, given twice: left out.
    chosen, groups = np.array([0, 0, 1, 1, 1, 0, 1]), np.array([0, 0, 0, 1, 1, 2, 2])
    texts = np.array(["a", "b", "c", "d", "e", "f", "f"], dtype=object)
    scores = np.array([[0.0], [0.0], [3.0], [4.0], [4.0], [9.0], [0.0]]) * [1.0, 0.0]
    got = paraphrase_consistency(chosen, scores, groups, texts)
    # Variances 3 and 0 within; (16 + 16 + 1) / 3 / 2 between. The member that scores all alike says nothing.
    assert got == Consistency(2, 5, pytest.approx((1 / 3 + 1) / 2), pytest.approx(1 / 3), pytest.approx(1.5 / 5.5))


def test_repeats_of_a_text_count_once_and_a_large_group_as_much_as_a_small_one():
    groups = np.array([0] * 6 + [1] * 2)
    chosen = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    texts = np.array(["a"] * 5 + ["b", "c", "d"], dtype=object)
    got = paraphrase_consistency(chosen, np.eye(2)[chosen], groups, texts)
    assert (got.groups, got.prompts, got.same_member) == (2, 4, 0.5)
    large = paraphrase_consistency(chosen, np.eye(2)[chosen], groups, distinct(8))
    assert large.same_member == pytest.approx((10 / 15 + 1) / 2)


def test_the_same_text_in_two_groups_is_two_prompts():
    texts = np.array(["a", "b", "a", "b"], dtype=object)
    got = paraphrase_consistency(np.array([0, 0, 1, 1]), np.eye(2)[[0, 0, 1, 1]], np.array([0, 0, 1, 1]), texts)
    assert got == Consistency(2, 4, 1.0, 0.0, 0.0)


def test_scores_that_do_not_know_the_groups_are_as_far_apart_within_as_between():
    rng = np.random.default_rng(1)
    groups, scores = np.repeat(np.arange(3000), rng.integers(2, 5, 3000)), rng.normal(size=(20_000, 4)) * 3 + 100
    scores = scores[: len(groups)]
    got = paraphrase_consistency(scores.argmax(axis=1), scores, groups, distinct(len(groups)))
    assert got.same_member == pytest.approx(got.by_chance, abs=0.02)
    assert got.by_chance == pytest.approx(0.25, abs=0.01)
    assert got.score_variance_within == pytest.approx(1.0, abs=0.03)
    known = scores + 3 * np.sqrt(3) * rng.normal(size=(3000, 4))[groups]  # between 27, within 9
    share = paraphrase_consistency(known.argmax(axis=1), known, groups, distinct(len(groups))).score_variance_within
    assert share == pytest.approx(0.25, abs=0.02)


def test_one_group_has_no_chance_and_none_is_none():
    chosen, scores = np.array([0, 1, 0]), np.eye(2)[[0, 1, 0]]
    got = paraphrase_consistency(chosen, scores, np.zeros(3, dtype=int), distinct(3))
    assert got == Consistency(1, 3, pytest.approx(1 / 3), None, None)
    assert paraphrase_consistency(chosen, scores, np.arange(3), distinct(3)) is None
    assert paraphrase_consistency(chosen, scores, np.zeros(3, dtype=int), np.array(["a"] * 3, dtype=object)) is None
    assert paraphrase_consistency(chosen[:0], scores[:0], np.arange(0), distinct(0)) is None


def test_scores_that_are_all_equal_have_no_share():
    got = paraphrase_consistency(np.zeros(4, dtype=int), np.full((4, 2), 0.1), np.array([0, 0, 1, 1]), distinct(4))
    assert got == Consistency(2, 4, 1.0, 1.0, None)


def test_bad_input_is_refused_by_name():
    chosen, scores, groups, texts = np.array([0, 1]), np.zeros((2, 2)), np.zeros(2, dtype=int), distinct(2)
    for bad in (
        (chosen[:1], scores, groups, texts),
        (chosen, scores[0], groups, texts),
        (chosen, scores, groups[:1], texts),
        (chosen, scores, groups, texts[:1]),
    ):
        with pytest.raises(ErpError, match="chosen, scores, groups, texts = "):
            paraphrase_consistency(*bad)
    with pytest.raises(ErpError, match="scores: not finite"):
        paraphrase_consistency(chosen, np.array([[0.0, np.nan]] * 2), groups, texts)
    for wrong in ([0, 2], [-1, 0]):
        with pytest.raises(ErpError, match="not positions in a pool of 2"):
            paraphrase_consistency(np.array(wrong), scores, groups, texts)
