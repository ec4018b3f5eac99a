"""Prompts out of rows: which columns are read, what their values may be, what is left out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from erp.collect.prompts.base import Prompt, PromptSet
from erp.collect.prompts.selection import Draw, First, check_limit
from erp.errors import ErpError, shorten
from erp.table.asked import PromptFrom, as_text, asked_in, label_of, nothing, turns_of
from erp.table.readers.base import Row
from erp.table.schema import PROMPT_COLUMNS

Send = Literal["conversation", "prompt"]


class RowPrompts(PromptSet):
    """Base of the prompt sets that read rows with named columns.

    A row's prompt is the text in its column ``prompt``, or a conversation there or in ``messages``: a list of
    ``{role, content}``. Members are then sent its turns, and its text by ``prompt_from`` is the table's prompt, which
    routers read; a conversation that is no more than that text is as good as the text.

    Rows without a prompt and repeats of a text are left out and counted in ``notes``. A reference that
    is an object is stored as its JSON text; one that is a plain value as ``{"answer": value}``, which verifiers read.

    Args:
        key: the config key that names the source, for error lines.
        source: what that key says.
        columns: our name -> the source's, where it has another; null for our own name.
        prompt_from: which text stands for a conversation.
        send: what members are sent of it: the ``conversation``, or that ``prompt`` alone.
        limit: prompts to keep; None for all.
        seed: None keeps the first ``limit``, and reads no further; a number draws a sample, categories in proportion,
            that does not depend on the order of rows.
    """

    def __init__(
        self,
        key: str,
        source: str,
        columns: Mapping[str, str | None] | None,
        prompt_from: PromptFrom,
        send: Send,
        limit: int | None,
        seed: int | None,
    ) -> None:
        super().__init__()
        check_limit(limit)
        self.key, self.source, self.limit, self.seed = key, source, limit, seed
        self.prompt_from, self.send, self._before = prompt_from, send, False
        self.columns = {ours: theirs for ours, theirs in (columns or {}).items() if theirs is not None}
        if unknown := [name for name in columns or {} if name not in PROMPT_COLUMNS]:
            raise ErpError(
                *(f"prompts.columns.{name} = {(columns or {})[name]}: a prompt set has no column {name}; "
                  f"known are {', '.join(PROMPT_COLUMNS)}" for name in unknown)
            )  # fmt: skip
        self._present: dict[str, None] = {}
        self._read = self._empty = self._reduced = 0

    def go_on(self, source: Mapping[str, Any]) -> None:
        """Members were sent the text alone before there was a choice."""
        if self.send == "conversation" and "send" not in source:
            self.send, self._before = "prompt", True

    def rows(self) -> Iterator[Row]:
        """The source's rows, in its order."""
        raise NotImplementedError(f"{type(self).__name__} defines no rows")

    def prompts(self) -> Iterator[Prompt]:
        """The prompts. Raises ErpError for a source that cannot be read, absent columns and values of a wrong kind."""
        self._present, self._read, self._empty, self._reduced = {}, 0, 0, 0
        if self.seed is None:
            first = First(self.limit)
            yield from first.of(self._all())
            repeats, of_how_many = first.repeats, ""
        else:
            draw = Draw(self.limit, self.seed)
            for prompt in self._all():
                draw.add(prompt)
            yield from draw.drawn()
            repeats = draw.repeats
            of_how_many = f"{sum(draw.shares().values()):,} of {sum(draw.sizes().values()):,} prompts were drawn"
        if self._present:
            self.chosen(list(self._present))
        told = {
            f"{self._empty:,} of {self._read:,} rows have no prompt and are left out": self._empty,
            f"{repeats:,} of {self._read:,} rows repeat a prompt's text and are left out": repeats,
            f"{of_how_many} (seed {self.seed})": of_how_many,
            f"of {self._reduced:,} conversations the text alone is sent, as this collection was begun; give another "
            f"name to send their turns": self._reduced,
        }
        self.notes[:] = [note for note, told_of in told.items() if told_of]

    def chosen(self, present: Sequence[str], required: Collection[str] | None = None) -> list[str]:
        """Which of the source's columns are read.

        Args:
            present: the columns there are.
            required: our names of the columns that must be there; None for ``prompt`` and those the user named.

        Raises:
            ErpError: some are not.
        """
        faults = []
        for ours in {"prompt": None, **self.columns} if required is None else required:
            theirs = self.columns.get(ours, ours)
            if theirs == "prompt" and "messages" in present:
                continue
            if theirs not in present:
                named = f"prompts.columns.{ours} = {theirs}" if ours in self.columns else f"{self.key} = {self.source}"
                lacks = f"{self.source} has no such column" if ours in self.columns else f"there is no column {theirs}"
                faults.append(
                    f"{named}: {lacks}; its columns are {shorten(present, 20) or 'none'}; "
                    f"name the right one with prompts.columns.{ours}"
                )
        if faults:
            raise ErpError(*faults)
        theirs_all = [*(self.columns.get(ours, ours) for ours in PROMPT_COLUMNS), "messages"]
        return list(dict.fromkeys(name for name in theirs_all if name in present))

    def _all(self) -> Iterator[Prompt]:
        for place, row in self.rows():
            if not self._present:  # a wrong name is told at once, not after a million rows
                self.chosen(list(row), ["prompt"])
            self._present.update(dict.fromkeys(row))
            self._read += 1
            prompt = self._prompt(place, row)
            if prompt is None:
                self._empty += 1
            else:
                yield prompt

    def _prompt(self, place: str, row: Mapping[str, Any]) -> Prompt | None:
        column, messages = self.columns.get("prompt"), None
        try:
            given = asked_in(row, column)
            text = as_text(given, self.prompt_from)
            turns = turns_of(given) if self.send == "conversation" else None
        except ValueError as error:
            raise self._wrong(place, "prompt", error) from None
        if text is None or not text.strip():
            return None
        if turns is not None and turns != ({"role": "user", "content": text},):
            messages = json.dumps(turns, ensure_ascii=False)
        self._reduced += self._before and not isinstance(given, str) and len(given) > 1
        own = {ours: self._label(place, row, ours) for ours in ("prompt_id", "category", "group", "split")}
        reference = _reference(row.get(self.columns.get("reference", "reference")))
        return Prompt(text, reference=reference, messages=messages, **own)

    def _label(self, place: str, row: Mapping[str, Any], ours: str) -> str | None:
        """A text or a whole number, as text; None where there is nothing."""
        try:
            return label_of(row.get(self.columns.get(ours, ours)))
        except ValueError as error:
            raise self._wrong(place, ours, error) from None

    def _wrong(self, place: str, ours: str, error: ValueError) -> ErpError:
        theirs = self.columns.get(ours, ours)
        return ErpError(
            f"{self.key} = {self.source}: {place}, column {theirs}: {error}; "
            f"name a column of texts with prompts.columns.{ours}, or convert this one"
        )


def _reference(value: Any) -> str | None:
    """What a verifier needs, as the text of a JSON object."""
    if nothing(value):
        return None
    if isinstance(value, str):
        try:
            if isinstance(json.loads(value), dict):
                return value
        except ValueError:
            pass
    return json.dumps(value if isinstance(value, dict) else {"answer": value}, ensure_ascii=False, default=str)
