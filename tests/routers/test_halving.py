"""Rounds of ever larger fits with ever fewer candidates."""

import numpy as np
import pytest

from erp.routers.halving import parts, rounds


def test_eighteen_candidates_take_three_rounds_a_third_going_on_each_time():
    planned = rounds(18, groups=2700, folds=2)
    assert [this.places for this in planned] == [6, 2, 1]
    assert [this.epochs for this in planned] == [7, 20, 30]
    assert [[seen for _, seen in this.windows] for this in planned] == [[300], [900], [1350, 1350]]
    asked = np.array([18, 6, 2]) @ [sum(seen for _, seen in this.windows) for this in planned]
    assert asked / 2700 == 6  # fits of all prompts, where cross-validating all of them takes 72
    assert [this.places for this in rounds(3, groups=2700, folds=2)] == [1]


def test_of_a_small_table_every_fit_sees_what_can_be_learnt_from():
    assert [this.windows[0][1] for this in rounds(18, groups=600, folds=2)] == [100, 200, 300]
    assert [this.windows[0][1] for this in rounds(18, groups=80, folds=2)] == [40, 40, 40]


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_in_the_last_round_each_prompt_is_scored_once_and_no_group_is_parted(folds):
    groups = np.repeat(np.arange(100, 153), 3)
    scored = np.zeros(len(groups))
    for window in rounds(3, 53, folds)[-1].windows:
        three = np.stack(parts(groups, window, (1, 0)))
        assert (three.sum(axis=0) == 1).all()
        assert all(len(set(zip(*three[:, groups == g], strict=True))) == 1 for g in groups)
        assert three[0].sum() / (three[0] | three[1]).sum() == pytest.approx(0.75, abs=0.03)
        scored += three[2]
    assert (scored == 1).all()


def test_another_round_shows_other_prompts():
    learning = [parts(np.arange(90), (0, 30), (0, number))[0] for number in (0, 0, 1)]
    np.testing.assert_array_equal(learning[0], learning[1])
    assert (learning[0] != learning[2]).any()
