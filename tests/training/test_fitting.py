"""Fitting through Lightning: closed form and gradient, best checkpoint, killed and resumed."""

import numpy as np
import pytest
import torch

from erp.trained.checkpoint import load_bundle
from erp.training import fitting
from erp.training.datamodule import RoutingDataModule
from tests.training import linear
from tests.training.tables import LINEAR, QUICK, RIDGE, module_of, paths_in, routing_data, trained

LONG = QUICK.model_copy(update={"max_epochs": 6})


@pytest.fixture(autouse=True)
def _nothing_counted():
    linear.LOSSES.clear()
    linear.DIES_AFTER.clear()


@pytest.fixture(scope="module")
def data():
    return routing_data(missing=0.1)


def state(bundle):
    return {name: value.clone() for name, value in bundle.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def mean_loss(bundle, data, rows):
    scores = bundle.router.scores(data.features(rows)).detach().double().numpy()
    return np.nanmean((scores - data.targets.mean[rows]) ** 2)


def test_the_loss_falls(data, tmp_path):
    before = module_of(data, LINEAR).bundle
    bundle, _ = trained(data, LINEAR, tmp_path, LONG)
    for rows in (data.split.train, data.split.validation):
        assert mean_loss(bundle, data, rows) < 0.8 * mean_loss(before, data, rows)


def test_the_same_seed_is_the_same_router_bit_for_bit_and_another_is_not(data, tmp_path):
    one, again, other = (
        trained(data, LINEAR, tmp_path / name, LONG, seed)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert_same(state(one), state(again))
    assert not torch.equal(one.router.layer.weight, other.router.layer.weight)


def test_batches_come_in_a_new_order_every_epoch(data, tmp_path):
    still = LONG.model_copy(update={"learning_rate": 1e-12, "patience": 99})
    trained(data, LINEAR, tmp_path, still)
    epochs = np.reshape(linear.LOSSES, (LONG.max_epochs, -1))
    batches = -(-len(data.split.train) // LONG.batch_size)
    assert len(np.unique(epochs[:, 0].round(9))) > 1  # first train batch
    assert len(np.unique(epochs[:, batches].round(6))) == 1  # first validation batch


def test_training_stops_when_validation_gets_no_better_and_the_best_state_is_kept(data, tmp_path):
    router = {"name": "drifting", "_target_": "tests.training.linear.Drifting", "best": 0.6}
    steps = -(-len(data.split.train) // QUICK.batch_size)
    trainer = QUICK.model_copy(update={"max_epochs": 50, "patience": 3, "learning_rate": 0.2 / steps})
    bundle, _ = trained(data, router, tmp_path, trainer)  # AdamW moves by the learning rate: .2 an epoch
    assert bundle.router.level.item() == pytest.approx(0.6 + 3 * 0.2, abs=0.01)
    best = load_bundle(tmp_path / "checkpoint.ckpt", trust=True)
    assert best.router.level.item() == pytest.approx(0.6, abs=0.01)


def test_a_moving_average_of_the_weights_is_what_is_validated_and_kept(data, tmp_path):
    router = {"name": "drifting", "_target_": "tests.training.linear.Drifting", "best": 9.0}
    per_epoch, epochs, decay = -(-len(data.split.train) // QUICK.batch_size), 4, 0.7
    trainer = QUICK.model_copy(update={"max_epochs": epochs, "learning_rate": 0.01, "average": decay})
    bundle, _ = trained(data, router, tmp_path, trainer)
    best = load_bundle(tmp_path / "checkpoint.ckpt", trust=True)
    level = average = 0.0
    for n in range(1, per_epoch * epochs + 1):  # AdamW moves by the learning rate
        level += 0.01
        of_average = min(decay, (1 + n) / (10 + n))
        average = of_average * average + (1 - of_average) * level
    assert best.router.level.item() == pytest.approx(average, abs=1e-4)
    assert bundle.router.level.item() == pytest.approx(average, abs=1e-4)
    assert level - average > 0.005


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("when", ["first batch of an epoch", "middle of an epoch", "validation"])
def test_a_killed_training_goes_on_as_if_it_had_not_been(data, tmp_path, when, average):
    trainer = LONG.model_copy(update={"average": average})
    whole, _ = trained(data, LINEAR, tmp_path / "whole", trainer)
    losses = list(linear.LOSSES)
    per_epoch = len(losses) // LONG.max_epochs
    batches = -(-len(data.split.train) // LONG.batch_size)
    killed_at = 3 * per_epoch + {"first batch of an epoch": 0, "middle of an epoch": 1, "validation": batches}[when]

    linear.LOSSES.clear()
    linear.DIES_AFTER.append(killed_at)
    with pytest.raises(linear.KilledError):
        trained(data, LINEAR, tmp_path / "killed", trainer)
    linear.DIES_AFTER.clear()
    linear.LOSSES.clear()
    resumed, _ = trained(data, LINEAR, tmp_path / "killed", trainer)

    assert losses[3 * per_epoch :] == linear.LOSSES  # three epochs were done, three are left
    assert_same(state(resumed), state(whole))
    best = [state(load_bundle(tmp_path / name / "checkpoint.ckpt", trust=True)) for name in ("whole", "killed")]
    assert_same(*best)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["checkpoint.ckpt"]


def test_a_process_killed_while_it_wrote_where_to_go_on_starts_again(data, tmp_path):
    whole, _ = trained(data, LINEAR, tmp_path / "whole", LONG)
    linear.DIES_AFTER.append(len(linear.LOSSES) + 8)
    with pytest.raises(linear.KilledError):
        trained(data, LINEAR, tmp_path / "killed", LONG)
    linear.DIES_AFTER.clear()
    last = tmp_path / "killed" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    again, _ = trained(data, LINEAR, tmp_path / "killed", LONG)
    assert_same(state(again), state(whole))


def test_what_a_killed_training_leaves_names_no_path(data, tmp_path):
    linear.DIES_AFTER.append(len(linear.LOSSES) + 8)
    with pytest.raises(linear.KilledError):
        trained(data, LINEAR, tmp_path, LONG)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.ckpt", "last.ckpt"}
    assert not [path for file in tmp_path.iterdir() for path in paths_in(file, tmp_path)]


def test_the_folder_holds_one_checkpoint_when_all_is_done(data, tmp_path):
    trained(data, RIDGE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.ckpt"]


def test_a_closed_form_is_solved_before_it_is_saved(data, tmp_path):
    bundle, _ = trained(data, RIDGE, tmp_path)
    assert bundle.router.weight.shape == (data.embeddings.dimension, 3)
    assert_same(state(load_bundle(tmp_path / "checkpoint.ckpt")), state(bundle))


@pytest.mark.parametrize("router", [RIDGE, LINEAR])
def test_who_listens_hears_of_every_epoch(data, tmp_path, router):
    heard = []
    module = module_of(data, router)
    trainer = QUICK.model_copy(update={"max_epochs": 2, "patience": 9})
    fitting.fit(
        module, RoutingDataModule(data, 50, 0), trainer, tmp_path, lambda row, again: heard.append((row, again))
    )
    assert [row["epoch"] for row, _ in heard] == ([0] if router is RIDGE else [0, 1])
    assert all({"val/loss", "val/r2"} <= row.keys() and not again for row, again in heard)


@pytest.mark.parametrize("router", [RIDGE, LINEAR])
def test_a_process_killed_after_its_last_epoch_trains_no_further(data, tmp_path, monkeypatch, router):
    trained(data, router, tmp_path / "whole", LONG)
    with monkeypatch.context() as patch:
        unlink = fitting.Path.unlink
        patch.setattr(fitting.Path, "unlink", lambda path, **how: _die_of_last(path) or unlink(path, **how))
        with pytest.raises(linear.KilledError):
            trained(data, router, tmp_path / "killed", LONG)
    done = len(linear.LOSSES)
    trained(data, router, tmp_path / "killed", LONG)
    assert len(linear.LOSSES) == done
    best = [state(load_bundle(tmp_path / name / "checkpoint.ckpt", trust=True)) for name in ("whole", "killed")]
    assert_same(*best)


def _die_of_last(path):
    if path.name == fitting.LAST:
        raise linear.KilledError
