"""What a format of files is to those who read rows: a table, a prompt set, `erp route`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Protocol

import pandas as pd

from erp.errors import ErpError
from erp.files import whole_text
from erp.table.schema import MEASURE_COLUMNS, REQUIRED_COLUMNS
from erp.table.shape import selection

Row = tuple[str, Mapping[str, Any]]  # what an error calls the row ("line 3"), and its values by the source's names
Choose = Callable[[Sequence[str]], list[str]]  # the columns there are -> those to read; may raise ErpError

SEEN = 200  # rows that are looked at for what a column holds
_NUMBERS = ("reward", "sample", "n_samples", *MEASURE_COLUMNS)


class File(Protocol):
    """A file, wherever it lies: its name, what the names of its folders say, and its bytes."""

    @property
    def last(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> Mapping[str, str | None]: ...  # noqa: D102
    def opened(self) -> AbstractContextManager[BinaryIO]: ...  # noqa: D102


@dataclass(frozen=True)
class Selected:
    """Columns of a table, to be read once.

    Attributes:
        chosen: our name -> the files'.
        batches: rows under the files' own names, some at a time; the index is the number of the row.
        notes: what a reader must know.
    """

    chosen: Mapping[str, str]
    batches: Iterable[pd.DataFrame]
    notes: tuple[str, ...] = ()


class Reader:
    """Base of all formats. `rows` is all that a new one needs; values are left as they are.

    Attributes:
        name: what the format is called.
        suffixes: of its files' names, the usual one first.
        holds_tables: whether a reward table may be of it.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    holds_tables: ClassVar[bool] = True

    def rows(self, named: str, stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
        """The rows of one file, one by one.

        Args:
            named: how errors call the source: ``prompts.path = p.jsonl``.
            stream: the file's bytes.
            where: what stands before a row's place in an error; empty for one file alone.
            choose: the columns that are read, where that saves time; None for all.

        Raises:
            ErpError: the file or a row cannot be read; those before it have come.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rows")

    def every_row(self, named: str, files: Sequence[File], choose: Choose | None = None) -> Iterator[Row]:
        """The rows of files of this format, one by one, as `rows`."""
        for file in files:
            where = "" if len(files) == 1 else f"{file.last}, "
            try:
                with file.opened() as stream:
                    for place, row in self.rows(named, stream, where, choose):
                        yield place, {**row, **file.columns} if file.columns else row
            except ErpError:
                raise
            except Exception as error:  # every cloud's client and every packing has its own kinds
                raise unreadable(named, error) from error

    def select(self, named: str, files: Sequence[File], columns: Mapping[str, str]) -> Selected:
        """The columns of a long table that are read of files of this format.

        Args:
            named: how errors call the table.
            files: one or more.
            columns: our name -> theirs, as the user said.

        Raises:
            ErpError: a file cannot be read, or lacks columns; later ones while the batches are read.
        """
        records = [record for _, record in self.every_row(named, files)]
        if not records:
            return nothing()
        present = list(dict.fromkeys(key for record in records for key in record))
        numbers = list(dict.fromkeys(k for r in records[:SEEN] for k, v in r.items() if type(v) in (int, float)))
        chosen = selection(named, present, columns, numbers)
        # numbers in their own type at once; ids stay as they are, as null among them would make floats of them
        plain = {theirs for ours, theirs in chosen.items() if ours in _NUMBERS}
        found = {
            theirs: pd.Series([_whole(r.get(theirs)) for r in records], dtype=None if theirs in plain else "object")
            for theirs in dict.fromkeys(chosen.values())
        }
        return Selected(chosen, [pd.DataFrame(found)])


def nothing() -> Selected:
    """Of files without a row: what is said of an empty table says it of them."""
    return Selected({name: name for name in REQUIRED_COLUMNS}, [])


def decoded(named: str, raw: bytes, place: str) -> str:
    """A line as text, without its end and without a byte order mark. Raises ErpError: it is not UTF-8."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ErpError(f"{named}: {place} is not UTF-8 ({error.reason}); give text in that encoding") from None


def unreadable(named: str, error: Exception, advice: str = "check the path, the file and your access") -> ErpError:
    """Whatever a reader raised, as one line."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ErpError(f"{named}: cannot be read ({reason}); {advice}")


def _whole(value: object) -> object:
    return whole_text(value) if isinstance(value, str) else value
