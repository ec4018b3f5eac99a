"""Regression trees as arrays: grown by scikit-learn, read here, so that a checkpoint holds numbers and no code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.routers.base import Fitted

BLOCK = 256  # prompts that walk down all trees at once


class Tree(NamedTuple):
    """Nodes of one tree in depth-first order: the left child of node n is n + 1.

    Attributes:
        feature: (nodes,) whose value decides; -1 in a leaf.
        right: (nodes,) right child; of no use in a leaf.
        number: (nodes,) a prompt goes left where its value is at most this; in a leaf the value of the tree.
    """

    feature: NDArray[Any]
    right: NDArray[Any]
    number: NDArray[Any]


CONSTANT = Tree(np.array([-1]), np.array([0]), np.array([0.0]))  # 0 everywhere


class Trees(Fitted):
    """Some regression trees for each of M members, walked by all prompts of a batch at once."""

    roots: Tensor
    feature: Tensor
    right: Tensor
    number: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("roots", torch.empty(0, 0, dtype=torch.int64))  # (M, trees) nodes
        self.register_buffer("feature", torch.empty(0, dtype=torch.int32))  # (nodes,) of all trees, as the next two
        self.register_buffer("right", torch.empty(0, dtype=torch.int32))
        self.register_buffer("number", torch.empty(0))

    def take(self, members: Sequence[Sequence[Tree]]) -> None:
        """Keep the trees of every member; one with fewer than the others gets trees that are 0."""
        most = max(map(len, members))
        trees = [tree for grown in members for tree in [*grown, *[CONSTANT] * (most - len(grown))]]
        starts = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1]
        self.roots = torch.from_numpy(starts).view(len(members), most)
        right = np.concatenate([tree.right + start for tree, start in zip(trees, starts, strict=True)])
        self.feature = torch.from_numpy(np.concatenate([tree.feature for tree in trees]).astype(np.int32))
        self.right = torch.from_numpy(right.astype(np.int32))
        self.number = torch.from_numpy(np.concatenate([tree.number for tree in trees]).astype(np.float32))

    def sums(self, x: Tensor) -> Tensor:
        """Sum of a member's trees, (B, M) float64, of features (B, d) float32."""
        return torch.cat([self.leaves(block).sum(dim=2) for block in torch.split(x, BLOCK)])

    def leaves(self, x: Tensor) -> Tensor:
        """What each tree says, (B, M, trees) float64, of features (B, d) float32."""
        node = self.roots.flatten().expand(len(x), -1)
        while (inner := (feature := self.feature[node]) >= 0).any():
            left = x.gather(1, feature.clamp(min=0).long()) <= self.number[node]
            node = torch.where(inner, torch.where(left, node + 1, self.right[node]), node)
        return self.number[node].double().reshape(len(x), *self.roots.shape)


def tree_of(left: Any, right: Any, feature: Any, threshold: Any, value: Any, is_leaf: Any) -> Tree:
    """A tree out of the arrays of scikit-learn, (nodes,) each, whose nodes lie depth first too.

    A float32 is at most a threshold exactly where it is at most the largest float32 below that.
    """
    inner = ~np.asarray(is_leaf, dtype=bool)
    assert (np.asarray(left)[inner] == np.flatnonzero(inner) + 1).all()
    rounded = np.asarray(threshold).astype(np.float32)
    below = np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return Tree(np.where(inner, feature, -1), np.where(inner, right, 0), np.where(inner, below, value))
