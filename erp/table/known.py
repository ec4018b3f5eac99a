"""Which prompts of a table a run knows: the parts that they have there, and what it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.table.groups import group_prompts
from erp.table.split import PARTS, Split
from erp.table.texts import normalise, text_hash, text_id, text_keys

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from erp.table.schema import RewardTable


def ids_as_kept(prompts: pd.DataFrame, kept: pd.Series) -> NDArray[np.object_]:
    """Ids (N,) by which a run's folder knows prompts: ids made from texts were once of the folded text.

    Args:
        prompts: Frame with the columns prompt_id and prompt.
        kept: The ids in the folder.
    """
    known, ids = set(kept), prompts["prompt_id"].to_numpy(dtype=object).copy()
    for row in [i for i, key in enumerate(ids) if key not in known]:
        text = prompts["prompt"].iloc[row]
        before = f"p-{text_hash(normalise(text))[:16]}"
        if ids[row] == f"p-{text_id(text)}" and before in known:
            ids[row] = before
    return ids


def same_split(
    saved: pd.DataFrame, table: RewardTable, near_duplicates: float | None, *, cache: Path | None = None
) -> Split:
    """The run's own split of its prompts, for a new member on them; prompts that it does not know are in no part.

    Args:
        saved: what the run's folder keeps: prompt_id, split, text_key, group_key.
        table: Any table.
        near_duplicates: Jaccard similarity from which two prompts are near-duplicates; None = only equal texts are.
        cache: As in `group_prompts`.

    Raises:
        ErpError: The table has none of the prompts that the run learnt from, or none of its test.
    """
    prompts = _prompts(saved, table, text_keys(table.prompts["prompt"]))
    found = prompts.merge(saved, how="left", on=["prompt_id", "text_key"])
    unknown = found["split"].isna()
    part, keys = found["split"].to_numpy(), found["group_key"].to_numpy()
    if unknown.any() or len(saved) > len(found):  # other prompts can make other groups
        keys = group_prompts(table.prompts, near_duplicates, cache=cache).keys
    notes = (f"{unknown.sum():,} prompts of the table are not of the run and were left out",) if unknown.any() else ()
    names, groups = np.unique(keys.astype(object), return_inverse=True)
    split = _split(part, names, groups, prompts["text_key"].to_numpy(dtype=object), notes)
    if not len(split.test) or not len(split.learnt):
        raise ErpError(
            "data: the table has none of the prompts that the run learnt from, or none of those it is tested on; give "
            "rewards of the new member on the run's own prompts"
        )
    return split


def unseen_split(
    saved: pd.DataFrame, table: RewardTable, near_duplicates: float | None, *, cache: Path | None = None
) -> Split:
    """The run's own split, if it knows every prompt; else all prompts that it did not learn from are test.

    A prompt was learnt from if its text, or one of its group, was in train, validation or calibration, or if one of its
    group here was. Near-duplicates are found among the prompts of this table: what resembles a learnt prompt that is
    not in it cannot be seen, since a run keeps no texts.

    Args:
        saved: as in `same_split`, as are the others.
        table: likewise.
        near_duplicates: likewise.
        cache: likewise.

    Raises:
        ErpError: The run learnt from every prompt.
    """
    grouped = group_prompts(table.prompts, near_duplicates, cache=cache)
    prompts = _prompts(saved, table, grouped.texts)
    part = prompts.merge(saved[["prompt_id", "text_key", "split"]], how="left")["split"].to_numpy(dtype=object)
    notes: tuple[str, ...] = ()
    if pd.isna(part).any():
        learnt = saved[saved["split"].isin(PARTS[:-1])]
        of_learnt = saved[saved["group_key"].isin(learnt["group_key"])]
        touched = pd.Series(grouped.names).isin(learnt["group_key"]).to_numpy(copy=True)
        touched[grouped.groups[prompts["text_key"].isin(of_learnt["text_key"])]] = True
        fresh = ~touched[grouped.groups]
        part = np.where(fresh, "test", "unused")
        if left_out := int((~fresh).sum()):
            notes = (f"{left_out} prompts were left out: the router learnt from their texts or groups",)
    split = _split(part, grouped.names, grouped.groups, grouped.texts, notes)
    if not len(split.test):
        raise ErpError("data: the router learnt from every prompt of this table; give prompts it has not seen")
    return split


def _prompts(saved: pd.DataFrame, table: RewardTable, texts: NDArray[np.object_]) -> pd.DataFrame:
    """The table's prompts by what a run's folder knows them by."""
    return pd.DataFrame({"prompt_id": ids_as_kept(table.prompts, saved["prompt_id"]), "text_key": texts})


def _split(
    part: NDArray[np.object_],
    names: NDArray[np.object_],
    groups: NDArray[np.int64],
    texts: NDArray[np.object_],
    notes: tuple[str, ...],
) -> Split:
    """A split by the name of every prompt's part."""
    rows = {name: np.flatnonzero(part == name).astype(np.int64) for name in PARTS}
    return Split(**rows, groups=groups.astype(np.int64), keys=names, texts=texts, notes=notes)
