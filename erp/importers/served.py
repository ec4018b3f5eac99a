"""Requests that a service answered and logged: how its exports are read, and which sample of a prompt each one is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from erp.importers.base import Row
from erp.importers.chats import parsed
from erp.importers.fields import maybe_mapping
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records
from erp.table.texts import exact, text_hash

PATTERNS = ("*.json", "*.jsonl", "*.ndjson", "*.csv", "*.parquet")
_TWICE = "a request that was exported before"


@dataclass
class Requests:
    """The requests that were read.

    Attributes:
        ids: hashes of theirs.
        asked: how often each member was asked each text.
    """

    ids: set[int] = field(default_factory=set)
    asked: Counter[int] = field(default_factory=Counter)

    def is_new(self, request: str, ledger: Ledger) -> bool:
        """Whether a request was not read before: exports may overlap."""
        key = _number(request)
        if key in self.ids:
            ledger.leave_out(_TWICE)
            return False
        self.ids.add(key)
        return True

    def numbered(self, row: Row) -> Row:
        """The row as the next sample of its member and text."""
        key = _number(f"{row['model']}\0{exact(row['prompt'])}")
        self.asked[key] += 1
        return {**row, "sample": self.asked[key] - 1}


def exported(file: SourceFile, ledger: Ledger) -> Iterator[Found]:
    """The records of an export: lines, an array, a sheet; or one JSON document that is one or holds them as ``data``.

    A document over several lines is read whole.

    Raises:
        ErpError: the file cannot be read.
    """
    if file.last.endswith(".json") and _is_document(file):
        found: Iterator[Found] = iter([Found(maybe_mapping(file.json()), 1, file.name, file)])
    else:
        found = records(file, ledger)
    for record in found:
        data = record.values.get("data")
        if not isinstance(data, list):
            yield record
            continue
        for number, item in enumerate(data, 1):
            place = f"{record.place} data {number}"
            if isinstance(item, Mapping):
                yield Found(item, number, place, file)
            else:
                ledger.fault("no record", f"{place}: a {type(item).__name__}")


def at(record: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path, ``metadata.score``; of objects that are written as JSON too. None: nothing."""
    if path in record:
        return record[path]
    value: Any = record
    for key in path.split("."):
        value = maybe_mapping(parsed(value)).get(key)
    return value


def _is_document(file: SourceFile) -> bool:
    """Whether the first line of a file begins an object and does not end it."""
    with file.opened() as stream:
        head = stream.readline(1 << 24).removeprefix(b"\xef\xbb\xbf").strip()
    if not head.startswith(b"{"):
        return False
    try:
        json.loads(head)
    except (ValueError, RecursionError):
        return True
    return False


def _number(text: str) -> int:
    return int(text_hash(text)[:16], 16)
