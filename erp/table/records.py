"""Rows out of files, one by one: JSON lines and arrays, parquet, csv, lines of text. Values are left as they are."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, Literal

from erp.errors import ErpError
from erp.table.shards import Kind, Shard, unreadable

Row = tuple[str, Mapping[str, Any]]  # what an error calls the row ("line 3"), and its values by the source's names
Choose = Callable[[Sequence[str]], list[str]]  # the columns there are -> those to read; may raise ErpError
Format = Literal["text", "jsonl"]

DELIMITERS = (",", ";", "\t", "|")
_MEANT_AS_OBJECT = re.compile(r'\{\s*"(prompt|messages|category)"\s*:')


def rows(named: str, files: Sequence[Shard], choose: Choose | None = None) -> Iterator[Row]:
    """The rows of files, one by one.

    Args:
        named: how errors call the source: ``prompts.path = p.jsonl``.
        files: all of one kind.
        choose: the columns that are read of parquet and csv; None for all.

    Raises:
        ErpError: a file or a line cannot be read; those before it have come.
    """
    readers: dict[Kind, Callable[[str, BinaryIO, str], Iterator[Row]]]
    readers = {"json": _json_rows, "text": _text_rows, "csv": _csv_rows}
    for shard in files:
        where = "" if len(files) == 1 else f"{shard.last}, "
        try:
            with shard.opened() as stream:
                found = _parquet_rows(stream, where, choose) if shard.kind == "parquet" else (
                    readers[shard.kind](named, stream, where)
                )  # fmt: skip
                for place, row in found:
                    yield place, {**row, **shard.columns} if shard.columns else row
        except ErpError:
            raise
        except Exception as error:  # every cloud's client and every packing has its own kinds
            raise unreadable(named, error) from error


def decoded(named: str, raw: bytes, place: str) -> str:
    """A line as text, without its end and without a byte order mark. Raises ErpError: it is not UTF-8."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ErpError(f"{named}: {place} is not UTF-8 ({error.reason}); give text in that encoding") from None


def record(named: str, line: str, place: str) -> Mapping[str, Any]:
    """The object on a line; a list of objects is a conversation, its ``messages``. Raises ErpError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise ErpError(f"{named}: {place} is not JSON ({reason}); put one object on each line") from None
    return _object(named, value, place)


def format_of(named: str, line: str) -> Format:
    """What lines are, by the first of them: an object, or a list of objects, begins JSON lines; all else is text.

    Raises:
        ErpError: it begins a JSON text over several lines.
    """
    start = line.strip()
    if start in ("{", "[") or re.match(r"\[\s*\{", start):
        try:
            value = json.loads(start)
        except (ValueError, RecursionError):
            raise ErpError(
                f"{named}: is JSON over several lines; put one object on each (jq -c '.[]'), or say what it is with "
                "input_format=text or input_format=jsonl"
            ) from None
        return "jsonl" if all(isinstance(item, dict) for item in value) else "text"
    try:
        return "jsonl" if start.startswith("{") and isinstance(json.loads(start), dict) else "text"
    except (ValueError, RecursionError):
        return "jsonl" if _MEANT_AS_OBJECT.match(start) else "text"


def delimiter_of(header: str, wanted: Iterable[str]) -> str:
    """What parts the cells: the sign that makes most of the wanted names out of a header, then most names; else ``,``.

    Signs that do equally well go in the order of ``DELIMITERS``.
    """
    names = set(wanted)

    def found(sign: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=sign), [])
        return len(names & set(cells)), len(cells)

    return max(DELIMITERS, key=found)


def _json_rows(named: str, stream: BinaryIO, where: str) -> Iterator[Row]:
    """Objects: one on each line, or the items of one array, whatever the file is called."""
    raw = ((f"{where}line {number}", line) for number, line in enumerate(stream, 1))
    lines = ((place, decoded(named, line, place)) for place, line in raw)
    filled = ((place, line) for place, line in lines if line.strip())
    first = next(filled, None)
    if first is not None and first[1].lstrip().startswith("["):
        yield from _array(named, [first, *filled], where)
    elif first is not None:
        for place, line in chain([first], filled):
            yield place, record(named, line, place)


def _array(named: str, lines: Sequence[tuple[str, str]], where: str) -> Iterator[Row]:
    """The items of an array; or where these lines are none together, what is on each."""
    try:
        items = json.loads("\n".join(line for _, line in lines))
    except (ValueError, RecursionError) as error:
        if len(lines) == 1 or lines[0][1].rstrip().endswith("]"):
            yield from ((place, record(named, line, place)) for place, line in lines)
            return
        raise ErpError(
            f"{named}: {where}is not a JSON array ({error}); give a whole one, or an object a line"
        ) from None
    if items and all(isinstance(item, dict) and "role" in item for item in items):
        items = [items]  # one conversation
    yield from ((f"{where}item {i}", _object(named, item, f"{where}item {i}")) for i, item in enumerate(items, 1))


def _object(named: str, value: object, place: str) -> Mapping[str, Any]:
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return {"messages": value}
    if not isinstance(value, dict):
        raise ErpError(f"{named}: {place} is a {type(value).__name__}; put one object on each line")
    return value


def _text_rows(named: str, stream: BinaryIO, where: str) -> Iterator[Row]:
    for number, raw in enumerate(stream, 1):
        if line := decoded(named, raw, f"{where}line {number}").strip():
            yield f"{where}line {number}", {"prompt": line}


def _csv_rows(named: str, stream: BinaryIO, where: str) -> Iterator[Row]:
    text = io.TextIOWrapper(io.BytesIO(stream.read()), encoding="utf-8-sig", newline="")
    header = text.readline()
    csv.field_size_limit(2**31 - 1)  # a prompt may be longer than a cell of 1990
    reader = csv.DictReader(chain([header], text), delimiter=delimiter_of(header, ("prompt", "messages", "category")))
    for row in reader:
        place = f"{where}line {reader.line_num}"
        if None in row:
            raise ErpError(f"{named}: {place} has more cells than the header has names; quote cells with a delimiter")
        yield place, {name: value or None for name, value in row.items()}


def _parquet_rows(stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(stream)
    columns = None if choose is None else choose(file.schema_arrow.names)
    number = 0
    for batch in file.iter_batches(batch_size=1024, columns=columns):
        for row in batch.to_pylist():
            yield f"{where}row {number}", row
            number += 1
