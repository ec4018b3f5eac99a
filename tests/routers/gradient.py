"""What tests of routers with a loss share: batches from samples, and quick training."""

from __future__ import annotations

import numpy as np
import torch

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.training_loop import train_by_gradient


def batch_of(samples, embedding=None, category=None, costs=None) -> Batch:
    """Of samples (n, M, K) with NaN where there is none; mean, count and variance by hand, cell by cell."""
    samples = np.asarray(samples, dtype=np.float64)
    n, members, _ = samples.shape
    mean, variance = np.full((n, members), np.nan), np.full((n, members), np.nan)
    count = np.zeros((n, members), dtype=np.int64)
    for i in range(n):
        for m in range(members):
            there = samples[i, m][~np.isnan(samples[i, m])]
            count[i, m] = len(there)
            if len(there):
                mean[i, m] = np.mean(there)
            if len(there) > 1:
                variance[i, m] = np.var(there, ddof=1)
    embedding = np.zeros((n, 3), dtype=np.float32) if embedding is None else np.asarray(embedding, dtype=np.float32)
    category = np.zeros(n, dtype=np.int64) if category is None else np.asarray(category)
    costs = np.ones((n, members)) if costs is None else np.asarray(costs, dtype=np.float64)
    arrays = (mean, count, variance, samples, costs, np.arange(n), np.arange(n))
    features = Features(torch.from_numpy(embedding), torch.from_numpy(category))
    return Batch(features, *map(torch.from_numpy, arrays))


def sampled(seed=0, n=200, d=8, members=4, k=3, noise=0.5, missing=0.0) -> Batch:
    """Expected rewards linear in the embedding, members alike on average; k noisy samples of each, some missing."""
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal((n, d))
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    expected = 3 * embedding @ np.random.default_rng(99).standard_normal((d, members)) + np.arange(members) / 10
    samples = expected[:, :, None] + noise * rng.standard_normal((n, members, k))
    samples[rng.random(samples.shape) < missing] = np.nan
    return batch_of(samples, embedding, rng.integers(0, 3, n), rng.uniform(1, 2, (n, members)))


def dimensions_of(batch: Batch, categories: int = 3) -> Dimensions:
    return Dimensions(batch.features.embedding.shape[1], batch.rewards.shape[1], categories)


def prepared(router: Router, batch: Batch, seed: int = 0, begin: bool = True) -> Router:
    """Before its first step."""
    torch.manual_seed(seed)
    router.prepare(dimensions_of(batch))
    if begin:
        router.begin([batch])
    return router


def learnt(router: Router, train: Batch, validation: Batch, **settings) -> Router:
    settings = {"max_epochs": 30, "batch_size": 50, "learning_rate": 0.01, **settings}
    train_by_gradient(prepared(router, train, begin=False), [train], [validation], **settings)
    return router


def scores_of(router: Router, batch: Batch) -> np.ndarray:
    with torch.no_grad():
        return router.scores(batch.features).numpy()
