"""The LightningDataModule that serves what a router is trained on in large batches."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from erp.routers.base import Batch
from erp.training.data import BatchesByRows, RoutingData, RowBatches, Rows
from erp.training.votes import BatchesWithVotes


class RoutingDataModule(pl.LightningDataModule):
    """Batches of train and validation prompts; of any others for who asks.

    No worker processes: a batch is one gather from memory, cheaper than sending it to another process.

    Args:
        data: of the run.
        batch_size: prompts of a batch.
        seed: of the order of train batches.
        samples: whether batches hold the single rewards: for routers that read them (``reads_samples``).
        cache: folder in which what every run needs of this data is kept; None: nowhere.
    """

    def __init__(
        self, data: RoutingData, batch_size: int, seed: int, samples: bool = False, cache: Path | None = None
    ) -> None:
        super().__init__()
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.cache = cache
        self._batches = BatchesByRows(data, samples)
        self._with_votes = None if data.votes is None else BatchesWithVotes(self._batches, data, data.votes)
        self._prompts = data.table.prompts["prompt"].to_numpy(dtype=object)

    def prompts(self, rows: Rows | slice) -> list[str]:
        """Texts of these rows."""
        return list(self._prompts[rows])

    def loader(self, rows: Rows, seed: int | None = None, embeddings: bool = True) -> DataLoader[Batch]:
        """Batches of these rows, in order, or shuffled when given a seed; with embeddings of length 0 if not asked."""
        batches = self._batches if embeddings else BatchesByRows(self.data, embeddings=False)
        return DataLoader(batches, sampler=RowBatches(rows, self.batch_size, seed), batch_size=None)

    def learnt(self, seed: int | None = None) -> DataLoader[Batch]:
        """Train batches as the router learns from them, in order, or shuffled when given a seed."""
        return self._of_part(self.data.split.train, False, seed)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Train batches, shuffled: only routers trained by gradient care."""
        return self.learnt(self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, in order."""
        return self._of_part(self.data.split.validation, True, None)

    def _of_part(self, rows: Rows, validation: bool, seed: int | None) -> DataLoader[Batch]:
        batches = self._with_votes
        if batches is None:
            return self.loader(rows, seed)
        sampler = RowBatches(batches.part(rows, validation), self.batch_size, seed)
        return DataLoader(batches, sampler=sampler, batch_size=None)
