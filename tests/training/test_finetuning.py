"""An encoder trained along with a router: what is trained at which rate, kept, made anew, and gone on with."""

import re
from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import r2_score

from erp.backbones.base import build_backbone, normalised
from erp.backbones.cache import Embeddings, embed_prompts
from erp.build import build
from erp.errors import ErpError
from erp.routers.base import Router
from erp.routers.classifier import CategoryClassifier
from erp.trained.bundle import Bundle
from erp.trained.checkpoint import load_bundle
from erp.training.datamodule import RoutingDataModule
from erp.training.finetuning import settled
from erp.training.fitting import fit
from erp.training.module import RoutingModule
from erp.training.scoring import scores_of
from erp.training.suited import require_loss
from tests.backbones.tiny_encoders import LAYERS, tiny_encoder
from tests.training import linear
from tests.training.tables import QUICK, card_of, routing_data

LINEAR = {"name": "linear", "_target_": "tests.training.linear.Linear"}
MLP = {"name": "mlp", "_target_": "erp.routers.mlp.MLP", "hidden": [8], "dropout": 0.5}
RIDGE = {"name": "ridge", "_target_": "erp.routers.ridge.Ridge"}
RATE, DECAY = 1e-3, 0.5


@pytest.fixture(autouse=True)
def _nothing_counted():
    linear.LOSSES.clear()
    linear.DIES_AFTER.clear()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    folder = tiny_encoder(tmp_path_factory.mktemp("encoder") / "bert", "bert", "mean")
    target = "erp.backbones.sentence_transformer.SentenceTransformerBackbone"
    arguments = {"finetune": True, "encoder_learning_rate": RATE, "layer_decay": DECAY, "batch_size": 16}
    return {"name": "tiny", "_target_": target, "model": str(folder), **arguments}


@pytest.fixture(scope="module")
def data(node):
    table = routing_data(prompts=60)
    prompts = table.table.prompts["prompt"].tolist()
    vectors = embed_prompts(prompts, build_backbone({**node, "finetune": False}, None))
    return replace(table, embeddings=Embeddings(vectors, np.arange(len(vectors))))


def module_of(data, node, router, **card):
    pl.seed_everything(0, verbose=False)
    told = replace(card_of(data, router), backbone=node, **card)
    return RoutingModule(Bundle(told, build(router, Router, key="router"), build_backbone(node, None)), 0.01)


def fitted(data, node, router, folder, epochs=1, batch_size=12, **card):
    """The state of least validation loss, out of the checkpoint; and the data as it was trained on."""
    module = module_of(data, node, router, **card)
    datamodule = RoutingDataModule(data, batch_size, 0)
    fit(module, datamodule, QUICK.model_copy(update={"max_epochs": epochs}), folder)
    return load_bundle(folder / "checkpoint.ckpt", trust=True), datamodule


def weights(bundle):
    return {name: value.clone() for name, value in bundle.encoder.state_dict().items()}


def test_an_average_of_the_weights_holds_the_encoder_s_too(data, node, tmp_path):
    """After two steps by whole batches: of the first 2/11, of the second 3/12 is left of what was before."""

    def after(steps, average=None):
        module = module_of(data, node, LINEAR)
        trainer = QUICK.model_copy(update={"max_epochs": steps, "average": average})
        fit(module, RoutingDataModule(data, 1000, 0), trainer, tmp_path / f"{steps}-{average}")
        return {name: value.detach().clone() for name, value in module.bundle.named_parameters()}

    start = {name: value.detach().clone() for name, value in module_of(data, node, LINEAR).bundle.named_parameters()}
    one, two, averaged = after(1), after(2), after(2, 0.9)
    moved = 0
    for name in start:
        first = 2 / 11 * start[name] + 9 / 11 * one[name]
        torch.testing.assert_close(averaged[name], 3 / 12 * first + 9 / 12 * two[name], rtol=0, atol=1e-6)
        moved += not torch.equal(averaged[name], two[name])
    assert moved > 20


def test_one_step_moves_every_layer_by_its_rate(data, node, tmp_path):
    """AdamW's first step is the rate itself, wherever there is a gradient."""
    before = weights(module_of(data, node, LINEAR).bundle)
    bundle, _ = fitted(data, node, LINEAR, tmp_path, batch_size=1000)
    seen = set()
    for name, value in weights(bundle).items():
        layer = re.search(r"layer\.(\d+)\.", name)
        moved = (value - before[name]).abs()
        if name.endswith("key.bias"):  # what is added to every key changes no attention
            continue
        if "embeddings" in name or layer:
            below = LAYERS if not layer else LAYERS - 1 - int(layer[1])
            seen.add(below)
            assert moved.max() == pytest.approx(RATE * DECAY**below, rel=0.02), name
        else:
            assert "pooler" in name  # BERT's own, which the mean does not pass through
            assert moved.max() == 0
    assert seen == {0, 1, 2}


def test_the_router_keeps_the_trainer_s_rate(data, node):
    groups = module_of(data, node, LINEAR).configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.01, RATE * DECAY**2, RATE * DECAY, RATE])
    frozen = module_of(data, {**node, "finetune": False}, LINEAR)
    assert frozen.bundle.encoder is None
    assert not [name for name in frozen.state_dict() if name.startswith("encoder")]
    assert len(frozen.configure_optimizers().param_groups) == 1


def test_after_training_all_is_of_the_encoder_as_it_is_then(data, node, tmp_path):
    bundle, datamodule = fitted(data, node, MLP, tmp_path, epochs=2, predict_cost=True)
    stale = bundle.classifier.weight.clone(), bundle.cost_model.weight.clone()
    tuned = settled(bundle, datamodule, tmp_path / "checkpoint.ckpt", tmp_path / "cache", progress=False)
    rows = np.arange(len(data.category))
    vectors = tuned.data.embeddings.take(rows)
    with torch.no_grad():
        own = bundle.encoder.eval()(data.table.prompts["prompt"].tolist()).numpy()
    np.testing.assert_allclose(vectors, own, atol=1e-6)
    assert np.abs(vectors - data.embeddings.take(rows)).max() > 1e-3

    judge = CategoryClassifier()
    judge.fit(tuned.loader(data.split.train), tuned.val_dataloader(), len(data.categories))
    torch.testing.assert_close(bundle.classifier.weight, judge.weight)
    for old, new in zip(stale, (bundle.classifier.weight, bundle.cost_model.weight), strict=True):
        assert not torch.equal(old, new)

    again = load_bundle(tmp_path / "checkpoint.ckpt", trust=True)
    for name, value in bundle.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)
    with torch.no_grad():
        expected = bundle.router.scores(tuned.data.features(data.split.test)).numpy()
    np.testing.assert_allclose(scores_of(again, tuned.data, data.split.test, 12), expected, rtol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.ckpt", "cache"}
    assert set(torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)) == {"format", "card", "state_dict"}


def test_a_service_embeds_by_the_trained_encoder(data, node, tmp_path):
    bundle, _ = fitted(data, node, LINEAR, tmp_path)
    released = embed_prompts(["a prompt"], build_backbone({**node, "finetune": False}, None))
    found = embed_prompts(["a prompt"], bundle.backbone)
    with torch.no_grad():
        np.testing.assert_allclose(found, bundle.encoder(["a prompt"]).numpy(), atol=1e-6)
    assert np.abs(found - released).max() > 1e-3
    assert found == pytest.approx(normalised(found), abs=1e-7)


def test_validation_in_training_scores_by_the_encoder_as_it_is_just_then(data, node, tmp_path):
    module = module_of(data, node, LINEAR)
    heard, rows = [], data.split.validation
    fit(module, RoutingDataModule(data, 50, 0), QUICK, tmp_path, lambda row, again: heard.append(row))
    with torch.no_grad():
        embedding = module.bundle.encoder.eval()(data.table.prompts["prompt"].iloc[rows].tolist())
        expected = module.bundle.router.layer(embedding).double().numpy()
    observed = data.targets.mean[rows]
    assert heard[-1]["val/loss"] == pytest.approx(np.mean((expected - observed) ** 2), rel=1e-5)
    assert heard[-1]["val/r2"] == pytest.approx(r2_score(observed, expected), abs=1e-5)


def test_validation_after_training_reads_the_data_s_embeddings(data, node, tmp_path):
    bundle, _ = fitted(data, node, LINEAR, tmp_path)
    reversed_rows = replace(data, embeddings=Embeddings(-data.embeddings.take(np.arange(60)), np.arange(60)))
    one, other = (scores_of(bundle, d, data.split.validation, 50) for d in (data, reversed_rows))
    with torch.no_grad():
        bias = bundle.router.layer.bias.double().numpy()
    np.testing.assert_allclose(one + other, np.broadcast_to(2 * bias, one.shape), atol=1e-5)


@pytest.mark.parametrize("when", ["training", "settling"])
def test_a_killed_training_goes_on_as_if_it_had_not_been(data, node, tmp_path, when):
    whole, _ = fitted(data, node, LINEAR, tmp_path / "whole", epochs=3)
    per_epoch = len(linear.LOSSES) // 3
    if when == "training":
        linear.LOSSES.clear()
        linear.DIES_AFTER.append(2 * per_epoch + 1)
        with pytest.raises(linear.KilledError):
            fitted(data, node, LINEAR, tmp_path / "killed", epochs=3)
        linear.DIES_AFTER.clear()
    else:
        fitted(data, node, LINEAR, tmp_path / "killed", epochs=3)
    linear.LOSSES.clear()
    resumed, _ = fitted(data, node, LINEAR, tmp_path / "killed", epochs=3)
    assert len(linear.LOSSES) == (per_epoch if when == "training" else 0)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0, equal_nan=True)


def test_the_released_files_have_to_be_there_to_load(data, node, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    fitted(data, node, LINEAR, tmp_path)
    content = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    content["card"]["backbone"]["model"] = "nobody/no-such-model"
    torch.save(content, tmp_path / "checkpoint.ckpt")
    with pytest.raises(ErpError, match=r"weights_dir = /nowhere: nobody/no-such-model is not there"):
        load_bundle(tmp_path / "checkpoint.ckpt", trust=True, weights_dir="/nowhere")


def test_a_checkpoint_of_another_encoder_is_refused(data, node, tmp_path):
    fitted(data, node, LINEAR, tmp_path)
    content = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    for name in [name for name in content["state_dict"] if "layer.1" in name]:
        del content["state_dict"][name]
    torch.save(content, tmp_path / "checkpoint.ckpt")
    with pytest.raises(ErpError, match=r"checkpoint.ckpt: cannot be read"):
        load_bundle(tmp_path / "checkpoint.ckpt", trust=True)


def test_a_closed_form_is_refused_by_name_and_no_other(node):
    ridge, mlp = (build(router, Router, key="router") for router in (RIDGE, MLP))
    tuned, frozen = build_backbone(node, None), build_backbone({**node, "finetune": False}, None)
    with pytest.raises(ErpError, match=r"router = ridge: is solved in closed form, .* choose one with a loss \(mlp"):
        require_loss(ridge, "ridge", tuned)
    for router, backbone in ((ridge, frozen), (mlp, tuned), (mlp, frozen)):
        require_loss(router, "any", backbone)


def test_the_encoder_learns_with_dropout_and_is_judged_without(data, node, tmp_path):
    untrained = module_of(data, {**node, "finetune": False}, LINEAR).bundle
    train = next(iter(RoutingDataModule(data, 1000, 0).loader(data.split.train)))
    still = {**node, "encoder_learning_rate": 1e-12}
    module = module_of(data, still, LINEAR)
    module.learning_rate = 1e-12
    fit(module, RoutingDataModule(data, 1000, 0), QUICK, tmp_path)
    noisy, judged = linear.LOSSES
    assert noisy != pytest.approx(untrained.router.loss(train).item(), rel=1e-3)
    held_out = next(iter(RoutingDataModule(data, 1000, 0).val_dataloader()))
    assert judged == pytest.approx(untrained.router.loss(held_out).item(), rel=1e-5)
