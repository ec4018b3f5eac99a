"""The spread against what was put in."""

import numpy as np
import pytest
import torch

from erp.routers.losses import shrunk_variances
from erp.routers.mean_and_spread import MeanAndSpread, gamma_deviance
from erp.routers.mlp import MLP
from tests.routers.gradient import batch_of, learnt, prepared, sampled


def test_gamma_deviance_by_hand_and_least_at_the_mean():
    # Observed 2 for predicted 1: 2 - 1 - ln 2. Observed 1 for 1: 0. Absent: nothing.
    present = torch.tensor([True, True, False])
    found = gamma_deviance(torch.zeros(3), torch.tensor([2.0, 1.0, 9.0]), present)
    assert float(found) == pytest.approx((1 - np.log(2)) / 2)
    observed, here = torch.tensor([1.0, 2.0, 6.0]), torch.ones(3, dtype=torch.bool)
    at = [float(gamma_deviance(torch.full((3,), float(np.log(v))), observed, here)) for v in (2.9, 3.0, 3.1)]
    assert at[1] < min(at[0], at[2])


def two_spreads(seed, n=200, k=8):
    """Spread 2 where the first feature is positive, else 0.5, for member 0; always 1 for member 1. Means are hard."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    sd = np.stack([np.where(x[:, 0] > 0, 2.0, 0.5), np.ones(n)], axis=1)
    mean = 5 * rng.standard_normal((n, 2))  # not told by the features: an error of the mean, no spread
    return batch_of((mean + 3)[:, :, None] + sd[:, :, None] * rng.standard_normal((n, 2, k)), x), sd


def test_the_spread_is_that_between_responses_and_not_the_error_of_the_mean():
    (train, _), (validation, _), (test, sd) = (two_spreads(seed) for seed in (0, 1, 2))
    router = learnt(MeanAndSpread(hidden=(16,), spread_weight=1.0), train, validation, max_epochs=40)
    with torch.no_grad():
        spread = router.spread(test.features).numpy()
    wide, narrow = spread[sd[:, 0] > 1, 0].mean(), spread[sd[:, 0] < 1, 0].mean()
    assert 1.4 < wide < 2.1  # a little toward the pooled one, as the labels are
    assert 0.5 < narrow < 1.2
    np.testing.assert_allclose(spread[:, 1], 1.0, atol=0.25)


def test_before_the_first_step_the_spread_is_the_pooled_one():
    batch = sampled(missing=0.2)
    router = prepared(MeanAndSpread(), batch).eval()
    with torch.no_grad():
        spread = router.spread(batch.features).numpy()
    np.testing.assert_allclose(spread**2, np.tile(router.units.pooled.numpy(), (200, 1)), rtol=1e-6)


def test_the_loss_by_hand_before_the_first_step():
    batch = sampled(missing=0.2)
    means = batch.rewards.numpy()
    router = prepared(MeanAndSpread(spread_weight=0.7), batch).eval()
    centred = (means - np.nanmean(means, axis=0)) / float(router.units.spread)
    pooled = router.units.pooled
    ratio = (shrunk_variances(batch.variances, batch.counts, pooled) / pooled).numpy()[~batch.variances.isnan().numpy()]
    assert 0 < len(ratio) < (~np.isnan(means)).sum()
    expected = np.nanmean(centred**2) + 0.7 * np.mean(ratio - 1 - np.log(ratio))
    assert float(router.loss(batch).detach()) == pytest.approx(expected, rel=1e-5)


def test_one_sample_does_not_tell_the_spread():
    batch = sampled(k=1)
    router = learnt(MeanAndSpread(hidden=(8,)), batch, batch, max_epochs=2)
    with torch.no_grad():
        assert router.spread(batch.features).isnan().all()


def test_with_one_sample_it_learns_means_as_the_mlp_does():
    batch = sampled(k=1)
    one, other = (prepared(make(hidden=(8,)), batch).eval() for make in (MeanAndSpread, MLP))
    assert float(one.loss(batch).detach()) == pytest.approx(float(other.loss(batch).detach()))


def test_members_that_never_vary_have_no_spread():
    """A verifier's rewards of greedy responses, say: variances are all 0, and one member's are not."""
    batch = sampled(k=3)
    samples = batch.samples.numpy().copy()
    samples[:, 0] = np.round(4 * samples[:, 0, :1]) / 4  # exact, and so is their variance of 0
    batch = batch_of(samples, batch.features.embedding)
    router = learnt(MeanAndSpread(hidden=(8,)), batch, batch, max_epochs=3)
    with torch.no_grad():
        spread = router.spread(batch.features)
    assert (spread[:, 0] == 0).all()
    assert (spread[:, 1:] > 0.1).all()
    assert torch.isfinite(router.loss(batch))
