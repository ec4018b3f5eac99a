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


def spread(pairs: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Pairs, those first that are to ``count`` prompts from all over them, one to each, from all over its own."""
    of_prompt: dict[str, list[int]] = {}
    for index, (prompt_id, _) in enumerate(pairs):
        of_prompt.setdefault(prompt_id, []).append(index)
    own, count = list(of_prompt.values()), min(count, len(of_prompt))
    chosen = [own[i * len(own) // count] for i in range(count)]
    early = [places[i * len(places) // count] for i, places in enumerate(chosen)]
    return [pairs[index] for index in [*early, *sorted(set(range(len(pairs))) - set(early))]]
