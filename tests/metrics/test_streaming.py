import numpy as np
import pytest
import torch

from erp.metrics.prediction import r2
from erp.metrics.streaming import MaskedR2


def table(offset=0.0):
    rng = np.random.default_rng(0)
    observed = rng.normal(size=(101, 3)) + offset
    predicted = observed + 0.5 * rng.normal(size=observed.shape)
    observed[rng.random(observed.shape) < 0.3] = np.nan
    return predicted, observed


@pytest.mark.parametrize("batch", [1, 7, 101])
def test_batches_equal_the_whole(batch):
    predicted, observed = table()
    metric = MaskedR2(3)
    for start in range(0, 101, batch):
        metric.update(torch.tensor(predicted[start : start + batch]), torch.tensor(observed[start : start + batch]))
    assert metric.compute().numpy() == pytest.approx(r2(predicted, observed), abs=1e-9)
    metric.reset()
    metric.update(torch.tensor(predicted[:50]), torch.tensor(observed[:50]))
    assert metric.compute().numpy() == pytest.approx(r2(predicted[:50], observed[:50]), abs=1e-9)


def test_processes_merge():
    predicted, observed = (torch.tensor(x) for x in table())
    parts = [MaskedR2(3), MaskedR2(3)]
    parts[0].update(predicted[:40], observed[:40])
    parts[1].update(predicted[40:], observed[40:])
    parts[0].merge_state(parts[1])
    assert parts[0].compute().numpy() == pytest.approx(r2(predicted.numpy(), observed.numpy()), abs=1e-9)


def test_a_shift_keeps_the_digits_of_rewards_far_from_zero():
    predicted, observed = table(offset=1e7)
    metric = MaskedR2(3, shift=torch.full((3,), 1e7))
    metric.update(torch.tensor(predicted), torch.tensor(observed))
    assert metric.compute().numpy() == pytest.approx(r2(predicted, observed), abs=1e-9)


def test_undefined_cases_and_single_precision():
    metric = MaskedR2(3)
    nan = float("nan")
    metric.update(torch.tensor([[0.1, 1.0, 0.0], [0.5, 1.0, 0.0]]), torch.tensor([[0.1, 1.0, nan], [0.1, nan, nan]]))
    metric.update(torch.zeros(0, 3), torch.zeros(0, 3))
    assert metric.compute().isnan().all()
    assert metric.compute().dtype == torch.float64


def test_forward_gives_the_batch_and_keeps_the_total():
    predicted, observed = (torch.tensor(x) for x in table())
    metric = MaskedR2(3)
    metric(predicted[:50], observed[:50])
    second = metric(predicted[50:], observed[50:])
    assert second.numpy() == pytest.approx(r2(predicted[50:].numpy(), observed[50:].numpy()), abs=1e-9)
    assert metric.compute().numpy() == pytest.approx(r2(predicted.numpy(), observed.numpy()), abs=1e-9)
