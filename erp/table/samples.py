"""The responses behind a table's cells, one by one: which of them are separate, and their rewards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from erp.table.means import Behind, rewarded, written_out
from erp.table.store import blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
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


_READ = ("prompt", "member", "reward", "n_samples", "reward_var")


def rewarded_blocks(table: RewardTable) -> Iterator[tuple[slice, pd.DataFrame]]:
    """Runs of the table's prompts, and those of their samples that have a reward."""
    for at, rows in blocks(table.samples, len(table.prompts), _READ):
        yield at, rewarded(rows)


def tells_responses(table: RewardTable) -> bool:
    """Whether all rewards are of single responses, or means that say what each of theirs was (0/1 attempts)."""
    behind = Behind.of(table.samples)
    return behind.single or (behind.attempts and behind.few)


def padded_samples(table: RewardTable) -> NDArray[np.float64]:
    """Rewards of every cell's responses (N, M, K), NaN behind the last.

    A mean of 0/1 attempts stands there as these; where the table holds other means, every mean as one response.
    """
    return _packed(table, np.arange(len(table.prompts)), as_normal=False, means=not tells_responses(table))[0]


def separate_samples(table: RewardTable, rows: NDArray[np.int64]) -> Samples | None:
    """Rewards of the single responses of the prompts in which every cell has one; attempts behind a mean are such.

    Args:
        table: The table.
        rows: Prompts to take from; their order is kept.

    Returns:
        None where no prompt has one in every cell, as in a table of means.
    """
    return samples_with_at_least(1, table, rows)


def samples_with_at_least(
    least: int, table: RewardTable, rows: NDArray[np.int64], *, as_normal: bool = False
) -> Samples | None:
    """`separate_samples` of the prompts with at least so many in every cell."""
    wanted, place = np.unique(rows, return_inverse=True)
    reward, count = _packed(table, wanted, as_normal=as_normal, means=False)
    enough = (count[place] >= least).all(axis=1) & (count.shape[1] > 0)
    if not enough.any():
        return None
    usable, place = np.asarray(rows)[enough], place[enough]
    count = count[place]
    most = int(count.max())
    if most < reward.shape[2] or len(place) < len(wanted) or (np.diff(place) != 1).any():
        reward = reward[place, :, :most]
    return Samples(reward, count, usable)


def _packed(
    table: RewardTable, prompts: NDArray[np.int64], *, as_normal: bool, means: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rewards of single responses of some prompts (n, M, K), and how many there are of each cell (n, M).

    Args:
        table: The table.
        prompts: Ascending.
        as_normal: as in `erp.table.means.written_out`.
        means: whether every row counts as one response.
    """
    behind, members = Behind.of(table.samples), len(table.members)
    count = np.zeros((len(prompts), members), dtype=np.int64)
    packed = np.full((len(prompts), members, 0), np.nan)
    for at, samples in blocks(table.samples, prompts, _READ):
        rows = rewarded(samples)
        of, reward = np.arange(len(rows)), rows["reward"].to_numpy(dtype=np.float64)
        if not means:
            of, reward = written_out(rows, behind, as_normal=as_normal)
        near = np.searchsorted(prompts[at], rows["prompt"].to_numpy())[of]
        member = rows["member"].to_numpy()[of]
        cell = near * members + member  # ascending
        counts = np.bincount(cell, minlength=(at.stop - at.start) * members)
        count[at] = counts.reshape(-1, members)
        if (wider := int(counts.max(initial=0)) - packed.shape[2]) > 0:
            packed = np.concatenate([packed, np.full((*count.shape, wider), np.nan)], axis=2)
        nth = np.arange(len(cell)) - (np.cumsum(counts) - counts)[cell]
        packed[at][near, member, nth] = reward
    return packed, count
