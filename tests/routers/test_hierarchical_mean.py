"""pandas' groupby, level by level on planted neighbourhoods, is the judge."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin

from erp.errors import ErpError
from erp.routers.base import Dimensions
from erp.routers.hierarchical_mean import HierarchicalMean
from tests.routers.problems import Part, dimensions, problem, scores

COARSE, FINE = 3, 7  # seven small blobs in three big ones


def planted(seed=0, n=420, missing=0.2):
    """Train and test prompts with their fine blob; blob b lies in big blob b % 3. Some categories are unknown."""
    rng = np.random.default_rng(seed)
    fine = rng.permutation(np.arange(n) % FINE)
    middle = 20 * np.eye(10)[np.arange(FINE) % COARSE] + np.eye(10)[3 + np.arange(FINE)]
    embedding = middle[fine] + 0.02 * rng.standard_normal((n, 10))
    category = rng.integers(-1, 3, n)
    rewards = rng.standard_normal((FINE, 4))[fine] + rng.standard_normal((4, 4))[category]
    rewards += rng.standard_normal((n, 4))
    rewards[rng.random(rewards.shape) < missing] = np.nan
    rewards[fine == 4, 1] = np.nan  # a member without a reward in a fine cluster
    rewards[(fine == 5) & (category == 1)] = np.nan  # a category without a reward in one
    rewards[category == 2, 3] = np.nan  # a member without a reward in a category
    whole = Part(embedding.astype(np.float32), rewards, category)
    cut = 2 * n // 3
    return whole.take(np.arange(cut)), whole.take(np.arange(cut, n)), fine[:cut], fine[cut:]


def fitted(train, validation, size=None, categories=3, **options):
    router = HierarchicalMean(**{"coarse": [COARSE], "fine": [FINE], "kappas": [5.0], **options})
    router.prepare(dimensions(train, categories))
    router.fit(train.batches(size), validation.batches(size))
    return router


def down(rewards, paths, kappa, path):
    """Shrunk mean at the end of one path of labels, (M,), walking down from the mean over all."""
    mean = np.nanmean(rewards, axis=0)
    for depth in range(1, len(path) + 1):
        here = pd.DataFrame(rewards)[(paths[:, :depth] == path[:depth]).all(axis=1)]
        mean = np.where(here.count() > 0, (here.sum() + kappa * mean) / np.maximum(here.count() + kappa, 1e-300), mean)
    return mean


def judged(train, fine, part, part_fine, kappa, use_category):
    """Paths are (category, coarse, fine); a prompt of unknown category walks (coarse, fine) over all prompts."""
    without = np.stack([fine % COARSE, fine], axis=1)
    with_it = np.column_stack([train.category, without])
    found = []
    for category, label in zip(part.category, part_fine, strict=True):
        end = np.array([label % COARSE, label])
        if use_category and category >= 0:
            found.append(down(train.rewards, with_it, kappa, np.array([category, *end])))
        else:
            found.append(down(train.rewards, without, kappa, end))
    return np.stack(found)


@pytest.mark.parametrize("use_category", [False, True])
@pytest.mark.parametrize(("seed", "kappa"), [(0, 0.0), (1, 5.0), (2, 40.0), (3, 300.0)])
def test_on_planted_neighbourhoods_it_is_pandas_level_by_level(seed, kappa, use_category):
    train, test, fine, test_fine = planted(seed)
    router = fitted(train, test, size=31, kappas=[kappa], use_category=use_category)
    expected = judged(train, fine, test, test_fine, kappa, use_category)
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_coarse_clusters_are_scikit_learns_of_the_fine_centres(seed):
    train, validation, test = problem(missing=0.1)
    router = fitted(train, validation, coarse=[4], fine=[15], kappas=[6.0], seed=seed)
    centers = router.centers.numpy()
    label, test_label = (pairwise_distances_argmin(part.embedding, centers) for part in (train, test))
    model = KMeans(4, n_init=1, random_state=seed).fit(centers, sample_weight=np.bincount(label))
    paths = np.stack([model.labels_[label], label], axis=1)
    expected = [down(train.rewards, paths, 6.0, np.array([model.labels_[end], end])) for end in test_label]
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-9)


def test_levels_above_make_a_difference():
    """Or the test above would not judge them."""
    train, test, _, _ = planted()
    variants = [{}, {"coarse": [1]}, {"use_category": True}]
    found = [scores(fitted(train, test, kappas=[50.0], **options), test) for options in variants]
    assert all(np.abs(found[i] - found[j]).max() > 0.01 for i, j in [(0, 1), (0, 2), (1, 2)])


def test_without_shrinkage_it_is_the_fine_cluster_mean():
    train, test, fine, test_fine = planted()
    means = pd.DataFrame(train.rewards).groupby(fine).mean().loc[test_fine].to_numpy()
    found = scores(fitted(train, test, kappas=[0.0]), test)
    known = ~np.isnan(means)
    assert not known.all()
    np.testing.assert_allclose(found[known], means[known], rtol=1e-9)


def test_a_category_that_train_does_not_have_gets_the_levels_without_one():
    train, test, _, _ = planted()
    test.category[:] = -1
    with_it, without = (scores(fitted(train, test, use_category=use), test) for use in (True, False))
    np.testing.assert_array_equal(with_it, without)


def test_without_use_category_the_category_is_not_read():
    train, test, _, _ = planted()
    router = fitted(train, test)
    found = scores(router, test)
    test.category[:] = 99
    np.testing.assert_array_equal(scores(router, test), found)
    assert not router.reads_category
    assert HierarchicalMean(use_category=True).reads_category


def noisier(seed):
    """Parts whose rewards tell the less of the prompt, the larger the seed."""
    rng = np.random.default_rng(seed)
    return [
        part.with_rewards(part.rewards + 2 * seed * rng.standard_normal(part.rewards.shape))
        for part in problem(seed, missing=0.3)
    ]


@pytest.mark.parametrize("use_category", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_setting_is_the_best_on_validation(seed, use_category):
    train, validation, test = noisier(seed)
    settings = [(coarse, fine, kappa) for coarse in (2, 5) for fine in (8, 20) for kappa in (0, 4, 30)]

    def of(coarse, fine, kappa):
        options = {"coarse": coarse, "fine": fine, "kappas": kappa, "use_category": use_category}
        return fitted(train, validation, size=29, **options)

    alone = [of(*([value] for value in setting)) for setting in settings]
    errors = [np.nansum((scores(router, validation) - validation.rewards) ** 2) for router in alone]
    best = int(np.argmin(errors))
    router = of([5, 2], [20, 8], [30, 4, 0])
    assert router.chosen() == dict(zip(("coarse", "fine", "kappa"), settings[best], strict=True))
    np.testing.assert_allclose(scores(router, test), scores(alone[best], test), rtol=1e-9)


def test_problems_above_choose_different_settings():
    options = {"coarse": [2, 5], "fine": [8, 20], "kappas": [0, 4, 30]}
    chosen = [
        fitted(*noisier(seed)[:2], use_category=use, **options).chosen() for seed in range(3) for use in (False, True)
    ]
    assert all(len({choice[key] for choice in chosen}) > 1 for key in ("coarse", "fine", "kappa"))


def test_more_clusters_than_prompts_are_as_many_as_those():
    train, validation, _ = problem()
    router = fitted(train, validation, coarse=[10**6], fine=[10**6], kappas=[0])
    assert router.chosen() == {"coarse": len(train), "fine": len(train), "kappa": 0}
    np.testing.assert_allclose(scores(router, train), train.rewards, rtol=1e-12)


@pytest.mark.parametrize("use_category", [False, True])
def test_one_prompt_and_an_empty_validation(use_category):
    train, _, test = problem()
    router = HierarchicalMean(use_category=use_category)
    router.prepare(dimensions(train))
    router.fit(train.take(np.arange(1)).batches(), [])
    np.testing.assert_allclose(scores(router, test), np.repeat(train.rewards[:1], len(test), axis=0), rtol=1e-12)


def test_a_table_without_categories_is_no_trouble():
    train, test, _, _ = planted()
    for part in (train, test):
        part.category[:] = -1
    router = HierarchicalMean(use_category=True)
    router.prepare(Dimensions(10, 4, 0))
    router.fit(train.batches(), test.batches())
    assert torch.isfinite(router.scores(test.features())).all()


def test_a_member_without_any_reward_is_predicted_zero():
    train, test, _, _ = planted()
    train.rewards[:, 2] = np.nan
    found = scores(fitted(train, test, use_category=True), test)
    assert (found[:, 2] == 0).all()
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coarse": []}, r"router\.coarse = \[\]: .*1 or more"),
        ({"fine": [0]}, r"router\.fine = \[0\]: .*1 or more"),
        ({"kappas": [-1.0]}, r"router\.kappas = \[-1\.0\]: .*0 or more"),
        ({"seed": -1}, r"router\.seed = -1: .*from 0"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ErpError, match=message):
        HierarchicalMean(**options)
