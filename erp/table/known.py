"""Which prompts of a table a run knows: the parts that they have there, and what it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.table.groups import group_keys, ids_as_kept, text_keys
from erp.table.split import PARTS, Split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable


def same_split(saved: pd.DataFrame, table: RewardTable, near_duplicates: float | None) -> Split:
    """The run's own split of its prompts, for a new member on them; prompts that it does not know are in no part.

    Args:
        saved: what the run's folder keeps: prompt_id, split, text_key, group_key.
        table: Any table.
        near_duplicates: Jaccard similarity from which two prompts are near-duplicates; None = only equal texts are.

    Raises:
        ErpError: The table has none of the prompts that the run learnt from, or none of its test.
    """
    found = _prompts(saved, table).merge(saved, how="left", on=["prompt_id", "text_key"])
    unknown = found["split"].isna()
    part, keys = found["split"].to_numpy(), found["group_key"].to_numpy()
    if unknown.any() or len(saved) > len(found):  # other prompts can make other groups
        keys = group_keys(table.prompts, near_duplicates).astype(str)
    notes = (f"{unknown.sum():,} prompts of the table are not of the run and were left out",) if unknown.any() else ()
    split = _split(part, keys.astype(str), found["text_key"].to_numpy(), notes)
    if not len(split.test) or not len(split.learnt):
        raise ErpError(
            "data: the table has none of the prompts that the run learnt from, or none of those it is tested on; give "
            "rewards of the new member on the run's own prompts"
        )
    return split


def unseen_split(saved: pd.DataFrame, table: RewardTable, near_duplicates: float | None) -> Split:
    """The run's own split, if it knows every prompt; else all prompts that it did not learn from are test.

    A prompt was learnt from if its text, or one of its group, was in train, validation or calibration, or if one of its
    group here was. Near-duplicates are found among the prompts of this table: what resembles a learnt prompt that is
    not in it cannot be seen, since a run keeps no texts.

    Args:
        saved: as in `same_split`, as are the others.
        table: likewise.
        near_duplicates: likewise.

    Raises:
        ErpError: The run learnt from every prompt.
    """
    prompts = _prompts(saved, table)
    keys = group_keys(table.prompts, near_duplicates).astype(str)
    part = prompts.merge(saved[["prompt_id", "text_key", "split"]], how="left")["split"]
    notes: tuple[str, ...] = ()
    if part.isna().any():
        learnt = saved[saved["split"].isin(PARTS[:-1])]
        of_learnt = saved[saved["group_key"].isin(learnt["group_key"])]
        touched = prompts["text_key"].isin(of_learnt["text_key"]) | pd.Series(keys).isin(learnt["group_key"])
        fresh = ~np.isin(keys, keys[touched])
        part = pd.Series(np.where(fresh, "test", "unused"))
        if left_out := int((~fresh).sum()):
            notes = (f"{left_out} prompts were left out: the router learnt from their texts or groups",)
    split = _split(part.to_numpy(), keys, prompts["text_key"].to_numpy(), notes)
    if not len(split.test):
        raise ErpError("data: the router learnt from every prompt of this table; give prompts it has not seen")
    return split


def _prompts(saved: pd.DataFrame, table: RewardTable) -> pd.DataFrame:
    """The table's prompts by what a run's folder knows them by."""
    ids = ids_as_kept(table.prompts, saved["prompt_id"])
    return table.prompts[[]].assign(prompt_id=ids, text_key=text_keys(table.prompts))


def _split(
    part: NDArray[np.object_], keys: NDArray[np.str_], texts: NDArray[np.object_], notes: tuple[str, ...]
) -> Split:
    """A split by the name of every prompt's part, and the key of its group."""
    names, groups = np.unique(keys.astype(str), return_inverse=True)
    rows = {name: np.flatnonzero(part == name).astype(np.int64) for name in PARTS}
    return Split(**rows, groups=groups.astype(np.int64), keys=names, texts=texts, notes=notes)
