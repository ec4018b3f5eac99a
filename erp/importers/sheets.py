"""Files of rows and named columns, of any kind, as frames of raw values, some rows at a time."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.table.readers.base import unreadable
from erp.table.readers.csv import delimiter_of
from erp.table.readers.json_lines import Json

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx")
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
            _require_single(file, opened.schema_arrow.names)
            for batch in opened.iter_batches(rows):
                yield batch.to_pandas(integer_object_nulls=True, ignore_metadata=True)
    elif suffix == ".xlsx":
        yield from _workbook(file, rows, sheet)
    elif suffix:
        with file.opened() as stream:
            records = Json().rows(file.named, stream, "", None)
            while some := [dict(record) for _, record in islice(records, rows)]:
                yield pd.DataFrame(some, dtype=object)
    else:
        raise ErpError(f"{file.named}: not a known kind of file; known are {', '.join(SUFFIXES)}; convert it")


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
        names = next(csv.reader([head], delimiter=sign), [])
    _require_single(file, names)
    with (
        file.opened() as stream,
        _told(file, encoding),
        pd.read_csv(stream, sep=sign, chunksize=rows, encoding=encoding, **_TEXT) as read,
    ):
        for frame in read:
            if not isinstance(frame.index, pd.RangeIndex):  # pandas takes a surplus first cell for an index
                raise ErpError(
                    f"{file.named}: the rows have more cells than the header has names; the cells are read as "
                    f"separated by {sign!r}; quote those that hold it"
                )
            again = (frame == pd.Series(names, index=frame.columns)).all(axis=1)
            if again.any():
                ledger.leave_out("headers that stand again in a file", int(again.sum()))
            yield frame[~again].reset_index(drop=True)


@contextmanager
def _told(file: SourceFile, encoding: str) -> Iterator[None]:
    """What decoding and pandas say of a text file, in a line."""
    try:
        yield
    except UnicodeError as error:
        raise ErpError(
            f"{file.named}: is not {encoding.removesuffix('-sig')} ({str(error)[:80]}); say what it is, for example "
            "source.encoding=latin-1"
        ) from None
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
        try:
            book = load_workbook(io.BytesIO(stream.read()), read_only=True, data_only=True)
        except Exception as error:  # a damaged one makes it raise whatever its parser meets
            raise unreadable(file.named, error, "check that it is a whole .xlsx workbook") from None
    if sheet is None and len(book.sheetnames) > 1:
        raise ErpError(f"source.sheet = null: {file.named} has several: {shorten(book.sheetnames)}; name one")
    if sheet is not None and sheet not in book.sheetnames:
        raise ErpError(f"source.sheet = {sheet}: {file.named} has {shorten(book.sheetnames)}; name one of them")
    cells = book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
    names = ["" if name is None else str(name) for name in next(cells, ())]
    while names and not names[-1]:
        names.pop()
    _require_single(file, names)
    while some := list(islice(cells, rows)):
        frame = pd.DataFrame([row[: len(names)] for row in some], columns=names, dtype=object)
        yield frame[frame.notna().any(axis=1)].reset_index(drop=True)
    book.close()


def _require_single(file: SourceFile, names: Iterable[str]) -> None:
    names = list(names)
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ErpError(
            f"{file.named}: has two columns {shorten(twice, 3)}; which one is meant it does not say; rename one"
        )
