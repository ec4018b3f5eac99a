"""What a prompt set is, and what every one of them is checked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd

from erp.errors import ErpError
from erp.files import whole_text
from erp.table.asked import Turn
from erp.table.schema import PROMPT_COLUMNS
from erp.table.texts import text_hash, text_id

MESSAGES = "messages"
AT_ONCE = 4096  # prompts that are looked at together: there may be millions
Asked = str | tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a set.

    Attributes:
        text: what is sent to every member; of a conversation, what stands for it.
        prompt_id: unique; None where the source has none: it is then made from the text.
        reference: JSON text: what a verifier needs to score a response.
        messages: JSON text: the turns of a conversation, which are then what is sent.
    """

    text: str
    prompt_id: str | None = None
    category: str | None = None
    group: str | None = None
    split: str | None = None
    reference: str | None = None
    messages: str | None = None

    @property
    def whole(self) -> str:
        """All that is asked: prompts are one where it is the same."""
        return self.messages or self.text


class PromptSet:
    """Base of all prompt sets.

    Attributes:
        notes: what was left out and why.
        fixed: whether equal settings always mean equal prompts, so that a collection that has them does not read their
            source again: it may be long, or far away. A file of the user's may change: it is read, and compared.
    """

    fixed: bool = False

    def __init__(self) -> None:
        self.notes: list[str] = []

    def prompts(self) -> Iterator[Prompt]:
        """The prompts, always the same ones in the same order. May raise ErpError; may add to ``notes``."""
        raise NotImplementedError(f"{type(self).__name__} defines no prompts")

    def go_on(self, source: Mapping[str, Any]) -> None:
        """Do as the erp did that began a collection, in what its settings of the source do not say."""


def prompt_frame(prompts: Iterable[Prompt]) -> pd.DataFrame:
    """The prompts as ``prompts.parquet`` holds them, in the order given: text columns, null where there is nothing.

    There is a column ``messages`` where some prompt is a conversation.

    Raises:
        ErpError: there is none, one is empty, or an id stands for two prompts.
    """
    rows, parts = map(_row, prompts), list[pd.DataFrame]()
    while some := list(islice(rows, AT_ONCE)):  # a text takes half as much in a frame
        parts.append(pd.DataFrame(some, columns=[*PROMPT_COLUMNS, MESSAGES], dtype="str"))
    if not parts:
        raise ErpError("prompts: there are none left to sample; widen what prompts.* selects")
    frame = pd.concat(parts, ignore_index=True)
    if frame[MESSAGES].isna().all():
        del frame[MESSAGES]
    empty = pd.concat([part["prompt"].str.strip() == "" for part in parts], ignore_index=True)
    if empty.any():
        raise ErpError(f"prompts: {int(empty.sum()):,} are empty, the first is {frame.loc[empty, 'prompt_id'].iloc[0]}")
    again = frame["prompt_id"].duplicated()
    if again.any():
        raise ErpError(
            f"prompts: prompt_id = {frame.loc[again, 'prompt_id'].iloc[0]}: stands for several prompts "
            f"({int(again.sum()):,} such rows); ids are unique; remove the repeats"
        )
    return frame


def _row(p: Prompt) -> list[str | None]:
    values = (p.prompt_id or text_id(p.whole), p.text, p.category, p.group, p.split, p.reference, p.messages)
    return [None if value is None else whole_text(value) for value in values]


def slices(prompts: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The prompts, some at a time, so that what is made of them need not be held of all."""
    return (prompts.iloc[start : start + AT_ONCE] for start in range(0, len(prompts), AT_ONCE))


def prompts_hash(prompts: pd.DataFrame) -> str:
    """SHA-256 of the prompts as JSON, which is made of some at a time: ``to_json(orient="split", index=False)``."""
    before = prompts.iloc[:0].to_json(orient="split", index=False).removesuffix("]}")
    digest, between = hashlib.sha256(before.encode()), b""
    for some in slices(prompts):
        digest.update(between)
        digest.update(some.to_json(orient="split", index=False)[len(before) : -len("]}")].encode())
        between = b","
    digest.update(b"]}")
    return digest.hexdigest()


def asked(prompts: pd.DataFrame) -> list[Asked]:
    """What is sent of each prompt: its turns, or its text."""
    texts = prompts["prompt"].tolist()
    if MESSAGES not in prompts:
        return texts
    return [
        text if pd.isna(turns) else tuple(json.loads(turns))
        for text, turns in zip(texts, prompts[MESSAGES], strict=True)
    ]


def characters(turns: Sequence[Mapping[str, str]]) -> int:
    """How long a conversation is."""
    return sum(len(turn["content"]) for turn in turns)


def with_ids_of(held: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts under the ids that a collection holds them by, where those were made from texts as they once were.

    Ids used to leave out runs of blanks. A collection that was begun then goes on.
    """
    if not held.drop(columns="prompt_id").equals(prompts.drop(columns="prompt_id")):
        return prompts
    made = [_folded_id(text) for text in held["prompt"]]
    own = prompts["prompt_id"].tolist() == [text_id(text) for text in prompts["prompt"]]
    return held if own and held["prompt_id"].tolist() == made else prompts


def _folded_id(text: str) -> str:
    return text_hash(" ".join(text.split()))[:16]
