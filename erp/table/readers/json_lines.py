"""JSON: an object on each line, or an array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, BinaryIO, Literal

from erp.errors import ErpError
from erp.table.readers.base import Choose, Reader, Row, decoded

Format = Literal["text", "jsonl"]

_MEANT_AS_OBJECT = re.compile(r'\{\s*"(prompt|messages|category)"\s*:')


class Json(Reader):
    """Objects, by json and not pandas.read_json, which turns the id "007" into 7 and dates into times."""

    name = "json"
    suffixes = (".jsonl", ".ndjson", ".json")

    def rows(self, named: str, stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
        """Objects: one on each line, or the items of one array, whatever the file is called."""
        del choose
        raw = ((f"{where}line {number}", line) for number, line in enumerate(stream, 1))
        lines = ((place, decoded(named, line, place)) for place, line in raw)
        filled = ((place, line) for place, line in lines if line.strip())
        first = next(filled, None)
        if first is not None and first[1].lstrip().startswith("["):
            yield from _array(named, [first, *filled], where)
        elif first is not None:
            for place, line in chain([first], filled):
                yield place, record(named, line, place)


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
