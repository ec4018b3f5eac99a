"""Cells between delimiters, under a header: csv, tsv and the like."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any, BinaryIO

import pandas as pd

from erp.errors import ErpError
from erp.table.readers.base import SEEN, Choose, File, Reader, Row, Selected, nothing
from erp.table.schema import REQUIRED_COLUMNS
from erp.table.shape import require_single, selection

_ROWS = 1 << 18  # that are read at a time
# every cell as text and only the empty one missing: a model may be called "NA", and 007 is not 7
_AS_TEXT: dict[str, Any] = {"dtype": str, "keep_default_na": False, "na_values": [""], "encoding": "utf-8-sig"}
DELIMITERS = (",", ";", "\t", "|")


class Csv(Reader):
    """Texts; an empty cell is missing. What parts the cells is told by the header."""

    name = "csv"
    suffixes = (".csv", ".tsv")

    def rows(self, named: str, stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
        """A row of the file, by the line that it ends on."""
        del choose
        text = io.TextIOWrapper(io.BytesIO(stream.read()), encoding="utf-8-sig", newline="")
        header = text.readline()
        csv.field_size_limit(2**31 - 1)  # a prompt may be longer than a cell of 1990
        sign = delimiter_of(header, ("prompt", "messages", "category"))
        reader = csv.DictReader(chain([header], text), delimiter=sign)
        for row in reader:
            place = f"{where}line {reader.line_num}"
            if None in row:
                raise ErpError(
                    f"{named}: {place} has more cells than the header has names; quote cells with a delimiter"
                )
            yield place, {name: value or None for name, value in row.items()}

    def select(self, named: str, files: Sequence[File], columns: Mapping[str, str]) -> Selected:
        """Columns of texts, some rows at a time; a column of numbers is made of them later."""
        headers = [(file, header) for file in files if (header := _header(file))]
        if not headers:  # no rows; a folder's other files may have some
            return nothing()
        seen, signs = [], []
        for file, header in headers:
            signs.append(delimiter_of(header, (*REQUIRED_COLUMNS, *columns.values())))
            # pandas renames them
            require_single(named, next(csv.reader([header], delimiter=signs[-1]), []), columns)
            with file.opened() as stream:
                seen.append(pd.read_csv(stream, sep=signs[-1], nrows=SEEN, **_AS_TEXT).assign(**file.columns))
        first = pd.concat(seen).head(SEEN)
        numbers = [str(name) for name in first if not pd.to_numeric(first[name], errors="coerce").isna().all()]
        chosen = selection(named, [str(name) for name in first], columns, numbers)
        notes = tuple(
            f"the file's cells are separated by {sign!r}, as its header is" for sign in sorted({*signs} - {","})
        )
        told = [(file, sign) for (file, _), sign in zip(headers, signs, strict=True)]
        return Selected(chosen, _batches(named, told), notes)


def _header(file: File) -> str:
    with file.opened() as stream:
        return stream.readline().decode("utf-8-sig")


def _batches(named: str, files: Iterable[tuple[File, str]]) -> Iterator[pd.DataFrame]:
    before = 0
    for file, sign in files:
        start = before
        with ExitStack() as stack:
            stream = stack.enter_context(file.opened())
            frames = stack.enter_context(pd.read_csv(stream, sep=sign, chunksize=_ROWS, **_AS_TEXT))
            for frame in frames:
                # pandas takes a surplus first cell of every row for an index
                if not isinstance(frame.index, pd.RangeIndex):
                    raise ErpError(
                        f"{named}: the rows have more cells than the header has names; "
                        f"the cells are read as separated by {sign!r}; quote those that hold it"
                    )
                before = start + frame.index.stop
                more = {name: value for name, value in file.columns.items() if name not in frame}
                yield frame.assign(**more).set_index(frame.index + start)


def delimiter_of(header: str, wanted: Iterable[str]) -> str:
    """What parts the cells: the sign that makes most of the wanted names out of a header, then most names; else ``,``.

    Signs that do equally well go in the order of ``DELIMITERS``.
    """
    names = set(wanted)

    def found(sign: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=sign), [])
        return len(names & set(cells)), len(cells)

    return max(DELIMITERS, key=found)
