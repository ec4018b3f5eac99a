"""Votes as rows behind a table's: what a router that learns from games reads in place of rewards, or beside them."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from erp.routers.base import Batch, Features, concatenated
from erp.training.data import BatchesByRows, EmbeddedVotes, RoutingData, Rows


class BatchesWithVotes(Dataset[Batch]):
    """`BatchesByRows` with a row for each vote behind the table's N: a prompt of which two members have a reward.

    A good answer has the largest mean reward of train, another one the least: so a win is one under any rule that
    compares rewards, and a tie is a good or a bad one in the table's units.

    Args:
        rows: of the table.
        data: where they come from.
        votes: of its pool.
    """

    def __init__(self, rows: BatchesByRows, data: RoutingData, votes: EmbeddedVotes) -> None:
        self._rows, self._table, self._votes = rows, len(data.table.prompts), votes
        found, known = votes.learnt.votes, data.targets.mean[data.split.train]
        low, high = np.nanmin(known), np.nanmax(known)
        of_answer = np.where(found.good, high if high > low else low + 1, low)
        self._rewards = np.full((len(found), len(data.table.members)), np.nan)
        np.put_along_axis(self._rewards, found.members, of_answer, axis=1)
        self._costs = torch.from_numpy(data.costs.mean)
        self._first_group = int(data.split.groups.max()) + 1

    def part(self, of_table: Rows, validation: bool) -> Rows:
        """Rows that are learnt from: those of the votes' part, behind the table's where rewards count too."""
        votes = self._table + np.flatnonzero(self._votes.learnt.validation == validation)
        return np.concatenate([of_table, votes]) if self._votes.beside_rewards else votes

    def __getitem__(self, rows: Rows) -> Batch:
        of_table = rows < self._table
        parts = [self._rows[rows[of_table]]] if of_table.any() else []
        if not of_table.all():
            parts.append(self._voted(rows[~of_table]))
        return concatenated(parts)

    def _voted(self, rows: Rows) -> Batch:
        at, members = rows - self._table, len(self._costs)
        learnt = self._votes.learnt
        embedding = torch.from_numpy(self._votes.embeddings.take(learnt.votes.prompt[at]))
        rewards = torch.from_numpy(self._rewards[at])
        return Batch(
            Features(embedding, torch.full((len(at),), -1)), rewards, (~rewards.isnan()).long(),
            torch.full_like(rewards, torch.nan), None, self._costs.expand(len(at), members), torch.from_numpy(rows),
            torch.from_numpy(self._first_group + learnt.groups[at]),
        )  # fmt: skip
