"""Rows of prompts as what a reward model is given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from erp.collect.prompts.base import MESSAGES, slices
from erp.collect.rewards.base import Pair
from erp.table.asked import as_text


def unanswered(prompts: pd.DataFrame) -> Iterator[Pair]:
    """The prompts as pairs whose responses are empty; some at a time, as there may be millions."""
    for some in slices(prompts):
        yield from (as_pair(row, "") for row in some.to_dict("records"))


def as_pair(prompt: Mapping[Any, Any], response: str, rivals: tuple[str, ...] = ()) -> Pair:
    """A row of prompts.parquet with a response to it, and those it is compared with."""
    category: str | None = None if pd.isna(prompt["category"]) else str(prompt["category"])
    reference, turns = read_reference(prompt["reference"]), prompt.get(MESSAGES)
    if turns is None or pd.isna(turns):
        return Pair(str(prompt["prompt"]), response, category, reference, rivals=rivals)
    history = tuple(json.loads(turns))
    return Pair(str(as_text(history, "conversation")), response, category, reference, history, rivals)


def read_reference(text: Any) -> dict[str, Any] | None:
    """A prompt's reference: a JSON object, or anything else as ``{answer: ...}``."""
    if pd.isna(text):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"answer": value}
