"""The loader: every row once, in the order asked for, with what belongs to it."""

import numpy as np
import pytest
import torch

from erp.table.samples import padded_samples
from erp.training.data import RowBatches
from erp.training.datamodule import RoutingDataModule
from tests.training.tables import RIDGE, routing_data, trained


@pytest.fixture(scope="module")
def data():
    return routing_data(missing=0.2)


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_batches_hold_each_row_of_their_split_with_its_own_values(data, part, size):
    module = RoutingDataModule(data, size, seed=3)
    expected = getattr(data.split, part)
    loaders = {
        "train": module.train_dataloader(),
        "validation": module.val_dataloader(),
        "test": module.loader(expected),
    }
    batches = list(loaders[part])
    rows = torch.cat([batch.rows for batch in batches]).numpy()
    np.testing.assert_array_equal(np.sort(rows), expected)
    if part != "train":
        np.testing.assert_array_equal(rows, expected)
    assert [len(batch.rows) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(batches) == -(-len(expected) // size)
    for batch in batches:
        at = batch.rows.numpy()
        np.testing.assert_array_equal(batch.features.embedding.numpy(), data.embeddings.take(at))
        np.testing.assert_array_equal(batch.features.category.numpy(), data.category[at])
        np.testing.assert_array_equal(batch.rewards.numpy(), data.targets.mean[at])
        np.testing.assert_array_equal(batch.counts.numpy(), data.targets.count[at])
        np.testing.assert_array_equal(batch.costs.numpy(), data.costs.values[at])
        assert batch.features.embedding.dtype == torch.float32
        assert batch.rewards.dtype == batch.costs.dtype == torch.float64
        np.testing.assert_array_equal(np.isnan(batch.rewards.numpy()), batch.counts.numpy() == 0)


def test_order_is_a_function_of_seed_and_epoch():
    rows = np.arange(100)

    def order(seed, epoch):
        sampler = RowBatches(rows, 30, seed)
        sampler.set_epoch(epoch)
        return tuple(np.concatenate(list(sampler)))

    assert order(0, 0) == order(0, 0)
    assert len({order(0, 0), order(0, 1), order(1, 0), order(1, 1), tuple(rows)}) == 5
    assert order(None, 3) == tuple(rows)
    assert len(RowBatches(rows, 30)) == 4


def test_complete_rows_have_every_cell(data):
    complete = data.complete(data.split.test)
    present = ~np.isnan(data.targets.mean[data.split.test]).any(axis=1)
    np.testing.assert_array_equal(complete, data.split.test[present])
    assert 0 < len(complete) < len(data.split.test)


def test_sizes_are_those_of_the_table(data):
    sizes = data.dimensions
    assert (sizes.embedding, sizes.members, sizes.categories) == (64, 3, 4)


def test_samples_are_laid_out_only_for_a_router_that_reads_them(monkeypatch, tmp_path):
    data = routing_data(missing=0.2)
    reading = next(iter(RoutingDataModule(data, 50, 0, samples=True).val_dataloader()))
    np.testing.assert_array_equal(reading.samples, padded_samples(data.table)[reading.rows])
    monkeypatch.setattr("erp.training.data.padded_samples", lambda table: pytest.fail("K times the room of the means"))
    bundle, module = trained(data, RIDGE, tmp_path)
    assert all(batch.samples is None for batch in module.train_dataloader())
    assert torch.isfinite(bundle.scores(data.features(data.split.test))).all()
