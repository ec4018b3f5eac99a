"""Which members break a table's prompts: decisions are compared on prompts that have a reward of every member."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import shorten
from erp.table.samples import rewarded_blocks
from erp.table.select import select_members

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

ENOUGH = 0.5  # share of a pool's prompts that have a reward of every member, from which nobody more is dropped
REMEDY = "pool.complete=auto leaves out the members that break most"
DROPPED = "pool.complete=auto"  # how the note on whom it dropped begins


def rewarded(table: RewardTable) -> NDArray[np.bool_]:
    """Which members have a reward of which prompts (N, M)."""
    found = np.zeros((len(table.prompts), len(table.members)), dtype=bool)
    for _, rows in rewarded_blocks(table):
        found[rows["prompt"].to_numpy(), rows["member"].to_numpy()] = True
    return found


def lacking(members: Sequence[str], present: NDArray[np.bool_]) -> dict[str, int]:
    """Member's name -> on how many of the prompts (N, M) it has no reward, most first; none without any."""
    missing = (~present).sum(axis=0)
    order = np.argsort(-missing, kind="stable")
    return {members[m]: int(missing[m]) for m in order if missing[m]}


def lacking_text(found: dict[str, int], of: int) -> str:
    """``a on 297 of 300, b on 2``."""
    first, *rest = [f"{' '.join(name.split())} on {count:,}" for name, count in found.items()]
    return shorten([f"{first} of {of:,}", *rest], 4)


def complete_pool(table: RewardTable) -> RewardTable:
    """The table without the members that break most, one after another, with a note that names them.

    Each time that one goes without which most prompts have a reward of every member left; among equals, the one without
    which most pairs of members have a prompt in common. It ends where half of the pool's prompts are complete, or two
    members are left.
    """
    present, kept = rewarded(table), list(range(len(table.members)))

    def worth(members: list[int]) -> tuple[int, int]:
        count = present[:, members].sum(axis=1)
        return int((count == len(members)).sum()), int((count * (count - 1) // 2).sum())

    while len(kept) > 2 and worth(kept)[0] < ENOUGH * present[:, kept].any(axis=1).sum():
        kept = max(([m for m in kept if m != dropped] for dropped in reversed(kept)), key=worth)
    if len(kept) == len(table.members):
        return table
    gone = [m for m in range(len(table.members)) if m not in kept]
    pool = select_members(table, [table.members[m] for m in kept])
    counts = present.sum(axis=0)
    told = shorten([f"{' '.join(table.members[m].split())} ({counts[m]:,} prompts with rewards)" for m in gone])
    note = (
        f"{DROPPED} dropped {told}: of {len(present):,} prompts {int(present.all(axis=1).sum()):,} had a reward of "
        f"every member, and {worth(kept)[0]:,} have one of each of those that are left"
    )
    return replace(pool, notes=(*pool.notes, note))
