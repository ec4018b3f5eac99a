"""A new split that keeps an earlier run's: what was test stays test, however the table has grown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from erp.table.groups import Groups
    from erp.table.schema import RewardTable

LEFT_OUT = -1


@dataclass(frozen=True, eq=False)
class Kept:
    """The split of an earlier run.

    Attributes:
        frame: its prompts: prompt_id, split, text_key, group_key.
        name: what the run is called.
    """

    frame: pd.DataFrame
    name: str


def keep_parts(
    kept: Kept, table: RewardTable, grouped: Groups, hashed: NDArray[np.int64], names: Sequence[str], by_group: bool
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Part of every prompt (N,), -1 for those left out, and what to say of it.

    A prompt whose text the run has keeps its part. A new one goes with the group that it joins, if the run has that
    group in one part; if it joins prompts of several, it is left out. What joins nothing known is hashed.

    Args:
        kept: The split to keep.
        table: The table to split.
        grouped: Its groups.
        hashed: Part of every prompt, were there nothing to keep.
        names: Of the parts, in the order of their numbers.
        by_group: Whether groups stay together; else only equal texts do.

    Raises:
        ErpError: The table has none of the run's prompts.
    """
    seen = kept.frame[kept.frame["split"].isin(names)]
    seen = seen.assign(part=seen["split"].map({name: number for number, name in enumerate(names)}))
    own = pd.Series(grouped.texts).map(_only(seen, "text_key")).to_numpy(dtype=np.float64)
    known = np.isin(grouped.texts, seen["text_key"])
    if not known.any():
        raise ErpError(
            f"split.from = {kept.name}: the table has none of the prompts of this run; give a run on prompts of this "
            "table, or leave split.from out"
        )
    part, joins = np.where(known, own, hashed.astype(np.float64)), np.zeros(len(known), dtype=bool)
    if by_group:
        of_group = _parts_of_groups(kept.frame, seen, table, grouped)
        joins = ~known & ~np.isnan(of_group)
        part = np.where(joins, of_group, part)
    part = part.astype(np.int64)
    left = part == LEFT_OUT
    notes = [
        f"split.from: {int((known & ~left).sum()):,} prompts keep the part that they had in {kept.name}; of "
        f"{int((~known).sum()):,} new ones {int((joins & ~left).sum()):,} go with a group known there and "
        f"{int((~known & ~joins).sum()):,} are hashed"
    ]
    if left.any():
        notes.append(f"split.from: {int(left.sum()):,} prompts were left out: they join prompts of different parts")
    return part, tuple(notes)


def _only(frame: pd.DataFrame, key: str) -> pd.Series:
    """The part of every value of a column, by that value; -1 where it has several."""
    parts = frame.groupby(key)["part"]
    return parts.min().where(parts.min() == parts.max(), LEFT_OUT)


def _parts_of_groups(
    frame: pd.DataFrame, seen: pd.DataFrame, table: RewardTable, grouped: Groups
) -> NDArray[np.float64]:
    """Part that each prompt's group has in the run (N,); -1 where it has several, NaN where the run has no such group.

    A group of the table is one of the run if they share a text, their key, or a group of the table's own.
    """
    own = table.prompts["group"].to_numpy(dtype=object)
    of_text = frame.drop_duplicates("text_key").set_index("text_key")["group_key"]
    links = pd.DataFrame({
        "group": np.tile(grouped.keys, 3),
        "group_key": np.concatenate([
            pd.Series(grouped.texts).map(of_text).to_numpy(dtype=object),
            grouped.keys,
            np.array([None if pd.isna(value) else f"group:{value}" for value in own], dtype=object),
        ]),
    }).dropna()  # fmt: skip
    parts = links.drop_duplicates().merge(seen[["group_key", "part"]].drop_duplicates(), on="group_key")
    found = pd.Series(grouped.keys).map(_only(parts, "group"))
    return found.to_numpy(dtype=np.float64)
