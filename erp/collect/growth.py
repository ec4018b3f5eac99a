"""How a collection grows: its blocks, which of them lack prompts or samples, what was corrected, who never answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pandas as pd

from erp.collect.prompts.base import slices
from erp.collect.store import Store
from erp.collect.units import Blocks, Unit

CORRECTED = ("category", "reference")


def block_of(prompts: int) -> int:
    """Prompts of a unit where nobody says: few files of a large table, quick ones of a small one."""
    return min(max(32, prompts // 1000), 512)


def blocks_of(held: dict[str, Any]) -> Blocks:
    """How the prompts of a collection are cut."""
    return Blocks(held["block"], tuple(held["added"]))


def sampled_with_less(store: Store, held: dict[str, Any], units: Sequence[Unit]) -> dict[Unit, int]:
    """Units that were done when ``k`` was smaller, with the samples that they have of a prompt.

    The log, which is written after the part, says so; where there is none, nobody knows, and the unit is looked at.
    """
    if "fewer_samples" not in held:
        return {}
    done, logs, fewest = store.names("samples"), store.names("log/samples"), held["fewer_samples"]
    had = {
        unit: int(store.read_json(f"log/samples/{unit.file}").get("k", fewest)) if unit.file in logs else fewest
        for unit in units
        if unit.part in done
    }
    return {unit: k for unit, k in had.items() if k < held["k"]}


def sampled_members(store: Store) -> set[str]:
    """Names of the members of which a response is there, in a part or a journal."""
    parts = (name.removeprefix("part-") for name in store.names("samples"))
    return {unquote(name.rsplit("-", 1)[0]) for name in (*parts, *store.names("journal/samples"))}


def without_silent(held: dict[str, Any], wanted: Mapping[str, Any], sampled: set[str]) -> dict[str, Any]:
    """What a collection is made from, if members that never answered are as they are wanted now, or not there."""
    members = {
        name: said if name in sampled else wanted["members"][name]
        for name, said in held["members"].items()
        if name in sampled or name in wanted["members"]
    }
    return {**held, "members": members, "facts": {name: held["facts"].get(name, {}) for name in members}}


def forget_silent(store: Store, members: set[str]) -> None:
    """Remove what was noted of members that never answered, in other settings than they have now."""
    for folder in ("failures/samples", "log/samples"):
        for name in store.names(folder):
            if unquote(name.rsplit("-", 1)[0]) in members:
                store.remove(f"{folder}/{name}")


@dataclass(frozen=True)
class Beside:
    """A prompt set beside a collection's prompts.

    Attributes:
        held: the collection's, with the categories and references that the set has for them.
        more: prompts that the collection does not have.
        other: ids of those it has that are otherwise not what they were.
        corrected: column -> how many of the collection's prompts have another value there.
    """

    held: pd.DataFrame
    more: pd.DataFrame
    other: list[str]
    corrected: Mapping[str, int]


def beside(held: pd.DataFrame, prompts: pd.DataFrame) -> Beside:
    """Hold a prompt set against those held: what no response depends on may be corrected, not taken away."""
    columns, places = held.columns.union(prompts.columns, sort=False), pd.Index(prompts["prompt_id"])
    mended, other, corrected = list[pd.DataFrame](), list[str](), Counter[str]()
    for some in slices(held):
        found = places.get_indexer(pd.Index(some["prompt_id"]))
        now = prompts.iloc[found[found >= 0]]
        before, now = (frame.reindex(columns=columns).astype("str").set_index("prompt_id") for frame in (some, now))
        now = now.reindex(before.index)
        differs = now.fillna("") != before.fillna("")
        corrections = differs[list(CORRECTED)] & now[list(CORRECTED)].notna()
        differs[list(CORRECTED)] &= ~corrections
        own = {c: now[c].where(corrections[c], before[c]).to_numpy() for c in CORRECTED}
        mended.append(some.assign(**own).astype("str"))
        other += differs.index[differs.any(axis=1)].tolist()
        corrected.update({column: int(corrections[column].sum()) for column in CORRECTED})
    known = prompts["prompt_id"].isin(held["prompt_id"])
    return Beside(pd.concat(mended, ignore_index=True), prompts[~known], other, +corrected)
