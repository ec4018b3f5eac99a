"""Small routing problems in memory, and their batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from erp.compose import compose, conf_folder, options
from erp.routers.base import Batch, Dimensions, Features
from erp.routers.training_loop import train_by_gradient

PAIRS = ("hybrid_llm",)  # they decide between two members, and have tests of their own
KEPT = ("ridge", "knn", "mlp")  # of what auto chooses from, which is tried by itself: two are solved, one is trained


@cache
def router_options() -> dict[str, dict]:
    """The options of ``router=`` by name, once for all files: they are read while tests are collected.

    One that is not made of others is what stands in its file, which is a tenth of the time that composing it takes.
    """
    files = {name: OmegaConf.load(conf_folder() / f"router/{name}.yaml") for name in options("router")}
    return {name: compose("train", [f"router={name}"])["router"] if "defaults" in file else OmegaConf.to_container(file)
            for name, file in files.items()}  # fmt: skip


def router_nodes() -> dict[str, dict]:
    """Those options that serve any pool, with less of what takes time and is the same again: trees, auto's folds."""
    nodes = router_options()
    less = {
        "auto": {"folds": 3, "candidates": {name: nodes["auto"]["candidates"][name] for name in KEPT}},
        "random_forest": {"trees": 20},
        "gradient_boosting": {"trees": 40},
        "routerdc": {"dimension": 16},
    }
    return {name: {**node, **less.get(name, {})} for name, node in nodes.items() if name not in PAIRS}


@contextmanager
def in_few_epochs(learning_rate: float = 5e-3) -> Iterator[None]:
    """Within, `fit_router` takes 30 steps, larger ones, also inside of routers that are made of others: time."""
    with pytest.MonkeyPatch.context() as patch:
        few = partial(train_by_gradient, max_epochs=30, learning_rate=learning_rate)
        patch.setattr("erp.routers.fitting.train_by_gradient", few)
        yield


@dataclass(frozen=True)
class Part:
    """Some prompts: embedding (n, d) float32, rewards (n, M) with NaN where missing, category codes (n,).

    Rows of a table go with their prompts, wherever these are taken to; None numbers them from 0.
    """

    embedding: np.ndarray
    rewards: np.ndarray
    category: np.ndarray
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.embedding)

    def features(self) -> Features:
        return Features(torch.from_numpy(self.embedding), torch.from_numpy(self.category))

    def batches(self, size: int | None = None) -> list[Batch]:
        size = size or max(len(self), 1)
        return [
            self.take(np.arange(start, min(start + size, len(self)))).batch() for start in range(0, len(self), size)
        ]

    def batch(self) -> Batch:
        rewards = torch.from_numpy(self.rewards)
        counts = (~torch.isnan(rewards)).long()
        unknown, costs = torch.full_like(rewards, torch.nan), torch.ones_like(rewards)
        rows = torch.arange(len(self)) if self.ids is None else torch.from_numpy(self.ids)
        return Batch(self.features(), rewards, counts, unknown, rewards[:, :, None], costs, rows, rows)

    def take(self, rows: np.ndarray) -> Part:
        ids = np.arange(len(self)) if self.ids is None else self.ids
        return Part(self.embedding[rows], self.rewards[rows], self.category[rows], ids[rows])

    def members(self, order: np.ndarray) -> Part:
        return replace(self, rewards=np.ascontiguousarray(self.rewards[:, order]))

    def with_rewards(self, rewards: np.ndarray) -> Part:
        return replace(self, rewards=rewards)


def problem(
    seed: int = 0, sizes=(160, 60, 50), d: int = 12, members: int = 4, categories: int = 3, missing: float = 0.0
) -> tuple[Part, Part, Part]:
    """Train, validation and test: rewards linear in the embedding and the category, plus noise."""
    rng = np.random.default_rng(seed)
    n = sum(sizes)
    embedding = rng.standard_normal((n, d)) + 0.5
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    category = rng.integers(0, categories, n)
    rewards = 3 * embedding @ rng.standard_normal((d, members)) + rng.standard_normal((categories, members))[category]
    rewards += 0.3 * rng.standard_normal((n, members)) - 2
    rewards[rng.random(rewards.shape) < missing] = np.nan
    whole = Part(embedding.astype(np.float32), rewards, category)
    first, second, third = np.split(np.arange(n), np.cumsum(sizes)[:-1])
    return whole.take(first), whole.take(second), whole.take(third)


def dimensions(part: Part, categories: int = 3) -> Dimensions:
    return Dimensions(part.embedding.shape[1], part.rewards.shape[1], categories)


def scores(router, part: Part) -> np.ndarray:
    with torch.no_grad():
        return router.scores(part.features()).double().numpy()
