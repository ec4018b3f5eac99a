"""Cells between delimiters, under a header: csv, tsv and the like."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import BinaryIO

import pandas as pd

from erp.errors import ErpError
from erp.table.readers.base import SEEN, Choose, File, Reader, Row, Selected, nothing
from erp.table.schema import REQUIRED_COLUMNS
from erp.table.shape import require_single, selection

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

    def frame(self, named: str, files: Sequence[File], columns: Mapping[str, str]) -> Selected:
        """Whole columns of texts; a column of numbers is made of them later."""
        frames, signs = [], set()
        for file in files:
            with file.opened() as stream:
                data = io.BytesIO(stream.read())
            if not data.getbuffer().nbytes:
                continue  # no rows; a folder's other files may have some
            header = data.readline().decode("utf-8-sig")
            sign = delimiter_of(header, (*REQUIRED_COLUMNS, *columns.values()))
            require_single(named, next(csv.reader([header], delimiter=sign), []), columns)  # pandas renames them
            data.seek(0)
            # every cell as text and only the empty one missing: a model may be called "NA", and 007 is not 7
            frame = pd.read_csv(data, sep=sign, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
            # pandas takes a surplus first cell of every row for an index
            if not isinstance(frame.index, pd.RangeIndex):
                raise ErpError(
                    f"{named}: the rows have more cells than the header has names; "
                    f"the cells are read as separated by {sign!r}; quote those that hold it"
                )
            frames.append(frame.assign(**{name: value for name, value in file.columns.items() if name not in frame}))
            signs.add(sign)
        if not frames:
            return nothing()
        whole = pd.concat(frames, ignore_index=True)
        seen = whole.head(SEEN)
        numbers = [str(name) for name in seen if not pd.to_numeric(seen[name], errors="coerce").isna().all()]
        chosen = selection(named, [str(name) for name in whole.columns], columns, numbers)
        notes = tuple(f"the file's cells are separated by {sign!r}, as its header is" for sign in sorted(signs - {","}))
        return Selected(whole, chosen, notes)


def delimiter_of(header: str, wanted: Iterable[str]) -> str:
    """What parts the cells: the sign that makes most of the wanted names out of a header, then most names; else ``,``.

    Signs that do equally well go in the order of ``DELIMITERS``.
    """
    names = set(wanted)

    def found(sign: str) -> tuple[int, int]:
        cells = next(csv.reader([header], delimiter=sign), [])
        return len(names & set(cells)), len(cells)

    return max(DELIMITERS, key=found)
