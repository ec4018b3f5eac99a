"""One member's rewards by themselves: what a regression of scikit-learn is fitted to, whatever their order and unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.routers.base import Batch, Features, Fitted
from erp.routers.knn import as_values, scored_prompts

Array = NDArray[Any]

GRID = 2.0**20  # steps of a standard deviation: sums of targets are exact, and equally good splits of a tree stay equal


class Columns(Fitted):
    """Takes rewards apart by member, each about its mean and in its standard deviation, and puts predictions together.

    Attributes:
        center: (M,) float64 mean reward; of the pool, for a member without any.
        spread: (M,) float64 standard deviation; 1 where that is 0.
    """

    center: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.empty(0, dtype=torch.float64))
        self.register_buffer("spread", torch.empty(0, dtype=torch.float64))

    def taken(self, train: Iterable[Batch]) -> tuple[Tensor, list[tuple[NDArray[np.int64], Array]]]:
        """The train prompts that have a reward, and of each member its rows of them and its rewards there.

        Rows come in an order of their content, the embedding and then the member's reward: what is drawn from them by
        a seed depends neither on the table's order nor on the other members.

        Args:
            train: batches, read more than once.

        Returns:
            embeddings (n, d) float32; for each member rows (k,) and standardised rewards (k,) float64.

        Raises:
            ErpError: no prompt has a reward.
        """
        embedding, rewards, rows = by_content_of_each(*scored_prompts(train))
        pool = float(
            np.mean([column[there].mean() for there, column in zip(rows, rewards.T, strict=True) if len(there)])
        )
        columns = []
        center, spread = np.full(len(rows), pool), np.ones(len(rows))
        for m, there in enumerate(rows):
            values = rewards[there, m]
            if len(there):
                center[m], deviation = values.mean(), values.std()
                spread[m] = deviation if deviation > 1e-12 * abs(center[m]) else 1.0
            columns.append((there, np.round((values - center[m]) / spread[m] * GRID) / GRID))
        self.center, self.spread = torch.from_numpy(center), torch.from_numpy(spread)
        return embedding, columns

    def in_rewards(self, outputs: Tensor) -> Tensor:
        """Outputs (..., M) for standardised rewards in units of the reward, float64."""
        return self.center + self.spread * outputs


def by_content_of_each(features: Features, values: Tensor) -> tuple[Tensor, Array, list[NDArray[np.int64]]]:
    """Prompts in the order of their embeddings, and of each member the rows that it has, in one order of its own.

    Args:
        features: of the n prompts.
        values: (n, M), NaN where missing.

    Returns:
        embeddings (n, d) and values (n, M) in the order of the embeddings; for each member the rows (k,) of them where
        it has a value, by the embedding and then by the value.
    """
    _, code = np.unique(as_values(features.embedding), return_inverse=True)
    place = np.argsort(code, kind="stable")
    code, ordered = code[place], values.numpy()[place]
    orders = [np.lexsort((column, code)) for column in ordered.T]
    rows = [order[~np.isnan(column[order])] for order, column in zip(orders, ordered.T, strict=True)]
    return features.embedding[place], ordered, rows
