"""A trained router without torch: what `erp export` wrote of one whose scores are arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, build_backbone
from erp.build import path_of
from erp.errors import ErpError
from erp.files import read_json
from erp.formats.renamed import with_new_targets
from erp.routers.arithmetic import (
    Arithmetic,
    CategoryMeans,
    Classifier,
    ClusterMeans,
    HierarchicalMeans,
    Linear,
    PredictedCosts,
    SoftCategoryMeans,
    with_categories,
)
from erp.routers.neighbours import Neighbours
from erp.trained.card import Card
from erp.trained.exported import CONFIG, read_exported
from erp.trained.model import (
    Codes,
    Distribution,
    Predictions,
    Scores,
    Vectors,
    card_and_state,
    readable,
    require_whole,
)

ROUTERS: dict[str, type[Arithmetic]] = {
    "erp.routers.category_mean.CategoryMean": CategoryMeans,
    "erp.routers.cluster_mean.ClusterMean": ClusterMeans,
    "erp.routers.hierarchical_mean.HierarchicalMean": HierarchicalMeans,
    "erp.routers.knn.KNN": Neighbours,
    "erp.routers.ridge.Ridge": Linear,
    "erp.routers.soft_category_mean.SoftCategoryMean": SoftCategoryMeans,
}
"""By the class that is trained, which nobody can name without importing torch: the same router as numpy has it."""


class Light:
    """What `erp.trained.bundle.Bundle` is, of arrays.

    Args:
        card: of the checkpoint.
        kept: its arrays, by name and part.
        backbone: where the embeddings come from.

    Raises:
        Exception: of several kinds, where an array is missing or of another name.
    """

    def __init__(self, card: Card, kept: Mapping[str, Any], backbone: Backbone) -> None:
        parts = dict(kept)
        self.card, self.backbone = card, backbone
        self.router = ROUTERS[card.router["_target_"]].of(parts.pop("router"))
        self.classifier = Classifier(**parts.pop("classifier"))
        self.cost_model = PredictedCosts(**parts.pop("cost_model")) if card.predict_cost else None
        self.train_mean_reward: Scores = parts.pop("train_mean_reward")
        self.train_mean_cost: Scores = parts.pop("train_mean_cost")
        CategoryMeans(**parts.pop("category_mean"))  # for reports
        if parts:
            raise ValueError(f"it holds {', '.join(parts)}, which no such router has")

    def predict(self, embedding: Vectors, category: Codes, neighbours: bool) -> Predictions:
        """Of n prompts. Raises ErpError where the router was made for other vectors."""
        self.card.require_vectors(embedding.shape[1])
        codes = self.guess(embedding) if self.card.guesses_category else category
        seen = with_categories(embedding, codes, self.card.categories, self.card.category_block)
        scores = self.router.scores(seen, codes)
        costs = self.train_mean_cost
        if self.cost_model is not None:
            costs = self.cost_model.costs(embedding)
        near = self.router.rewards_near(seen) if neighbours and isinstance(self.router, Neighbours) else None
        return Predictions(scores, np.broadcast_to(costs, scores.shape), near)

    def distribution(self, embedding: Vectors, category: Codes) -> Distribution:
        """Nothing: none of these routers predicts more than a mean."""
        del embedding, category
        return Distribution()

    def guess(self, embedding: Vectors) -> Codes:
        """(n,) codes of the most probable categories; -1 where none was learnt."""
        return self.classifier.codes(embedding)


def is_light(tensors: Path, trust: bool) -> bool:
    """Whether an export needs no torch. One that cannot be read needs none: `load_light` says what is wrong with it.

    Raises:
        ErpError: it names a router outside ``erp``.
    """
    try:
        card = with_new_targets(read_json(tensors.with_name(CONFIG))["card"])
        return path_of(card["router"], "router", trust) in ROUTERS and not card.get("backbone_state")
    except ErpError:
        raise
    except Exception:
        return True


def load_light(tensors: Path, trust: bool = False, weights_dir: str | None = None) -> Light:
    """An export, for use. Arrays and plain values are read, and no code runs.

    Args:
        tensors: ``router.safetensors``, with ``config.json`` beside it.
        trust: also build classes outside ``erp`` that the file names.
        weights_dir: where the backbone's weights may lie.

    Raises:
        ErpError: on a file that is no export of ours, or one that names foreign code.
    """
    from safetensors.numpy import load_file

    with readable(tensors):
        card, state = card_and_state(read_exported(tensors, load_file), tensors)
    backbone = build_backbone(card.backbone, weights_dir, trust)
    with readable(tensors):
        light = Light(card, _by_part(state), backbone)
        require_whole(light)
    return light


def _by_part(state: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Arrays by dotted names, in a mapping for every part."""
    found: dict[str, Any] = {}
    for name, array in state.items():
        *parts, last = name.split(".")
        at = found
        for part in parts:
            at = at.setdefault(part, {})
        at[last] = array
    return found
