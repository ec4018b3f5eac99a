"""The responses behind a table's cells, one by one: which of them are separate, and their rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from erp.table.means import row_variance, written_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable


@dataclass(frozen=True, eq=False)
class Samples:
    """Rewards of single responses, n prompts of a table, every cell with at least one.

    Attributes:
        reward: (n, M, K) in the table's order of samples, NaN behind a cell's last; K is the largest count.
        count: (n, M) how many each cell has.
        rows: (n,) row of each prompt in the table's prompts.
    """

    reward: NDArray[np.float64]
    count: NDArray[np.int64]
    rows: NDArray[np.int64]


def present_rows(
    table: RewardTable,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Cell number, reward, n_samples, and variance between these responses (NaN unknown), of rows with a reward."""
    seen = table.samples["reward"].notna().to_numpy()
    rows = table.samples[seen]
    n = rows["n_samples"].to_numpy(dtype=np.int64)
    return _cells(table)[seen], rows["reward"].to_numpy(dtype=np.float64), n, row_variance(table, seen)


def _cells(table: RewardTable) -> NDArray[np.int64]:
    """Cell number of every row."""
    prompt, member = (table.samples[column].to_numpy(dtype=np.int64) for column in ("prompt", "member"))
    return np.asarray(prompt * len(table.members) + member)


def tells_responses(table: RewardTable) -> bool:
    """Whether all rewards are of single responses, or means that say what each of theirs was (0/1 attempts)."""
    return len(_singles(table)[0]) == int(present_rows(table)[2].sum())


def padded_samples(table: RewardTable) -> NDArray[np.float64]:
    """Rewards of every cell's responses (N, M, K), NaN behind the last.

    A mean of 0/1 attempts stands there as these; where the table holds other means, every mean as one response.
    """
    cell, reward = _singles(table)  # rows are sorted by cell
    present = present_rows(table)
    if len(cell) < int(present[2].sum()):
        cell, reward = present[:2]
    shape = (len(table.prompts), len(table.members))
    counts = np.bincount(cell, minlength=shape[0] * shape[1])
    first = np.cumsum(counts) - counts
    packed = np.full((len(counts), int(counts.max(initial=0))), np.nan)
    packed[cell, np.arange(len(cell)) - first[cell]] = reward
    return packed.reshape(*shape, packed.shape[1])


def separate_samples(table: RewardTable, rows: NDArray[np.int64]) -> Samples | None:
    """Rewards of the single responses of the prompts in which every cell has one; attempts behind a mean are such.

    Args:
        table: The table.
        rows: Prompts to take from; their order is kept.

    Returns:
        None where no prompt has one in every cell, as in a table of means.
    """
    return samples_with_at_least(1, table, rows)


def _singles(table: RewardTable, *, as_normal: bool = False) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cell number and reward of every single response, sorted by cell (`erp.table.means.written_out`)."""
    seen = table.samples["reward"].notna().to_numpy()
    row, reward = written_out(table, seen, as_normal=as_normal)
    return _cells(table)[seen][row], reward


def samples_with_at_least(
    least: int, table: RewardTable, rows: NDArray[np.int64], *, as_normal: bool = False
) -> Samples | None:
    """`separate_samples` of the prompts with at least so many in every cell."""
    cell, reward = _singles(table, as_normal=as_normal)
    members = len(table.members)
    counts = np.bincount(cell, minlength=len(table.prompts) * members)
    first = (np.cumsum(counts) - counts).reshape(-1, members)  # rows are sorted by cell
    count = counts.reshape(-1, members)[rows]
    enough = (count >= least).all(axis=1)
    if not enough.any():
        return None
    usable, count = np.asarray(rows)[enough], count[enough]
    sample = np.arange(count.max())
    # Behind a cell's last sample the last is read again, and blanked.
    packed = reward[first[usable][:, :, None] + np.minimum(sample, count[:, :, None] - 1)]
    packed[sample >= count[:, :, None]] = np.nan
    return Samples(packed, count, usable)
