"""Random forest: the mean of many deep trees for each member."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from torch import Tensor

from erp.routers.base import Batch, Features, Router
from erp.routers.cluster_mean import checked_seed
from erp.routers.columns import Columns
from erp.routers.mlp import require_counts
from erp.routers.trees import CONSTANT, Tree, Trees, tree_of


class RandomForest(Router):
    """RoRF (Not Diamond, 2024) as a regression: a forest on the embedding that predicts each member's reward.

    RoRF classifies, for a pair of models, which of them answers well; a forest a member serves a pool of any size and
    rewards of any kind. Trees and depth are RoRF's. Each split looks at sqrt(d) of the d numbers of the embedding, as
    in a classification forest. Ours: leaves of five prompts, which are a fifth of the size and predict no worse.

    Args:
        trees: of a forest.
        depth: of a tree, at most.
        leaf: train prompts in a leaf, at least.
        seed: of the bootstrap and of the numbers that a split looks at.

    Raises:
        ErpError: on a number below 1.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True

    def __init__(self, trees: int = 100, depth: int = 20, leaf: int = 5, seed: int = 0) -> None:
        super().__init__()
        require_counts(trees=trees, depth=depth, leaf=leaf)
        self.count, self.depth, self.leaf, self.seed = trees, depth, leaf, checked_seed(seed)
        self.columns, self.trees = Columns(), Trees()

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.columns.in_rewards(self.trees.sums(features.embedding) / self.trees.roots.shape[1])

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Grow a forest for each member, on the prompts that have its reward; nothing is chosen on validation."""
        del validation
        embedding, columns = self.columns.taken(train)
        x = embedding.numpy()
        self.trees.take([self._grown(x[rows], target) for rows, target in columns])

    def _grown(self, x: Any, y: Any) -> list[Tree]:
        from sklearn.ensemble import RandomForestRegressor  # here: slow to import, and needed to fit only

        if not len(y):
            return [CONSTANT]
        forest = RandomForestRegressor(
            self.count, max_depth=self.depth, min_samples_leaf=self.leaf, max_features="sqrt", random_state=self.seed
        )
        grown = (tree.tree_ for tree in forest.fit(x, y).estimators_)
        return [
            tree_of(t.children_left, t.children_right, t.feature, t.threshold, t.value[:, 0, 0], t.children_left < 0)
            for t in grown
        ]
