"""How a collection grows: which blocks its prompts are cut into, and which of them lack prompts or samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from erp.collect.store import Store
from erp.collect.units import Blocks, Unit


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


def beside(held: pd.DataFrame, prompts: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Prompts that a collection does not have yet, and ids of those it has, and that are not what they were."""
    known = prompts["prompt_id"].isin(held["prompt_id"])
    columns = held.columns.union(prompts.columns, sort=False)
    before, now = (frame.reindex(columns=columns).astype("str").set_index("prompt_id") for frame in (held, prompts))
    now = now.reindex(before.index)
    same = (now.fillna("") == before.fillna("")).all(axis=1)
    return prompts[~known], same.index[~same].tolist()
