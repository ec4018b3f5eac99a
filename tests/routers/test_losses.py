"""Shared losses and reward units, against hand-worked numbers, numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import mean_squared_error

from erp.routers.losses import (
    RewardUnits,
    masked_huber,
    masked_log_softmax,
    masked_mean,
    masked_squared_error,
    shrunk_variances,
    softmax_target,
    spread_within_prompts,
)
from tests.routers.gradient import batch_of, sampled

NAN = float("nan")


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def test_masked_mean_weighs_what_is_present():
    present = torch.tensor([True, True, False, True])
    assert float(masked_mean(tensor([1, 2, 100, 6]), present)) == 3
    assert float(masked_mean(tensor([1, 2, 100, 6]), present, tensor([1, 2, 50, 1]))) == pytest.approx(11 / 4)


def test_squared_error_is_scikit_learns_over_the_present_cells():
    rng = np.random.default_rng(0)
    predicted, observed = rng.standard_normal((2, 30, 4))
    weights = rng.uniform(0, 2, (30, 4))
    observed[rng.random((30, 4)) < 0.4] = np.nan
    here = ~np.isnan(observed)
    args = torch.from_numpy(predicted), torch.from_numpy(observed)
    assert float(masked_squared_error(*args)) == pytest.approx(mean_squared_error(observed[here], predicted[here]))
    expected = mean_squared_error(observed[here], predicted[here], sample_weight=weights[here])
    assert float(masked_squared_error(*args, torch.from_numpy(weights))) == pytest.approx(expected)


def test_huber_by_hand():
    # Errors .5 and 3: .125 and 2.5.
    assert float(masked_huber(tensor([0.5, 3, 7]), tensor([0, 0, NAN]))) == pytest.approx((0.125 + 2.5) / 2)


@pytest.mark.parametrize("loss", [masked_squared_error, masked_huber])
def test_a_missing_cell_has_no_gradient_and_none_at_all_gives_zero(loss):
    predicted = tensor([1.0, 2.0]).requires_grad_()
    loss(predicted, tensor([3.0, NAN])).backward()
    assert predicted.grad[0] != 0
    assert predicted.grad[1] == 0
    nothing = loss(predicted, tensor([NAN, NAN]))
    assert nothing.requires_grad
    assert nothing.detach() == 0


def test_softmax_target_by_hand():
    # exp(ln 3) : exp(0) = 3 : 1; at twice the temperature sqrt(3) : 1; the missing one has no part in it.
    rewards = tensor([[np.log(3), 0.0, NAN], [NAN, NAN, NAN], [NAN, 5.0, NAN]])
    np.testing.assert_allclose(softmax_target(rewards, 1.0), [[0.75, 0.25, 0], [0, 0, 0], [0, 1, 0]], rtol=1e-12)
    root = np.sqrt(3)
    np.testing.assert_allclose(softmax_target(rewards, 2.0)[0], [root / (1 + root), 1 / (1 + root), 0], rtol=1e-12)


def test_softmax_of_far_apart_rewards_is_finite():
    assert torch.equal(softmax_target(tensor([[1e6, -1e6, NAN]]), 1e-3), tensor([[1.0, 0.0, 0.0]]))


def test_log_softmax_is_scipys_over_the_present_members():
    logits = np.random.default_rng(1).standard_normal((5, 4)) * 3
    present = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=bool)
    found = masked_log_softmax(torch.from_numpy(logits), torch.from_numpy(present)).numpy()
    for row, here, values in zip(found, present, logits, strict=True):
        if here.any():
            np.testing.assert_allclose(row[here], log_softmax(values[here]), rtol=1e-12, atol=1e-15)
        assert (row[~here] == 0).all()


def test_shrunk_variances_by_hand():
    # Pooled 2 with weight 4. K = 5, s^2 = 0: 8 / 8. K = 2, s^2 = 7: (8 + 7) / 5. One sample: 2.
    found = shrunk_variances(tensor([[0.0], [7.0], [NAN]]), torch.tensor([[5], [2], [1]]), tensor([2.0]))
    np.testing.assert_allclose(found, [[1], [3], [2]])


@pytest.mark.parametrize("size", [1, 3, 20])
def test_spread_within_prompts_is_numpys(size):
    values = np.random.default_rng(2).standard_normal((20, 3))
    values[0, 1:] = np.nan  # one member: no spread
    values[1, 0] = np.nan
    values[2] = np.nan
    several = [row[~np.isnan(row)] for row in values if (~np.isnan(row)).sum() >= 2]
    expected = np.sqrt(np.mean([np.var(row, ddof=1) for row in several]))
    assert len(several) == 18
    assert float(spread_within_prompts(torch.split(torch.from_numpy(values), size))) == pytest.approx(expected)
    assert float(spread_within_prompts([torch.from_numpy(values[:1])])) == 0


def measured(batch):
    units = RewardUnits(batch.rewards.shape[1])
    units.measure([batch])
    return units


def test_units_are_numpys():
    batch = sampled(missing=0.5, n=60)
    units = measured(batch)
    means, samples = batch.rewards.numpy(), batch.samples.numpy()
    centred = means - np.nanmean(means, axis=0)
    np.testing.assert_allclose(units.center, np.nanmean(means, axis=0), rtol=1e-12)
    assert float(units.spread) == pytest.approx(np.sqrt(np.nanmean(centred**2)))
    for m in range(means.shape[1]):
        cells = [cell[~np.isnan(cell)] for cell in samples[:, m]]
        assert {len(cell) for cell in cells} == {0, 1, 2, 3}
        squares = sum(((cell - cell.mean()) ** 2).sum() for cell in cells if len(cell))
        pooled = squares / sum(len(cell) - 1 for cell in cells if len(cell))
        noise = np.mean([(np.var(c, ddof=1) if len(c) > 1 else pooled) / len(c) for c in cells if len(c)])
        assert float(units.pooled[m]) == pytest.approx(pooled)
        assert float(units.noise[m]) == pytest.approx(noise)
        assert float(units.signal[m]) == pytest.approx(np.nanvar(means[:, m], ddof=1) - noise)


def test_precision_and_shrinkage_by_hand():
    """One member, expected rewards 0 and 6, samples (-1, 1) and (6, 6); a third cell has the one sample 0.

    Pooled variance 2 / 2 = 1; noise (2/2 + 0/2 + 1/1) / 3 = 2/3; variance of means (0, 6, 0) is 12, tau^2 = 34/3.
    Shrunk variances (4 + 2) / 5, 4 / 5 and 1; of the means 3/5, 2/5 and 1.
    """
    batch = batch_of([[[-1.0, 1.0]], [[6.0, 6.0]], [[0.0, NAN]]])
    units = measured(batch)
    np.testing.assert_allclose([units.pooled, units.noise, units.signal], [[1], [2 / 3], [34 / 3]])
    noise = np.array([3 / 5, 2 / 5, 1])
    np.testing.assert_allclose(units.precision(batch)[:, 0], 12 / (34 / 3 + noise))
    trust = (34 / 3) / (34 / 3 + noise)
    np.testing.assert_allclose(units.shrunk(batch)[:, 0], trust * np.array([0, 6, 0]) + (1 - trust) * 2)


def test_shrunk_rewards_are_nearer_to_the_truth():
    rng = np.random.default_rng(3)
    truth = rng.standard_normal((400, 2))
    batch = batch_of(truth[:, :, None] + 2 * rng.standard_normal((400, 2, 4)))
    shrunk = measured(batch).shrunk(batch).numpy()
    # The mean of 4 is off by 1 (squared); the posterior mean by 1 / 2.
    assert ((batch.rewards.numpy() - truth) ** 2).mean() == pytest.approx(1, abs=0.15)
    assert ((shrunk - truth) ** 2).mean() == pytest.approx(0.5, abs=0.1)


def test_one_sample_tells_nothing_of_noise():
    batch = sampled(k=1, missing=0.2)
    units = measured(batch)
    assert units.pooled.isnan().all()
    assert (units.precision(batch) == 1).all()
    torch.testing.assert_close(units.shrunk(batch), batch.rewards, rtol=0, atol=0, equal_nan=True)


def test_equal_rewards_are_no_trouble():
    batch = batch_of(np.full((4, 3, 2), 0.1))
    units = measured(batch)
    assert (units.precision(batch) == 1).all()
    np.testing.assert_array_equal(units.shrunk(batch), batch.rewards)
    assert torch.isfinite(units.standardised(batch.rewards)).all()


def test_a_member_without_rewards_is_centred_on_the_pool():
    samples = np.array([[[1.0], [NAN]], [[3.0], [NAN]]])
    np.testing.assert_allclose(measured(batch_of(samples)).center, [2, 2])


def test_units_of_batches_are_those_of_the_whole():
    batch, units = sampled(missing=0.3, n=30), RewardUnits(4)
    samples, embedding = batch.samples.numpy(), batch.features.embedding.numpy()
    units.measure([batch_of(samples[i : i + 7], embedding[i : i + 7]) for i in range(0, 30, 7)])
    for name, value in measured(batch).named_buffers():
        np.testing.assert_allclose(getattr(units, name), value, rtol=1e-12, err_msg=name)
