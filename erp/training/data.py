"""Everything a router is trained and tested on, whole and in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from erp.backbones.cache import Embeddings
from erp.costs.base import Costs
from erp.routers.base import Batch, Dimensions, Features
from erp.table.samples import padded_samples
from erp.table.schema import RewardTable
from erp.table.split import Split
from erp.table.votes import LearntVotes
from erp.targets import Targets

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class EmbeddedVotes:
    """Votes with the embeddings of their prompts.

    Attributes:
        learnt: the votes.
        embeddings: of the distinct prompts.
        beside_rewards: whether the router learns from the table's rewards too.
    """

    learnt: LearntVotes
    embeddings: Embeddings
    beside_rewards: bool


@dataclass(frozen=True, eq=False)
class RoutingData:
    """A table with what LEARN made of it; all arrays are by row of ``table.prompts``.

    Attributes:
        table: prompts and samples of one reward model and one pool.
        targets: expected rewards, (N, M).
        costs: realised costs, (N, M), and the members' train means.
        split: which rows are train, validation and test.
        embeddings: of the N prompts.
        categories: those of the train prompts, in the order of their codes.
        category: (N,) codes; -1 for none, or one that train does not have.
        backbone_state: what a fitted backbone learnt from the train prompts.
        of_means: whether targets are means of the samples; else a cell's target stands for its only sample.
        votes: what the router learns from in place of rewards, or beside them; None: rewards alone.
        read_first: what each prompt's answers cost that the backbone reads before the decision.
        beside: standardised rewards by R other reward models, (N, R, M), NaN where there is none; None for a router
            that does not learn them.
    """

    table: RewardTable
    targets: Targets
    costs: Costs
    split: Split
    embeddings: Embeddings
    categories: tuple[str, ...]
    category: Rows
    backbone_state: dict[str, Any] = field(default_factory=dict)
    of_means: bool = True
    votes: EmbeddedVotes | None = None
    read_first: float = 0.0
    beside: NDArray[np.float32] | None = None

    @property
    def dimensions(self) -> Dimensions:
        """What a router needs to know before it sees data."""
        return Dimensions(self.embeddings.dimension, len(self.table.members), len(self.categories))

    def features(self, rows: Rows, embeddings: bool = True) -> Features:
        """What a router may know of these rows; with embeddings of length 0 where they are not asked for."""
        embedding = self.embeddings.take(rows) if embeddings else np.empty((len(rows), 0), dtype=np.float32)
        return Features(torch.from_numpy(embedding), torch.from_numpy(self.category[rows]))

    def complete(self, rows: Rows) -> Rows:
        """The rows whose cells are all present: what routing is compared on."""
        return np.asarray(rows[self.targets.complete[rows]])


class BatchesByRows(Dataset[Batch]):
    """Indexed by an array of row numbers: one index, one batch. Only the rows asked for are copied.

    Args:
        data: where they come from.
        samples: whether the router reads single rewards: laid out by cell they take K times the room of the means.
        embeddings: whether they are read at all, or are of length 0.
    """

    def __init__(self, data: RoutingData, samples: bool = False, embeddings: bool = True) -> None:
        self._data = data
        self._embeddings = embeddings
        self._rewards = torch.from_numpy(data.targets.mean)
        self._counts = torch.from_numpy(data.targets.count)
        self._variances = torch.from_numpy(data.targets.variance)
        self._samples = torch.from_numpy(_samples(data)) if samples else None
        self._costs = torch.from_numpy(data.costs.values)
        self._groups = torch.from_numpy(data.split.groups)
        self._beside = None if data.beside is None else torch.from_numpy(data.beside)

    def __getitem__(self, rows: Rows) -> Batch:
        at = torch.from_numpy(rows)
        samples = None if self._samples is None else self._samples[at]
        beside = None if self._beside is None else self._beside[at]
        return Batch(
            self._data.features(rows, self._embeddings), self._rewards[at], self._counts[at], self._variances[at],
            samples, self._costs[at], at, self._groups[at], beside=beside,
        )  # fmt: skip


def _samples(data: RoutingData) -> NDArray[np.float64]:
    """Rewards of the single responses, (N, M, K)."""
    samples = padded_samples(data.table) if data.of_means else data.targets.mean[:, :, None]
    # As wide as what is learnt from needs: sums over more, were it only padding, may round otherwise.
    learnt = np.delete(samples, data.split.test, axis=0)
    return samples[:, :, : max(int((~np.isnan(learnt)).sum(axis=2).max(initial=0)), 1)]


class RowBatches(Sampler[Rows]):
    """Row numbers in batches, in order, or in a new order each epoch when given a seed.

    The order is a function of seed and epoch alone, so that a training that was killed goes on as if it had not been.
    """

    def __init__(self, rows: Rows, batch_size: int, seed: int | None = None) -> None:
        self._rows = rows
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning says which epoch begins."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[Rows]:
        rows = self._rows
        if self._seed is not None:
            rows = np.random.default_rng([self._seed, self._epoch]).permutation(rows)
        for start in range(0, len(rows), self._batch_size):
            yield rows[start : start + self._batch_size]
