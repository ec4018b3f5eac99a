"""Pinball loss by hand and by scikit-learn; the quantiles and the mean that come of it."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import mean_pinball_loss

from erp.routers.quantile import Quantile, mean_weights, pinball
from tests.routers.gradient import batch_of, learnt, prepared, sampled, scores_of


def quantiles_of(router, batch):
    with torch.no_grad():
        return router.quantiles(batch.features).numpy()


def test_pinball_by_hand():
    """Quantiles 1 and 3 at levels .25 and .5. Sample 2: errors 1, -1 cost .25, .5. Sample 5: errors 4, 2 cost 1, 1."""
    quantiles = torch.tensor([[[1.0, 3.0], [1.0, 3.0], [9.0, 9.0]]])
    samples = torch.tensor([[[2.0, 5.0], [2.0, torch.nan], [torch.nan, torch.nan]]])
    # The first cell's mean over samples and levels is 2.75 / 4, the second's .75 / 2; the third is no cell.
    assert float(pinball(quantiles, samples, (0.25, 0.5))) == pytest.approx((2.75 / 4 + 0.75 / 2) / 2)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_pinball_is_scikit_learns(level):
    rng = np.random.default_rng(0)
    quantiles, samples = rng.standard_normal((20, 3)), rng.standard_normal((20, 3, 4))
    found = pinball(torch.from_numpy(quantiles)[..., None], torch.from_numpy(samples), (level,))
    expected = mean_pinball_loss(samples.ravel(), np.repeat(quantiles.ravel(), 4), alpha=level)
    assert float(found) == pytest.approx(expected)


def test_weights_of_the_mean():
    np.testing.assert_allclose(mean_weights([0.1, 0.5, 0.9]), [0.3, 0.4, 0.3])
    assert mean_weights([0.5]) == [1.0]
    # A quantile function linear in between and flat outside, integrated finely.
    levels, values = [0.1, 0.2, 0.7], [-1.0, 0.5, 4.0]
    grid = (np.arange(100_000) + 0.5) / 100_000
    expected = np.interp(grid, levels, values).mean()
    assert np.dot(mean_weights(levels), values) == pytest.approx(expected, abs=1e-8)


def test_the_start_is_a_normal_distribution_about_the_train_means():
    batch = sampled(missing=0.2)
    router = prepared(Quantile(levels=(0.05, 0.3, 0.5, 0.8)), batch)
    expected = np.nanmean(batch.rewards, axis=0)[:, None] + float(router.units.spread) * norm.ppf([0.05, 0.3, 0.5, 0.8])
    np.testing.assert_allclose(quantiles_of(router, batch), np.tile(expected, (200, 1, 1)), rtol=1e-5, atol=1e-6)


def test_the_scores_are_the_quantiles_weighted():
    batch = sampled()
    router = learnt(Quantile(hidden=(8,)), batch, batch, max_epochs=3)
    quantiles = quantiles_of(router, batch)
    np.testing.assert_allclose(scores_of(router, batch), quantiles @ np.full(5, 0.2), rtol=1e-12)
    router.score = 0.9
    np.testing.assert_array_equal(scores_of(router, batch), quantiles[:, :, 4])


def test_quantiles_never_cross():
    batch = sampled()
    router = prepared(Quantile(levels=(0.1, 0.2, 0.5, 0.9)), batch)
    for parameter in router.parameters():
        parameter.data = 3 * torch.randn(parameter.shape)
    assert (np.diff(quantiles_of(router, batch), axis=2) >= 0).all()


def test_without_features_they_are_numpys_quantiles():
    """The same embedding everywhere, many samples: quantiles of all of them, of each member."""
    samples = np.random.default_rng(0).exponential(size=(100, 2, 5)) * [[[1.0], [3.0]]]
    batch = batch_of(samples, np.full((100, 4), 0.5))
    router = learnt(Quantile(hidden=()), batch, batch, max_epochs=200, batch_size=100, learning_rate=0.05)
    expected = np.quantile(samples, [0.1, 0.3, 0.5, 0.7, 0.9], axis=(0, 2)).T
    np.testing.assert_allclose(quantiles_of(router, batch)[0], expected, atol=0.05)


def test_they_cover_what_they_say():
    train, validation, test = (sampled(seed, k=3, noise=1.0) for seed in (0, 1, 2))
    router = learnt(Quantile(hidden=(), dropout=0.0), train, validation, max_epochs=60)
    below = (test.samples.numpy()[:, :, :, None] <= quantiles_of(router, test)[:, :, None, :]).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(below, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.06)
