"""From a plan to a trained bundle: embeddings and categories of its table, then a fit, saved and opened again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytorch_lightning as pl

from erp.backbones.base import FittedBackbone
from erp.backbones.cache import cached_embeddings
from erp.backbones.fitted import block_widths, fit_once
from erp.build import build
from erp.files import cache_folder
from erp.routers.base import Router
from erp.shared import shared
from erp.table.categories import category_codes
from erp.trained.bundle import Bundle
from erp.trained.card import Card
from erp.trained.checkpoint import load_bundle
from erp.training.attempts import backbone_with, cost_of_attempts
from erp.training.data import EmbeddedVotes, RoutingData
from erp.training.datamodule import RoutingDataModule
from erp.training.finetuning import settled
from erp.training.fitting import fit
from erp.training.module import RoutingModule
from erp.training.plan import Plan
from erp.units import with_base_lambda


def assemble(plan: Plan) -> RoutingData:
    """Targets and embeddings of the plan's table."""
    config, table = plan.config, plan.table
    backbone = backbone_with(config, plan.attempts)
    prompts, cache = table.prompts["prompt"], cache_folder(config.cache_dir)
    backbone_state = fit_once(backbone, prompts.iloc[plan.split.train].tolist(), cache)
    embeddings = shared(
        "embeddings", lambda: cached_embeddings(prompts.tolist(), backbone, cache, config.trainer.progress),
        table.prompts, backbone.fingerprint(), str(cache),
    )  # fmt: skip
    voted = None
    if plan.votes is not None:
        of_votes = cached_embeddings(plan.votes.votes.texts, backbone, cache, config.trainer.progress)
        voted = EmbeddedVotes(plan.votes, of_votes, config.votes.beside_rewards)
    category = table.prompts["category"]
    categories = tuple(sorted({str(c) for c in category.iloc[plan.split.train] if isinstance(c, str)}))
    return RoutingData(
        table, plan.targets, plan.costs, plan.split, embeddings, categories,
        category_codes(category.tolist(), categories), backbone_state, config.target.kind == "mean", voted,
        cost_of_attempts(config, table, plan.costs), plan.beside,
    )  # fmt: skip


def learn(plan: Plan, data: RoutingData, log: Callable[..., None]) -> tuple[Bundle, RoutingData]:
    """Fit the plan's router on train, choose on validation what is chosen there; test is not read.

    Args:
        plan: of the run; its folder gets the checkpoint.
        data: of the plan.
        log: takes the metrics of an epoch (`erp.tracking.Tracker.log`).

    Returns:
        The bundle as it was saved, and the data with the embeddings that its encoder makes, where one was trained.
    """
    config, cache = plan.config, cache_folder(plan.config.cache_dir)
    pl.seed_everything(config.seed, verbose=False)
    router, policy = (
        with_base_lambda(node, data.costs.kind, config.cost.lambda_per) for node in (config.router, config.policy)
    )
    card = Card(
        router, config.backbone, policy, data.table.members, data.categories, data.embeddings.dimension,
        data.table.reward_model, data.costs.kind, data.costs.unit, config.category, config.cost.predict,
        config.category_block, data.table.prompt_from, backbone_state=data.backbone_state,
        cost_head=config.cost.head,
    )  # fmt: skip
    bundle = Bundle(card, build(router, Router, key="router"), backbone_with(config, plan.attempts))
    if bundle.router.reads_blocks:
        bundle.router.divide(_blocks(bundle, data, cache))
    module = RoutingModule(bundle, config.trainer.learning_rate, config.trainer.weight_decay)
    samples = bundle.router.reads_samples
    datamodule = RoutingDataModule(data, config.trainer.batch_size, config.seed, samples, cache)
    fit(module, datamodule, config.trainer, plan.folder.path, log)
    # From here on the saved router is used, never the one in memory.
    bundle = load_bundle(plan.folder.checkpoint, trust=True, weights_dir=config.weights_dir)
    return bundle, settled(bundle, datamodule, plan.folder.checkpoint, cache, config.trainer.progress).data


def _blocks(bundle: Bundle, data: RoutingData, cache: Path) -> dict[str, int]:
    """How many of the numbers that the router sees belong together, the indicators of categories last."""
    if isinstance(bundle.backbone, FittedBackbone):
        bundle.backbone.restore(data.backbone_state)
    blocks = block_widths(bundle.backbone, cache)
    return blocks | ({"category": len(data.categories)} if bundle.card.category_block > 0 else {})
