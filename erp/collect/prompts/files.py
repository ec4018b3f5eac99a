"""Prompts in files: JSON lines and parquet, local or wherever fsspec reaches (s3://, gs://, https://)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from erp.collect.prompts.rows import Row, RowPrompts
from erp.errors import ErpError

JSON_LINES = (".jsonl", ".jsonl.gz", ".ndjson")
PARQUET = (".parquet",)

Choose = Callable[[Sequence[str]], list[str]]  # the columns there are -> those to read; may raise ErpError


class JsonLines(RowPrompts):
    """Prompts from JSON lines: an object on each.

    Args:
        path: a file, a folder of ``.jsonl`` files, or a pattern with ``*``; local or of any fsspec protocol.
        columns: our name -> the file's, of prompt, prompt_id, category, group, split, reference; null for our own name.
        limit: prompts to keep; None for all.
        seed: None keeps the first ``limit``; a number draws a sample, categories in proportion.
    """

    def __init__(
        self,
        path: str,
        columns: dict[str, str | None] | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__("prompts.path", path, columns, limit, seed)

    def rows(self) -> Iterator[Row]:
        """The files' objects."""
        return json_rows(self.source)


class Parquet(RowPrompts):
    """Prompts from parquet; only the columns needed are read.

    Args:
        path: a file, a folder of ``.parquet`` files, or a pattern with ``*``; local or of any fsspec protocol.
        columns: our name -> the file's, of prompt, prompt_id, category, group, split, reference; null for our own name.
        limit: prompts to keep; None for all.
        seed: None keeps the first ``limit``; a number draws a sample, categories in proportion.
    """

    def __init__(
        self,
        path: str,
        columns: dict[str, str | None] | None = None,
        limit: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__("prompts.path", path, columns, limit, seed)

    def rows(self) -> Iterator[Row]:
        """The files' rows."""
        return parquet_rows(self.source, self.chosen)


def json_rows(path: str) -> Iterator[Row]:
    """The objects of JSON-lines files, one by one. Raises ErpError, naming the line."""
    with _readable(path):
        system, names = _files(path, JSON_LINES)
        for name in names:
            with system.open(name, "rt", encoding="utf-8-sig", compression="infer") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.strip():
                        continue
                    place = f"line {number}" if len(names) == 1 else f"{_last(name)}, line {number}"
                    try:
                        row = json.loads(line)
                    except json.JSONDecodeError as error:
                        raise ErpError(
                            f"prompts.path = {path}: {place} is not JSON ({error.msg}); put one object on each line"
                        ) from None
                    if not isinstance(row, dict):
                        raise ErpError(
                            f"prompts.path = {path}: {place} is a {type(row).__name__}; put one object on each line"
                        )
                    yield place, row


def parquet_rows(path: str, choose: Choose) -> Iterator[Row]:
    """The rows of parquet files, one by one, with the columns that ``choose`` names. Raises ErpError."""
    import pyarrow.parquet

    with _readable(path):
        system, names = _files(path, PARQUET)
        for name in names:
            with system.open(name, "rb") as stream:
                file = pyarrow.parquet.ParquetFile(stream)
                columns, number = choose(file.schema_arrow.names), 0
                for batch in file.iter_batches(batch_size=1024, columns=columns):
                    for row in batch.to_pylist():
                        yield f"row {number}" if len(names) == 1 else f"{_last(name)}, row {number}", row
                        number += 1


def _files(path: str, suffixes: tuple[str, ...]) -> tuple[Any, list[str]]:
    """The path's file system, and the file, the folder's files or the pattern's files, by name."""
    from fsspec.core import url_to_fs

    system, inner = url_to_fs(path)
    if "*" in inner:
        names = sorted(system.glob(inner))
    elif system.isdir(inner):
        names = sorted(name for name in system.find(inner) if name.endswith(suffixes))
    else:
        names = [inner] if system.exists(inner) else []
    if not names:
        what = f"holds no {' or '.join(suffixes)} file" if system.isdir(inner) else "there is no such file or folder"
        raise ErpError(f"prompts.path = {path}: {what}; correct the path")
    return system, names


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """What goes wrong inside, as one line about ``path``."""
    try:
        yield
    except ErpError:
        raise
    except Exception as error:  # every cloud's client has its own kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ErpError(
            f"prompts.path = {path}: cannot be read ({reason}); check the path, the kind of file and your access"
        ) from error


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
