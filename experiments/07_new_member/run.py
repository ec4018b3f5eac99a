"""Regret against the labels of a new member: python run.py <results.csv> [<most labels> [<draws>]] [overrides].

Each member of the pool in turn is held out; a ridge is fitted on the others; the member joins by n labels, drawn anew
20 times from the prompts that the ridge was fitted or chosen on; regret is that of the whole pool on the test half.
The overrides are those of erp train: table (data=table data.path=...; else the one that ships), reward model, backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from erp.backbones.base import build_backbone
from erp.backbones.cache import cached_embeddings
from erp.config import validate
from erp.files import cache_folder
from erp.jobs import check_sweep
from erp.metrics.intervals import GroupBootstrap
from erp.routers.base import Batch, Features
from erp.routers.extension import (
    chosen_head,
    fit_clusters,
    fit_heads,
    least,
    ridges,
    unlabelled_clusters,
)  # fmt: skip
from erp.routers.ridge import Ridge
from erp.table.source import load_table, table_label
from erp.targets import expected_reward
from erp.training.plan import table_split

SIZES = (16, 32, 64, 128, 256, 512, 1024)
MOST_SHOWN = 20  # members up to which each has rows of its own


def main(results: str, overrides: list[str], most: int = 1024, draws: int = 20) -> None:
    """Write a row for each number of labels, method and member ("all": the mean over members, with intervals)."""
    config = validate("train", check_sweep("train", overrides)[0])
    table = load_table(config.data, config.reward_model, config.pool)
    split, _ = table_split(table, config.split, calibration=0.0)
    backbone = build_backbone(config.backbone, config.weights_dir)
    cached = cached_embeddings(table.prompts["prompt"].tolist(), backbone, cache_folder(config.cache_dir))
    embedding, rewards = cached.take(np.arange(len(cached))), expected_reward(table).mean
    test = split.test[~np.isnan(rewards[split.test]).any(axis=1)]
    learnt = np.concatenate([split.train, split.validation])
    clusters = unlabelled_clusters(embedding[learnt], 0)
    sizes = [n for n in SIZES if n <= min(most, (~np.isnan(rewards[learnt])).sum(axis=0).min())]
    known, everything = {}, fitted(embedding, rewards, split.train, split.validation)
    for m, name in enumerate(table.members):
        others = np.delete(np.arange(len(table.members)), m)
        scores = fitted(embedding, rewards[:, others], split.train, split.validation)
        problem = Problem(embedding.astype(np.float64), rewards, scores, m, test)
        known[name, 0, "without"] = problem.judged(None)[None]
        known[name, 0, "full"] = problem.judged(everything[test, m])[None]
        possible = learnt[~np.isnan(rewards[learnt, m])]
        orders = [np.random.default_rng([m, draw]).permutation(possible) for draw in range(draws)]
        for n in sizes:
            judged = [dict(problem.every_method(order[:n], clusters)) for order in orders]
            for method in judged[0]:
                # (draws, test, 2); half the memory in float32
                known[name, n, method] = np.stack([of_draw[method] for of_draw in judged]).astype(np.float32)
        print(f"{m + 1} of {len(table.members)}: {name}", file=sys.stderr)
    frame = pd.DataFrame(rows(known, table.members, split.groups[test]))
    frame.insert(0, "table", table_label(config.data))
    frame.round(5).to_csv(results, index=False)


def fitted(embedding: np.ndarray, rewards: np.ndarray, train: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Scores (N, M) of erp's ridge, alpha by validation."""
    router = Ridge()
    router.fit([batch(embedding[train], rewards[train])], [batch(embedding[validation], rewards[validation])])
    return router.scores(Features(torch.from_numpy(embedding), torch.zeros(0))).numpy()


def batch(embedding: np.ndarray, rewards: np.ndarray) -> Batch:
    """As much of a batch as a ridge reads."""
    x, y, rows = torch.from_numpy(embedding), torch.from_numpy(rewards), torch.arange(len(rewards))
    count = (~torch.isnan(y)).long()
    return Batch(Features(x, torch.full_like(rows, -1)), y, count, y, y[:, :, None], torch.zeros_like(y), rows, rows)


class Problem:
    """One member held out."""

    def __init__(
        self, embedding: np.ndarray, rewards: np.ndarray, scores: np.ndarray, member: int, test: np.ndarray
    ) -> None:
        self.embedding, self.rewards, self.scores, self.member, self.test = embedding, rewards, scores, member, test

    def judged(self, joined: np.ndarray | None) -> np.ndarray:
        """Regret at lambda = 0 and the new member's squared error on every test prompt, (test, 2)."""
        observed = self.rewards[self.test]
        new = np.full(len(self.test), -np.inf) if joined is None else joined
        pool = np.insert(self.scores[self.test], self.member, new, axis=1)
        earned = observed[np.arange(len(observed)), pool.argmax(axis=1)]
        error = np.nan_to_num((new - observed[:, self.member]) ** 2, posinf=np.nan)
        return np.stack([observed.max(axis=1) - earned, error], axis=1)

    def every_method(self, labels: np.ndarray, clusters: list[torch.Tensor]) -> Iterator[tuple[str, np.ndarray]]:
        """Each method's regret and error from these labels; `_plain`: as published, or without what is ours."""
        x, y, there = self.embedding[labels], self.rewards[labels, self.member], self.scores[labels]
        heads = dict(fit_heads(x, there, y).items())
        every = {
            **heads, "auto": chosen_head(heads), "uniroute": fit_clusters(x, y, clusters),
            "uniroute_plain": fit_clusters(x, y, clusters, [0.0]),
        }  # fmt: skip
        at, elsewhere = self.scores[self.test], self.embedding[self.test]
        for name, head in every.items():
            yield name, self.judged(head.scores(at, elsewhere))
        center = there.mean(axis=1)
        about, about_test = there - center[:, None], at - at.mean(axis=1, keepdims=True)
        for name, columns, columns_test in (
            ("shrunk_plain", x, elsewhere), ("low_rank_plain", about, about_test)
        ):  # fmt: skip
            fit = least(ridges(columns, y - center))
            yield name, self.judged(at.mean(axis=1) + fit.intercept + columns_test @ fit.weight)


def rows(known: dict, members: tuple[str, ...], groups: np.ndarray) -> Iterator[dict]:
    """Means, and intervals over groups of test prompts and over draws."""
    bootstrap = GroupBootstrap(groups, draws=2000)
    for n, method in dict.fromkeys((n, method) for _, n, method in known):
        values = sum(known[member, n, method].astype(np.float64) for member in members) / len(members)
        difference = None
        if n:
            scratch = sum(known[member, n, "scratch"].astype(np.float64) for member in members) / len(members)
            difference = values[..., 0] - scratch[..., 0]
        yield {
            "labels": n, "method": method, "member": "all", "regret": values[..., 0].mean(),
            **interval(bootstrap, values[..., 0], "regret"), "squared_error": values[..., 1].mean(),
            "less_scratch": np.nan if difference is None else difference.mean(),
            **({} if difference is None else interval(bootstrap, difference, "less_scratch")),
        }  # fmt: skip
        for member in members if len(members) <= MOST_SHOWN else ():
            own = known[member, n, method]
            yield {
                "labels": n, "method": method, "member": member, "regret": own[..., 0].mean(),
                "squared_error": own[..., 1].mean(),
                "less_scratch": own[..., 0].mean() - known[member, n, "scratch"][..., 0].mean() if n else np.nan,
            }  # fmt: skip


def interval(bootstrap: GroupBootstrap, values: np.ndarray, name: str) -> dict[str, float]:
    """95% of the mean of values (draws, test): groups of test prompts and draws of labels are both resampled."""
    means = bootstrap.draws(values.T)  # (2000, draws): a mean over prompts for every draw of labels
    if means.shape[1] > 1:
        again = np.random.default_rng(0).integers(0, means.shape[1], means.shape)
        means = np.take_along_axis(means, again, axis=1)
    low, high = np.quantile(means.mean(axis=1), [0.025, 0.975])
    return {f"{name}_low": low, f"{name}_high": high}


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if "=" not in argument]
    if len(given) not in (1, 2, 3):
        sys.exit("usage: python run.py <results.csv> [<most labels> [<draws>]] [overrides of erp train]")
    main(given[0], [argument for argument in sys.argv[1:] if "=" in argument], *map(int, given[1:]))
