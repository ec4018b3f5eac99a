"""pandas' groupby is the judge."""

import numpy as np
import pandas as pd
import pytest
import torch

from erp.routers.base import Dimensions, Features
from erp.routers.category_mean import CategoryMean
from tests.routers.problems import dimensions, problem, scores


def fitted(train, size=None, categories=3):
    router = CategoryMean()
    router.prepare(dimensions(train, categories))
    router.fit(train.batches(size), ())
    return router


@pytest.mark.parametrize("size", [None, 1, 7])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_equals_pandas(missing, size):
    train, _, test = problem(missing=missing)
    means = pd.DataFrame(train.rewards).groupby(train.category).mean()
    expected = means.loc[test.category].to_numpy()
    np.testing.assert_allclose(scores(fitted(train, size), test), expected, rtol=1e-12)


def test_a_category_that_train_does_not_have_gets_the_mean_over_all():
    train, _, test = problem(missing=0.4)
    train.category[:5] = -1  # these count in the mean over all only
    test.category[:] = -1
    expected = np.broadcast_to(np.nanmean(train.rewards, axis=0), test.rewards.shape)
    router = fitted(train)
    np.testing.assert_allclose(scores(router, test), expected, rtol=1e-12)
    means = pd.DataFrame(train.rewards).groupby(train.category).mean().loc[[0, 1, 2]]
    known = Features(torch.zeros(3, 1), torch.arange(3))
    np.testing.assert_allclose(router.scores(known).numpy(), means.to_numpy(), rtol=1e-12)


def test_a_member_without_a_reward_in_a_category_gets_its_mean_over_all():
    train, _, test = problem()
    train.rewards[train.category == 1, 2] = np.nan
    predicted = scores(fitted(train), test)
    np.testing.assert_allclose(predicted[test.category == 1, 2], np.nanmean(train.rewards[:, 2]), rtol=1e-12)
    assert np.ptp(predicted[:, 2]) > 0


def test_a_table_without_categories_is_one_mean():
    train, _, test = problem()
    train.category[:] = -1
    test.category[:] = -1
    router = CategoryMean()
    router.prepare(Dimensions(12, 4, 0))
    router.fit(train.batches(10), ())
    np.testing.assert_allclose(scores(router, test)[0], train.rewards.mean(axis=0), rtol=1e-12)


def test_it_says_that_it_reads_the_category():
    assert CategoryMean.reads_category
