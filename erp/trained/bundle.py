"""Everything that a trained router is: the router and what every decision and report needs beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from erp.backbones.base import Backbone, Trainable, trains
from erp.routers.base import Dimensions, Features, Router, array_of
from erp.routers.category_mean import CategoryMean
from erp.routers.classifier import CategoryClassifier
from erp.routers.cost_model import CostModel
from erp.routers.quantile import mean_weights
from erp.trained.card import Card
from erp.trained.model import Codes, Distribution, Predictions, Vectors


class Bundle(nn.Module):
    """A router with what stands beside it, as it is trained, saved, opened and asked.

    Beside the router: the train means of reward and cost, the category means and a classifier of categories, which
    every report needs; a model of costs where they are predicted; the encoder of a backbone that is fine-tuned.

    Args:
        card: goes into the checkpoint.
        router: prepared for the card's dimensions here.
        backbone: where the embeddings come from.
    """

    train_mean_reward: Tensor
    train_mean_cost: Tensor

    def __init__(self, card: Card, router: Router, backbone: Backbone) -> None:
        super().__init__()
        self.card = card
        self.router = router
        block = len(card.categories) if card.category_block > 0 else 0
        dimensions = Dimensions(card.dimension + block, len(card.members), len(card.categories))
        self.router.prepare(dimensions)
        self.category_mean = CategoryMean()
        self.category_mean.prepare(dimensions)
        self.classifier = CategoryClassifier()
        self.cost_model = CostModel(card.cost_head) if card.predict_cost else None
        members = len(card.members)
        self.register_buffer("train_mean_reward", torch.full((members,), torch.nan, dtype=torch.float64))
        self.register_buffer("train_mean_cost", torch.full((members,), torch.nan, dtype=torch.float64))
        self.backbone = backbone
        # After the router, which so starts from the same numbers with and without it.
        self.encoder = backbone.encoder() if isinstance(backbone, Trainable) and trains(backbone) else None

    def predict(self, embedding: Vectors, category: Codes, neighbours: bool) -> Predictions:
        """Of n prompts by their embeddings (n, d) and codes (n,): `erp.trained.model.Model`."""
        features = Features(torch.from_numpy(embedding), torch.from_numpy(category))
        with torch.no_grad():
            scores = array_of(self.scores(features).to(torch.float64))
            costs = array_of(self.predicted_costs(features.embedding))
            near = self.neighbour_rewards(features) if neighbours else None
        return Predictions(scores, np.broadcast_to(costs, scores.shape), None if near is None else array_of(near))

    def guess(self, embedding: Vectors) -> Codes:
        """(n,) codes of the most probable categories; -1 where none was learnt."""
        return self.classifier.kept().codes(embedding)

    def scores(self, features: Features) -> Tensor:
        """The router's scores, (B, M). Raises ErpError where it was made for other vectors."""
        return self.router.scores(self.seen(features))

    def predicted_costs(self, embedding: Tensor) -> Tensor:
        """What the decision rule takes each answer to cost: (M,) train means, or (B, M) predictions, none below 0."""
        if self.cost_model is None:
            return self.train_mean_cost
        return self.cost_model.costs(embedding)

    def category_scores(self, codes: Tensor) -> Tensor:
        """The category mean's scores by codes, (B, M): the baseline that stands beside every router."""
        return self.category_mean.scores(Features(torch.empty(len(codes), 0), codes))

    def neighbour_rewards(self, features: Features) -> Tensor | None:
        """Rewards of each prompt's nearest train prompts, (B, k, M); None for a router that keeps none."""
        ask = getattr(self.router, "neighbour_rewards", None)
        return None if ask is None else ask(self.seen(features))

    def distribution(self, embedding: Vectors, category: Codes) -> Distribution:
        """What the router predicts of single rewards beside their mean; a router may predict nothing of it."""
        features = Features(torch.from_numpy(embedding), torch.from_numpy(category))
        spread, quantiles, matches = (getattr(self.router, name, None) for name in ("spread", "quantiles", "matches"))
        given = self.seen(features) if spread or quantiles or matches else features
        with torch.no_grad():
            return Distribution(
                None if spread is None else spread(given).numpy(),
                None if quantiles is None else quantiles(given).numpy(),
                None if quantiles is None else np.array(mean_weights(self.router.levels)),  # type: ignore[arg-type]
                None if matches is None else matches(given).numpy(),
            )

    def seen(self, features: Features) -> Features:
        """What the router gets to see outside training. Raises ErpError where it was made for other vectors."""
        self.card.require_vectors(features.embedding.shape[1])
        return self.widened(self.guessed(features))

    def widened(self, features: Features) -> Features:
        """With a block of category indicators behind the embedding, all 0 where the category is unknown."""
        if self.card.category_block == 0:
            return features
        codes = torch.arange(len(self.card.categories), device=features.category.device)
        block = self.card.category_block * (features.category[:, None] == codes)
        return replace(features, embedding=torch.cat([features.embedding, block.to(features.embedding.dtype)], dim=1))

    def guessed(self, features: Features) -> Features:
        """With predicted categories, those in place of the given ones."""
        if not self.card.guesses_category:
            return features
        return Features(features.embedding, self.classifier.codes(features.embedding))
