"""Files of rows and named columns, of any kind, as frames of raw values, some rows at a time."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.objects import objects
from erp.table.readers.base import unreadable
from erp.table.readers.csv import delimiter_of

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx")
_CELLS = 1 << 20  # that are held at once
_BEGINS = {  # what the first bytes of a file say that is no text as it is called
    b"\xff\xfe": "it begins as UTF-16 does: source.encoding=utf-16",
    b"\xfe\xff": "it begins as UTF-16 does: source.encoding=utf-16",
    b"\x1f\x8b": "it is packed by gzip: let its name end in .gz",
    b"PK": "it is a zip archive or a workbook: let its name end in .zip or .xlsx",
}
_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""]}


def frames(
    file: SourceFile,
    wanted: Iterable[str],
    ledger: Ledger,
    rows: int,
    encoding: str | None = None,
    sheet: str | None = None,
) -> Iterator[pd.DataFrame]:
    """The rows of a file under its own column names; of csv every cell is a text or None.

    Args:
        file: of a kind in ``SUFFIXES``.
        wanted: some of its columns, by which the delimiter of a csv is told.
        ledger: is told of headers that stand again in the middle of a file.
        rows: of a frame, at most.
        encoding: of text; None for UTF-8.
        sheet: of a workbook; None for the only one.

    Raises:
        ErpError: it cannot be read, has a column twice, or is of another kind.
    """
    suffix = next((suffix for suffix in SUFFIXES if file.last.lower().endswith(suffix)), "")
    if suffix in (".csv", ".tsv", ".txt"):
        yield from _csv(file, wanted, ledger, rows, encoding or "utf-8-sig")
    elif suffix == ".parquet":
        with file.opened() as stream:
            opened = pyarrow.parquet.ParquetFile(stream, pre_buffer=False)  # else the whole file is held
            names = _named(file, opened.schema_arrow.names)
            for batch in opened.iter_batches(_rows_of(len(names), rows)):
                yield batch.to_pandas(integer_object_nulls=True, ignore_metadata=True)
    elif suffix == ".xlsx":
        yield from _workbook(file, rows, sheet)
    elif suffix:
        found = (values for _, _, values in objects(file, ledger))
        while first := next(found, None):
            yield pd.DataFrame([first, *islice(found, _rows_of(len(first), rows) - 1)], dtype=object)
    else:
        raise ErpError(f"{file.named}: not a known kind of file; known are {', '.join(SUFFIXES)}; convert it")


def _rows_of(columns: int, most: int) -> int:
    """How many rows are held at once: of a sheet with a column for each of thousands of members, few."""
    return max(1, min(most, _CELLS // max(columns, 1)))


def _csv(file: SourceFile, wanted: Iterable[str], ledger: Ledger, rows: int, encoding: str) -> Iterator[pd.DataFrame]:
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise ErpError(f"source.encoding = {encoding}: there is no such encoding; try latin-1 or utf-16") from None
    with file.opened() as stream, _told(file, encoding):
        text = io.TextIOWrapper(stream, encoding=encoding, newline="")
        head = text.readline()
        text.detach()  # else it closes the stream, at some time
        sign = delimiter_of(head, wanted)
    form: dict[str, Any] = {"sep": sign, "encoding": encoding, "header": None, **_TEXT}
    with file.opened() as stream, _told(file, encoding):  # the header as pandas reads it: a name may hold a line break
        names = pd.read_csv(stream, nrows=1, **form).iloc[0].fillna("").tolist()
    held = [name for name in _named(file, names) if name]
    chunk = _rows_of(len(names), rows)
    with file.opened() as stream, _told(file, encoding), pd.read_csv(stream, chunksize=chunk, **form) as read:
        for number, frame in enumerate(read):
            frame = frame.iloc[0 if number else 1 :].set_axis(names, axis=1)[held]
            again = (frame == held).all(axis=1)
            if again.any():
                ledger.leave_out("headers that stand again in a file", int(again.sum()))
            yield frame[~again].reset_index(drop=True)


@contextmanager
def _told(file: SourceFile, encoding: str) -> Iterator[None]:
    """What decoding and pandas say of a text file, in a line."""
    try:
        yield
    except UnicodeError as error:
        begin = bytes(getattr(error, "object", b""))[:2]
        advice = _BEGINS.get(
            begin, "say what it is, for example source.encoding=latin-1, or cp1252 if Windows wrote it"
        )
        raise ErpError(f"{file.named}: is not {encoding.removesuffix('-sig')} ({str(error)[:80]}); {advice}") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise unreadable(file.named, error, "check that it is whole, and cells with a delimiter quoted") from None


def _workbook(file: SourceFile, rows: int, sheet: str | None) -> Iterator[pd.DataFrame]:
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError:
        raise ErpError(
            f"{file.named}: reading a workbook needs the package openpyxl; pip install 'erp[xlsx]'"
        ) from None
    with file.opened() as stream:
        content = io.BytesIO(stream.read())
    try:
        book = load_workbook(content, read_only=True, data_only=True)
        chosen = _chosen(file, book.worksheets, sheet)
        chosen.reset_dimensions()  # what some programs write of the size is wrong
        yield from _of_cells(file, chosen.iter_rows(values_only=True), rows)
        book.close()
    except ErpError:
        raise
    except Exception as error:  # a damaged one makes it raise whatever its parser meets
        raise unreadable(file.named, error, "check that it is a whole .xlsx workbook") from None


def _chosen(file: SourceFile, sheets: Iterable[Any], wanted: str | None) -> Any:
    found = {sheet.title: sheet for sheet in sheets}
    if wanted is None and len(found) > 1:
        raise ErpError(f"source.sheet = null: {file.named} has several: {shorten(found)}; name one")
    if wanted is not None and wanted not in found:
        raise ErpError(f"source.sheet = {wanted}: {file.named} has {shorten(found)}; name one of them")
    return found[wanted] if wanted is not None else next(iter(found.values()))


def _of_cells(file: SourceFile, cells: Iterator[tuple[Any, ...]], rows: int) -> Iterator[pd.DataFrame]:
    names = _named(file, ("" if name is None else str(name) for name in next(cells, ())))
    held = [name for name in names if name]
    while some := list(islice(cells, _rows_of(len(names), rows))):
        padded = [row[: len(names)] + (None,) * (len(names) - len(row)) for row in some]
        frame = pd.DataFrame(padded, columns=names, dtype=object)[held]
        yield frame[frame.notna().any(axis=1)].reset_index(drop=True)


def _named(file: SourceFile, names: Iterable[str]) -> list[str]:
    """The names of columns. One without a name is not read. Raises ErpError: two have the same."""
    names = list(names)
    counts = Counter(name for name in names if name)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ErpError(
            f"{file.named}: has two columns {shorten(twice, 3)}; which one is meant it does not say; rename one"
        )
    return names
