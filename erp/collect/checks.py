"""Sampled responses that were cut, hardly drawn one by one, or whose tokens nobody counted: said, never mended."""

from __future__ import annotations

from typing import Any

import pandas as pd

from erp.collect.store import Store
from erp.collect.units import Unit
from erp.table.copies import MOST_ALIKE
from erp.table.cut_short import cut_share

_COLUMNS = ["prompt_id", "response", "completion_tokens", "finish_reason"]


def warnings(store: Store, held: dict[str, Any], blocks: int, there: set[str]) -> list[str]:
    """A line for every member of a collection whose responses, in the parts that are ``there``, are odd.

    At a temperature above 0 the K responses to a prompt are hardly the same text in most cells, unless something
    between here and the model answers from a cache.
    """
    found = []
    for name, said in held["members"].items():
        parts = [unit.part for unit in (Unit(block, name) for block in range(blocks)) if unit.part in there]
        frames = [_facts(store.read_frame(f"samples/{part}", _COLUMNS)) for part in parts]
        if not frames:
            continue
        facts = pd.DataFrame(frames).sum()
        several, alike = int(facts["prompts"]), int(facts["alike"])
        k, temperature = held["k"], said["decoding"]["temperature"]
        if k > 1 and temperature != 0 and alike > MOST_ALIKE * several:
            at = "" if temperature is None else f", at temperature {temperature:g}"
            found.append(
                f"warning: {name}: all {k} responses are the same text for {alike:,} of {several:,} prompts{at}: does "
                "something between here and the model answer from a cache? Copies are no samples, and what is said of "
                "noise will not be to be believed"
            )
        if cut := int(facts["cut"]):
            found.append(f"note: {name}: {cut_share(cut, int(facts['size']), said['decoding']['max_tokens'])}")
        if unknown := int(facts["unknown"]):
            found.append(
                f"warning: {name}: the tokens of {unknown:,} of {several * k:,} responses are unknown: the server did "
                "not say, or said 0; learning estimates them as characters / 4"
            )
    return found


def _facts(rows: pd.DataFrame) -> dict[str, int]:
    """Prompts, those with one distinct text, responses, those with a text of unknown length, and those cut."""
    texts = rows.groupby("prompt_id")["response"].nunique()
    unknown, cut = rows["completion_tokens"].isna() & (rows["response"] != ""), rows["finish_reason"] == "length"
    return {
        "prompts": len(texts), "alike": int((texts == 1).sum()), "size": len(rows), "unknown": int(unknown.sum()),
        "cut": int(cut.sum()),
    }  # fmt: skip
