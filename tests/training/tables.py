"""A small table with all that training needs, in memory."""

from __future__ import annotations

import pickletools
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from erp.backbones.base import build_backbone, normalised
from erp.backbones.cache import Embeddings
from erp.backbones.hashing import HashingBackbone
from erp.build import build
from erp.config import Trainer
from erp.costs.expected import expected_cost
from erp.files import write_json
from erp.routers.base import Router
from erp.table.categories import category_codes
from erp.table.splits import split_table
from erp.table.synthetic import Synthetic
from erp.targets import expected_reward
from erp.trained.bundle import Bundle
from erp.trained.card import Card
from erp.training.data import RoutingData
from erp.training.datamodule import RoutingDataModule
from erp.training.fitting import fit
from erp.training.module import RoutingModule

BACKBONE = {"name": "hashing", "_target_": "erp.backbones.hashing.HashingBackbone", "dimensions": 64}
POLICY = {"name": "lambda", "_target_": "erp.decisions.policy.LambdaPolicy", "lambda": 0.0}
LINEAR = {"name": "linear", "_target_": "tests.training.linear.Linear"}
RIDGE = {"name": "ridge", "_target_": "erp.routers.ridge.Ridge", "alphas": [1.0]}
QUICK = Trainer(max_epochs=1, patience=3, batch_size=50, learning_rate=0.05, accelerator="cpu", progress=False)


def routing_data(
    prompts: int = 240, members: int = 3, missing: float = 0.0, seed: int = 0, **options: Any
) -> RoutingData:
    """Rewards that the words tell, on the hashed bag of words."""
    options = {"samples": 2, "hidden": 0.0, "noise": 0.5, **options}
    table, _ = Synthetic(prompts=prompts, members=members, missing=missing, seed=seed, **options).draw()
    split = split_table(table, by="group", seed=0, test=0.4, validation=0.2)
    vectors = normalised(HashingBackbone(64).embed(table.prompts["prompt"].tolist()))
    values = table.prompts["category"].tolist()
    categories = tuple(sorted({str(values[row]) for row in split.train if values[row] is not None}))
    costs = expected_cost(table, "auto", {}, {}, train=split.train)
    return RoutingData(
        table, expected_reward(table), costs, split, Embeddings(vectors, np.arange(len(vectors))), categories,
        category_codes(values, categories),
    )  # fmt: skip


def card_of(data: RoutingData, router: dict[str, Any], **said: Any) -> Card:
    card = Card(
        router, BACKBONE, POLICY, data.table.members, data.categories, data.embeddings.dimension,
        data.table.reward_model, data.costs.kind, data.costs.unit, "given", False, 0.0, data.table.prompt_from,
    )  # fmt: skip
    return replace(card, **said)


def module_of(
    data: RoutingData, router: dict[str, Any], trainer: Trainer = QUICK, seed: int = 0, **said: Any
) -> RoutingModule:
    """Built as `erp train` builds it; the card says what is given last in another way."""
    pl.seed_everything(seed, verbose=False)
    card = card_of(data, router, **said)
    bundle = Bundle(card, build(router, Router, key="router"), build_backbone(card.backbone, None))
    return RoutingModule(bundle, trainer.learning_rate, trainer.weight_decay)


def trained(
    data: RoutingData, router: dict[str, Any], folder: Path, trainer: Trainer = QUICK, seed: int = 0, **said: Any
) -> tuple[Bundle, RoutingDataModule]:
    """A fitted bundle; its checkpoint lies in the folder."""
    module = module_of(data, router, trainer, seed, **said)
    datamodule = RoutingDataModule(data, trainer.batch_size, seed, module.bundle.router.reads_samples)
    fit(module, datamodule, trainer, folder)
    return module.bundle, datamodule


def finished_run(data: RoutingData, router: dict[str, Any], folder: Path, **said: Any) -> Bundle:
    """A fitted bundle in a folder that says that the run ended well."""
    bundle, _ = trained(data, router, folder, **said)
    write_json(folder / "status.json", {"status": "ok"})
    write_json(folder / "results.json", {})
    return bundle


def paths_in(checkpoint: Path, folder: Path) -> list[str]:
    """Absolute paths anywhere in a checkpoint: texts that begin with /, or that name the folder."""
    found: list[str] = []
    with zipfile.ZipFile(checkpoint) as parts:
        for name in parts.namelist():
            content = parts.read(name)
            found += [name] if str(folder).encode() in content else []
            if name.endswith(".pkl"):
                texts = [text for _, text, _ in pickletools.genops(content) if isinstance(text, str)]
                found += [text for text in texts if text.startswith("/") and len(text) > 1]
    return found
