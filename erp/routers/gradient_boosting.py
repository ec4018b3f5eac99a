"""Gradient boosting: small trees on principal components, each fitted to what those before left over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.columns import Columns
from erp.routers.mlp import require_counts
from erp.routers.trees import CONSTANT, Tree, Trees, tree_of


class GradientBoosting(Router):
    """Histogram gradient boosting (scikit-learn's) of each member's reward on principal components of the embedding.

    Trees cut one number at a time, and the numbers of an embedding mean little one by one: its principal components,
    largest first, mean more. A router sees vectors, not texts: to cut on surface counts too, take
    ``backbone=minilm_surface``, which has sixteen of them at its end, and ``tail=16``. Ours.

    Args:
        components: principal components of the embedding.
        tail: numbers at the vector's end that stand beside the components as they are, and are no part of them.
        trees: of a member, at most; how many, validation says, for all members together.
        learning_rate: what each tree's word counts.
        leaves: of a tree, at most.
        leaf: train prompts in a leaf, at least.

    Raises:
        ErpError: on a number below 1, a negative tail, or a rate outside (0, 1].
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    center: Tensor
    directions: Tensor

    def __init__(
        self,
        components: int = 32,
        tail: int = 0,
        trees: int = 200,
        learning_rate: float = 0.05,
        leaves: int = 15,
        leaf: int = 20,
    ) -> None:
        super().__init__()
        require_counts(components=components, trees=trees, leaves=leaves, leaf=leaf)
        if leaves < 2:
            raise ErpError(f"router.leaves = {leaves}: give 2 or more")
        if tail < 0:
            raise ErpError(f"router.tail = {tail}: give 0 or more")
        if not 0 < learning_rate <= 1:
            raise ErpError(f"router.learning_rate = {learning_rate}: give a number above 0, at most 1")
        self.components, self.tail, self.count, self.leaves, self.leaf = components, tail, trees, leaves, leaf
        self.learning_rate = learning_rate
        self.columns, self.trees = Columns(), Trees()
        self.register_buffer("center", torch.empty(0, dtype=torch.float64))  # (d - tail,)
        self.register_buffer("directions", torch.empty(0, 0, dtype=torch.float64))  # (d - tail, components)

    def prepare(self, dimensions: Dimensions) -> None:
        """Raises ErpError where the tail is all of the vector."""
        if self.tail >= dimensions.embedding:
            raise ErpError(
                f"router.tail = {self.tail}: the backbone's vectors have {dimensions.embedding} numbers, of which "
                "components need some; give fewer"
            )

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.columns.in_rewards(self.trees.sums(self._seen(features.embedding)))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Find the components, grow the trees, keep as many of them as are best on validation."""
        embedding, columns = self.columns.taken(train)
        body = embedding[:, : embedding.shape[1] - self.tail].double()
        self.center = body.mean(dim=0)
        centred = body - self.center
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        self.directions = vectors.flip(dims=(1,))[:, : self.components].clone()
        x = self._seen(embedding).numpy()
        grown = [self._grown(x[rows], target) for rows, target in columns]
        self.trees.take(grown)
        errors = torch.zeros(self.trees.roots.shape[1], dtype=torch.float64)
        for batch in validation:
            found = self.trees.leaves(self._seen(batch.features.embedding)).cumsum(dim=2).movedim(2, 0)
            errors += torch.nansum((self.columns.in_rewards(found) - batch.rewards) ** 2, dim=(1, 2))
        if errors.any():
            self.trees.take([trees[: int(errors.argmin()) + 1] for trees in grown])

    def chosen(self) -> dict[str, Any]:
        """The number of trees that validation chose."""
        return {"trees": float(self.trees.roots.shape[1] - 1)}

    def _seen(self, embedding: Tensor) -> Tensor:
        """What the trees see, (B, components + tail) float32."""
        cut = embedding.shape[1] - self.tail
        body = (embedding[:, :cut].double() - self.center) @ self.directions
        return torch.cat([body.float(), embedding[:, cut:]], dim=1)

    def _grown(self, x: Any, y: Any) -> list[Tree]:
        from sklearn.ensemble import HistGradientBoostingRegressor  # here: slow to import, and needed to fit only

        if len(y) < 2:
            return [CONSTANT]
        model = HistGradientBoostingRegressor(
            max_iter=self.count, learning_rate=self.learning_rate, max_leaf_nodes=self.leaves,
            min_samples_leaf=self.leaf, early_stopping=False, random_state=0,
        )  # fmt: skip
        with threadpool_limits(limits=1, user_api="openmp"):  # same bits, whatever the machine
            nodes = [grown[0].nodes for grown in model.fit(x, y)._predictors]
        return [CONSTANT._replace(number=np.array([y.mean()]))] + [
            tree_of(n["left"], n["right"], n["feature_idx"], n["num_threshold"], n["value"], n["is_leaf"] == 1)
            for n in nodes
        ]
