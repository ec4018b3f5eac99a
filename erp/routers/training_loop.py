"""A plain training loop, for routers that are trained inside of another's ``fit``."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from erp.routers.base import Batch, Router, concatenated


def train_by_gradient(
    router: Router,
    train: Iterable[Batch],
    validation: Iterable[Batch],
    seed: int = 0,
    max_epochs: int = 200,
    patience: int = 20,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    batch_size: int = 256,
) -> None:
    """Train a prepared router by AdamW; keep the state of least validation loss; leave it in evaluation mode.

    What ``erp train`` does through Lightning, without folders or progress. Deterministic under ``seed`` from the
    router's state; torch's generators are as they were afterwards. Without a validation prompt the last state is kept.

    Args:
        router: one with a loss; its parameters stay on their device, where batches are moved.
        train: batches of any size, joined in memory and parted anew, in another order each epoch.
        validation: batches; their losses are averaged by prompts.
        seed: order of the minibatches, and what the router draws.
        max_epochs: passes over train at most.
        patience: epochs without a better validation loss, after which to stop.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        batch_size: prompts of a minibatch.
    """
    device = next(router.parameters()).device
    router.begin(train)
    whole = concatenated(train).to(device)
    held_out = [batch.to(device) for batch in validation if len(batch.rows) > 0]
    optimizer = torch.optim.AdamW(router.parameters(), lr=learning_rate, weight_decay=weight_decay)
    least, since, best = math.inf, 0, _state(router)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(max_epochs):
            _one_epoch(router, whole, np.random.default_rng([seed, epoch]), batch_size, optimizer)
            loss = _validation_loss(router, held_out)
            since += 1
            if loss < least or not held_out:
                least, since, best = loss, 0, _state(router)
            if since >= patience:
                break
    router.load_state_dict(best)
    router.eval()


def _state(router: Router) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in router.state_dict().items()}


def _one_epoch(
    router: Router, whole: Batch, order: np.random.Generator, batch_size: int, optimizer: torch.optim.Optimizer
) -> None:
    router.train()
    permutation = torch.from_numpy(order.permutation(len(whole.rows))).to(whole.rows.device)
    for rows in torch.split(permutation, batch_size):
        optimizer.zero_grad()
        router.loss(whole.take(rows)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.no_grad()
def _validation_loss(router: Router, batches: list[Batch]) -> float:
    """Mean over prompts; NaN without any."""
    router.eval()
    total, prompts = 0.0, 0
    for batch in batches:
        total += float(router.loss(batch)) * len(batch.rows)
        prompts += len(batch.rows)
    return total / prompts if prompts else math.nan
