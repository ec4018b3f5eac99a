"""The records of a file, one by one: JSON, JSON lines, csv, parquet, and a pickled pandas frame."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from erp.errors import visible
from erp.importers.fields import Record
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.pickles import unpickled
from erp.importers.sheets import frames

_CHUNK = 1 << 20  # bytes that are read at a time
_LONGEST = 1 << 27  # characters of one item; what follows a broken one would otherwise come into memory whole
_ROWS = 256  # that lie in memory together: one may hold every member's response
_BETWEEN = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True)
class Found:
    """A record of a file.

    Attributes:
        values: what it holds.
        number: of its kind in the file, from 1.
        place: where it stands, for errors: ``a.jsonl line 3``.
        file: that holds it.
    """

    values: Record
    number: int
    place: str
    file: SourceFile


@dataclass(frozen=True)
class _Broken:
    """What is no record, but has others after it."""

    why: str


def records(file: SourceFile, ledger: Ledger) -> Iterator[Found]:
    """The records of a file, which its name says the kind of; JSON where it says nothing.

    What is no record is a fault. An array of JSON is read item by item, so that it may be larger than memory; a pickle
    is read whole.

    Raises:
        ErpError: the file cannot be read, or not to its end.
    """
    suffix = file.last.lower().rpartition(".")[2]
    if suffix in ("csv", "tsv", "parquet"):
        found = _sheet(file, ledger)
    else:
        found = _pickle(file) if suffix in ("pkl", "pickle") else _json(file)
    for number, (place, value) in enumerate(found, 1):
        if isinstance(value, dict):
            yield Found(value, number, f"{file.name} {place}", file)
        else:
            told = value.why if isinstance(value, _Broken) else f"a {type(value).__name__}"
            ledger.fault("no record", f"{file.name} {place}: {told}")


def _json(file: SourceFile) -> Iterator[tuple[str, Any]]:
    with file.opened() as stream:
        pieces = iter(lambda: stream.read(_CHUNK), b"")
        start = b""
        while not (begin := start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]) and (more := next(pieces, b"")):
            start += more
        pieces = chain([start], pieces)
        if begin == b"[":
            decoder = codecs.getincrementaldecoder("utf-8-sig")()
            texts = chain(map(decoder.decode, pieces), (decoder.decode(b"", final=True) for _ in "1"))
            yield from ((f"item {number}", item) for number, item in enumerate(_items(texts), 1))
        else:
            numbered = ((number, line) for number, line in enumerate(_lines(pieces), 1) if line.strip())
            yield from ((f"line {number}", _object(line)) for number, line in numbered)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    yield rest


def _object(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Broken(visible(error))


def _items(texts: Iterator[str]) -> Iterator[Any]:
    """Items of a JSON array, of which a few lie in memory. Raises ValueError: it is none."""
    decode = json.JSONDecoder().raw_decode
    seen, wanted, ended, at = "", 1, False, 0
    while not ended:
        while not ended and len(seen) < wanted:
            more = next(texts, None)
            seen, ended = seen + (more or ""), more is None
        at = at or seen.index("[") + 1
        while (at := _after(seen, at)) < len(seen) and seen[at] != "]":
            try:
                value, end = decode(seen, at)
            except ValueError:
                if ended or len(seen) - at > _LONGEST:
                    raise
                break
            if end == len(seen) and not ended:  # a number may go on
                break
            at = end
            yield value
        if seen[at : at + 1] == "]":
            if seen[at + 1 :].strip() or any(text.strip() for text in texts):
                raise ValueError("something follows the array")
            return
        seen, at = " " + seen[at:], 1
        wanted = 2 * len(seen) + 1  # an item that is not whole yet is tried again once twice as much has come
    raise ValueError("the array does not end")


def _after(text: str, at: int) -> int:
    between = _BETWEEN.match(text, at)
    return between.end() if between else at


def _sheet(file: SourceFile, ledger: Ledger) -> Iterator[tuple[str, Any]]:
    number = 0
    for frame in frames(file, (), ledger, _ROWS):
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            number += 1
            yield f"row {number}", row


def _pickle(file: SourceFile) -> Iterator[tuple[str, Any]]:
    with file.opened() as stream:
        frame = unpickled(file.named, stream)
    columns = [str(name) for name in frame.columns]
    for number, values in enumerate(frame.itertuples(index=False, name=None), 1):
        yield f"row {number}", dict(zip(columns, values, strict=True))
