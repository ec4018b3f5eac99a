"""The objects of a JSON file, one by one: an array's items or one on each line, however large the file is."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from erp.errors import visible
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger

_CHUNK = 1 << 20  # bytes that are read at a time
_LONGEST = 1 << 27  # characters of one item; what follows a broken one would otherwise come into memory whole
_BETWEEN = re.compile(r"[ \t\r\n,]*")


@dataclass(frozen=True)
class _Broken:
    """What is no JSON, but has lines after it."""

    why: str


def objects(file: SourceFile, ledger: Ledger) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The objects of a file: the number of each from 1, its place (``line 3``), and what it holds.

    What is no object is a fault, and counts in the numbers.

    Raises:
        ErpError: the file cannot be read, or not to its end.
    """
    for number, (place, value) in enumerate(_values(file), 1):
        if isinstance(value, dict):
            yield number, place, value
        else:
            told = value.why if isinstance(value, _Broken) else f"a {type(value).__name__}"
            ledger.fault("no record", f"{file.name} {place}: {told}")


def _values(file: SourceFile) -> Iterator[tuple[str, Any]]:
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
