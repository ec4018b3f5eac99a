"""RouterDC with its encoder trained along, a small DeBERTa: what it learns, when it stops, and what is kept."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from erp.backbones.base import build_backbone
from erp.backbones.cache import Embeddings, embed_prompts
from erp.build import build
from erp.routers.base import Router
from erp.trained.bundle import Bundle
from erp.trained.checkpoint import load_bundle
from erp.training.datamodule import RoutingDataModule
from erp.training.fitting import fit
from erp.training.module import RoutingModule
from tests.backbones.tiny_encoders import tiny_encoder
from tests.routers.contrasts import of_prompts, with_members
from tests.training.tables import QUICK, card_of, routing_data

ROUTER = {"name": "routerdc", "_target_": "erp.routers.routerdc.RouterDC", "dimension": None, "init_std": 0.78}
PATIENCE, EPOCHS = 2, 150  # it stops after some forty, earlier or later by how a processor rounds


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """Rows of the epochs, the state that was kept, the encoder before, and the data."""
    folder = tmp_path_factory.mktemp("routerdc")
    plain = tiny_encoder(folder / "tiny", "deberta", "cls").parent / "tiny-plain"
    target = "erp.backbones.sentence_transformer.SentenceTransformerBackbone"
    rates = {"encoder_learning_rate": 3e-3, "layer_decay": 1.0}
    node = {"name": "tiny", "_target_": target, "model": str(plain), "pooling": "cls", "finetune": True, **rates}
    data = routing_data(prompts=100, noise=0.1)
    vectors = embed_prompts(data.table.prompts["prompt"].tolist(), build_backbone(node, None))
    data = replace(data, embeddings=Embeddings(vectors, np.arange(len(vectors))))
    pl.seed_everything(0, verbose=False)
    router, backbone = build(ROUTER, Router, key="router"), build_backbone(node, None)
    module = RoutingModule(Bundle(replace(card_of(data, ROUTER), backbone=node), router, backbone), 3e-3)
    before = {name: value.clone() for name, value in module.bundle.encoder.state_dict().items()}
    rows = []
    trainer = QUICK.model_copy(update={"max_epochs": EPOCHS, "patience": PATIENCE, "batch_size": 16})
    fit(module, RoutingDataModule(data, 50, 0), trainer, folder, lambda row, again: rows.append(row))
    return rows, load_bundle(folder / "checkpoint.ckpt", trust=True), before, data


def test_the_loss_falls_and_every_layer_of_the_encoder_learns(learnt):
    rows, bundle, before, _ = learnt
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] - 0.02
    for name, value in bundle.encoder.state_dict().items():
        assert name.endswith("key_proj.bias") or not torch.equal(value, before[name]), name


def test_it_stops_by_validation_and_keeps_the_state_of_least_loss(learnt):
    """That loss computed again, from the prompts' texts and the formulas."""
    rows, bundle, _, data = learnt
    losses = [row["val/loss"] for row in rows]
    assert len(rows) == int(np.argmin(losses)) + 1 + PATIENCE < EPOCHS
    held_out = data.split.validation
    with torch.no_grad():
        hidden = bundle.encoder.eval()(data.table.prompts["prompt"].iloc[held_out].tolist()).numpy()
    k = bundle.router.vectors.detach().numpy()
    similarity = hidden @ (k / np.linalg.norm(k, axis=1, keepdims=True)).T
    released = data.embeddings.take(held_out)
    distances = np.linalg.norm(released[:, None] - bundle.router.centers.numpy(), axis=2)
    expected = with_members(similarity, data.targets.mean[held_out], 3, 3)[0]
    expected += of_prompts(hidden, distances.argmin(axis=1), 3)
    assert min(losses) == pytest.approx(expected, rel=1e-4)
