"""A table with some of its members only: the pool of one run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError, shorten
from erp.table.schema import with_missing_note
from erp.table.store import blocks, changed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from erp.table.schema import RewardTable


def select_members(table: RewardTable, names: Sequence[str] | None) -> RewardTable:
    """The table with the members named, in that order, which is the order in which ties are broken.

    Prompts that none of them has answered are left out, with a note.

    Args:
        table: Any table.
        names: Members to keep; None = all of them, as they stand.

    Raises:
        ErpError: No name, a name twice, or a name that the table does not have.
    """
    if names is None:
        return table
    faults = []
    if not names:
        faults.append("pool.members = []: no member; name at least one, or leave the pool out for all of them")
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        faults.append(f"pool.members = {shorten(twice)}: named twice; each member is allowed once; drop the repeat")
    unknown = [name for name in names if name not in table.members]
    if unknown:
        faults.append(
            f"pool.members = {shorten(unknown)}: not in the table; its members are {shorten(table.members, 20)}; "
            "correct the name"
        )
    if faults:
        raise ErpError(*faults)
    position = np.full(len(table.members), -1, dtype=np.int64)
    position[[table.members.index(name) for name in names]] = np.arange(len(names))
    sampled = np.zeros(len(table.prompts), dtype=bool)
    for _, rows in blocks(table.samples, len(table.prompts), ("prompt", "member")):
        sampled[rows["prompt"].to_numpy()[position[rows["member"].to_numpy()] >= 0]] = True
    kept, place = np.flatnonzero(sampled), np.cumsum(sampled) - 1

    def of_pool(rows: pd.DataFrame) -> pd.DataFrame:
        member = position[rows["member"].to_numpy()]
        mine = rows[member >= 0].assign(member=member[member >= 0])
        mine = mine.assign(prompt=place[mine["prompt"].to_numpy()])
        ordered: pd.DataFrame = mine.sort_values(["prompt", "member", "sample"], kind="stable")
        return ordered

    samples = changed(table.samples, len(table.prompts), of_pool)
    left_out = len(table.prompts) - len(kept)
    notes = table.notes
    if left_out:
        notes = (
            *notes,
            f"{left_out:,} of {len(table.prompts):,} prompts have no sample from the pool and were left out",
        )
    prompts = table.prompts.iloc[kept].reset_index(drop=True)
    facts = {name: table.facts[name] for name in names if name in table.facts}
    suspects = {name: table.suspects[name] for name in names if name in table.suspects}
    return with_missing_note(
        replace(
            table, prompts=prompts, samples=samples, members=tuple(names), notes=notes, facts=facts, suspects=suspects
        )
    )


def require_same_members(table: RewardTable, members: Sequence[str]) -> RewardTable:
    """The table with a trained router's members, in its order. Raises ErpError where one is missing."""
    missing = [name for name in members if name not in table.members]
    if missing:
        raise ErpError(
            f"data: the table has no rewards of {', '.join(missing)}, which the router chooses among; "
            f"give a table that has them, or train on this one"
        )
    return select_members(table, list(members))
