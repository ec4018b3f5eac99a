"""Rounds of ever larger fits with ever fewer candidates."""

import numpy as np
import pytest

from erp.routers.halving import parts, rounds


def test_a_quarter_of_the_candidates_goes_on_from_fits_on_a_third_of_the_prompts():
    first, last = rounds(12, groups=2800, folds=2)
    assert (first.places, last.places) == (3, 1)
    assert (first.epochs, last.epochs) == (10, 20)
    assert [seen for _, seen in (*first.windows, *last.windows)] == [933, 1400, 1400]
    assert [(this.places, this.windows[0][1]) for this in rounds(30, groups=3200, folds=2)] == [
        (8, 356), (3, 1067), (1, 1600),
    ]  # fmt: skip
    assert [this.places for this in rounds(3, groups=2800, folds=2)] == [1]


def test_of_a_small_table_every_fit_sees_what_can_be_learnt_from():
    assert [this.windows[0][1] for this in rounds(12, groups=240, folds=2)] == [100, 120]
    assert [this.windows[0][1] for this in rounds(12, groups=80, folds=2)] == [40, 40]


def test_fewer_prompts_are_parted_into_more_folds_and_networks_share_a_whole_fit_s_epochs():
    few, many = (rounds(3, groups, None)[-1] for groups in (999, 1000))
    assert [(len(last.windows), last.epochs) for last in (few, many)] == [(3, 13), (2, 20)]


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
