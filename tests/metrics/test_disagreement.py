"""Where members differ beyond noise, told on other samples than those that are scored."""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2, chi2_contingency, f_oneway

from erp.metrics.disagreement import can_tell, folds, number_of_folds, p_values


def unequal(rng, reward):
    """The same with some cells' last samples missing; two are left in each."""
    n, members, most = reward.shape
    return np.where(np.arange(most) < rng.integers(2, most + 1, (n, members, 1)), reward, np.nan)


def test_a_prompt_s_p_value_is_scipys_analysis_of_variance():
    rng = np.random.default_rng(0)
    reward = unequal(rng, rng.normal(100, 1, (40, 4, 5)) + rng.normal(0, 1, (40, 4, 1)))
    want = [f_oneway(*(cell[~np.isnan(cell)] for cell in prompt)).pvalue for prompt in reward]
    assert p_values(reward, binary=False) == pytest.approx(want, rel=1e-8)


def test_of_right_and_wrong_it_is_pearsons_chi_square_with_one_sample_less():
    rng = np.random.default_rng(1)
    reward = unequal(rng, (rng.random((60, 3, 9)) < rng.random((60, 3, 1))).astype(float))
    reward[:2] = np.where(np.isnan(reward[:2]), np.nan, [[[0.0]], [[1.0]]])
    want = []
    for prompt in reward:
        right, wrong = np.nansum(prompt, axis=1), np.nansum(1 - prompt, axis=1)
        if not right.sum() or not wrong.sum():
            want.append(1.0)
            continue
        n = right.sum() + wrong.sum()
        want.append(chi2.sf(chi2_contingency([right, wrong], correction=False).statistic * (n - 1) / n, 2))
    assert p_values(reward, binary=True) == pytest.approx(want, rel=1e-9)
    assert want[:2] == [1.0, 1.0]


def test_one_sample_a_cell_is_held_against_the_noise_of_all_prompts():
    # Spread 3, 0, 3 about 2: squares add up to 18, which is 9 of the noise's 2.
    assert p_values(np.array([[[5.0], [2.0], [-1.0]]]), False, noise=2.0) == pytest.approx([chi2.sf(9, 2)])


def test_without_noise_a_difference_is_one_and_none_is_none():
    sure = np.array([[[0.3, 0.3], [0.3, 0.3]], [[0.1, 0.1], [0.2, 0.2]]])
    assert p_values(sure, False).tolist() == [1.0, 0.0]
    assert p_values(sure[:, :, :1], False, noise=0.0).tolist() == [1.0, 0.0]
    assert p_values(sure[:, :1], False).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("binary", [True, False])
def test_the_level_is_kept_where_all_members_are_alike(binary):
    rng = np.random.default_rng(2)
    reward = (
        (rng.random((4000, 5, 6)) < rng.random((4000, 1, 1))).astype(float) if binary else rng.normal(size=(4000, 5, 6))
    )
    assert (p_values(reward, binary) <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


def test_every_sample_is_scored_once_and_told_apart_by_all_others():
    rng = np.random.default_rng(3)
    reward = rng.normal(size=(12, 3, 4)) + rng.normal(0, 1, (12, 3, 1))
    found = list(folds(reward, binary=False))
    assert len(found) == 4
    for k, fold in enumerate(found):
        others = np.delete(reward, k, axis=2)
        assert fold.scored == pytest.approx(reward[:, :, k])
        assert fold.known == pytest.approx(others.mean(axis=2))
        assert fold.differ.tolist() == [f_oneway(*prompt).pvalue <= 0.05 for prompt in others]


def test_parts_of_cells_of_unequal_size():
    assert number_of_folds(np.array([[3, 8], [12, 11]])) == 3
    assert number_of_folds(np.array([[30, 80]])) == 10
    reward = np.array([[[1.0, 2.0, 9.0, np.nan], [4.0, 5.0, 6.0, 7.0]]])
    first = next(folds(reward, binary=False))
    assert first.scored.tolist() == [[1.0, 5.5]]  # samples 0 and 3
    assert first.known.tolist() == [[5.5, 5.5]]


@pytest.mark.parametrize(("members", "samples"), list(itertools.product((1, 2, 3, 6, 9), (1, 2, 3, 4))))
def test_whether_rewards_of_0_and_1_can_tell_anything(members, samples):
    """By the clearest case: one half of the members always right, the others always wrong."""
    clear = np.zeros((1, members, samples))
    clear[:, : members // 2] = 1.0
    assert can_tell(members, samples, binary=True) == bool(p_values(clear, binary=True)[0] <= 0.05)
