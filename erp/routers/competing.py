"""What routers that are chosen between are judged by: prompts in a seeded order, and what decisions on them earn."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from erp.decisions.choice import choose
from erp.routers.base import Batch


def places_of(groups: NDArray[np.integer], seed: int | tuple[int, ...]) -> NDArray[np.int64]:
    """Place (N,) of each prompt's group, from 0, in a seeded order of the groups."""
    codes, of_prompt = np.unique(groups, return_inverse=True)
    return np.random.default_rng(seed).permutation(len(codes))[of_prompt]


def complete(batch: Batch) -> NDArray[np.bool_]:
    """(N,) whether every member has a reward: the prompts on which every decision earns something."""
    found: NDArray[np.bool_] = ~torch.isnan(batch.rewards).any(dim=1).numpy()
    return found


def earned_by(
    scores: NDArray[np.float64], batch: Batch, costs: NDArray[np.float64], lambda_: float
) -> NDArray[np.float64]:
    """Realised reward - lambda * cost (N,) of the decisions that scores lead to.

    Args:
        scores: (N, M) of the batch.
        batch: prompts with a reward of every member.
        costs: (M,) that are predicted.
        lambda_: price; at infinity the utility is the cost, negative.
    """
    chosen = torch.from_numpy(choose(scores, costs, lambda_))[:, None]
    reward, cost = (values.gather(1, chosen)[:, 0].numpy() for values in (batch.rewards, batch.costs))
    return np.asarray(-cost if np.isinf(lambda_) else reward - lambda_ * cost)
