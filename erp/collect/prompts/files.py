"""Prompts in files: JSON, parquet and lines of text, local or wherever fsspec reaches (s3://, gs://, https://)."""

from __future__ import annotations

from collections.abc import Iterator

from erp.collect.prompts.rows import RowPrompts, Send
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.readers.base import Row
from erp.table.shards import shards


class _FilePrompts(RowPrompts):
    """Base of the prompt sets that read files of one kind.

    Args:
        path: a file, a folder of such files, or a pattern with ``*``; local or of any fsspec protocol.
        columns: our name -> the file's, of prompt, prompt_id, category, group, split, reference; null for our own name.
        prompt_from: which text stands for a conversation in the table: its ``last_user`` or ``first_user`` turn, or all
            of the ``conversation``.
        send: what members are sent of a conversation: the ``conversation``, which ends in a user's turn, or that
            ``prompt`` alone.
        limit: prompts to keep; None for all.
        seed: None keeps the first ``limit``; a number draws a sample, categories in proportion.
    """

    kind: str

    def __init__(
        self,
        path: str,
        columns: dict[str, str | None] | None = None,
        prompt_from: PromptFrom = DEFAULT_RULE,
        send: Send = "conversation",
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__("prompts.path", path, columns, prompt_from, send, limit, seed)

    def rows(self) -> Iterator[Row]:
        """The files' rows."""
        named = f"{self.key} = {self.source}"
        files = shards(named, self.source, (self.kind,), self.kind)
        yield from files[0].reader.every_row(named, files, self.chosen)


class JsonLines(_FilePrompts):
    """Prompts from JSON: an object on each line, or an array of objects; ``.jsonl``, ``.ndjson``, ``.json``."""

    kind = "json"


class Parquet(_FilePrompts):
    """Prompts from parquet; only the columns needed are read."""

    kind = "parquet"


class Text(_FilePrompts):
    """Prompts from text: one on each line, blank lines passed over; ``.txt``."""

    kind = "text"
