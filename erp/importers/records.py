"""The records of a file, one by one: JSON, JSON lines, csv, parquet, and a pickled pandas frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from erp.importers.fields import Record
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.objects import objects
from erp.importers.pickles import unpickled
from erp.importers.sheets import frames

_ROWS = 256  # that lie in memory together: one may hold every member's response


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
        found = _pickle(file) if suffix in ("pkl", "pickle") else objects(file, ledger)
    for number, place, values in found:
        yield Found(values, number, f"{file.name} {place}", file)


def _sheet(file: SourceFile, ledger: Ledger) -> Iterator[tuple[int, str, dict[str, Any]]]:
    number = 0
    for frame in frames(file, (), ledger, _ROWS):
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            number += 1
            yield number, f"row {number}", {str(name): value for name, value in row.items()}


def _pickle(file: SourceFile) -> Iterator[tuple[int, str, dict[str, Any]]]:
    with file.opened() as stream:
        frame = unpickled(file.named, stream)
    columns = [str(name) for name in frame.columns]
    for number, values in enumerate(frame.itertuples(index=False, name=None), 1):
        yield number, f"row {number}", dict(zip(columns, values, strict=True))
