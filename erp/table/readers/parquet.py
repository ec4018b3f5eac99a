"""Parquet: columns with types, of which only those that are needed are read, some row groups ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError
from erp.table.readers.base import Choose, File, Reader, Row, Selected
from erp.table.shape import require_single, selection

_AHEAD = 2  # row groups that are read while another is worked on

pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # its own holds on to hundreds of megabytes that were read


class Parquet(Reader):
    """Values of the columns' own types."""

    name = "parquet"
    suffixes = (".parquet", ".pq")

    def rows(self, named: str, stream: BinaryIO, where: str, choose: Choose | None) -> Iterator[Row]:
        """A row of the file, of the columns that are chosen."""
        del named
        file = pyarrow.parquet.ParquetFile(stream)
        columns = None if choose is None else choose(file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                yield f"{where}row {number}", row
                number += 1

    def select(self, named: str, files: Sequence[File], columns: Mapping[str, str]) -> Selected:
        """Columns by row groups; files may have columns of different types, if one holds the values of all."""
        footers = [Footer.of(file.opened) for file in files]
        types: dict[str, pyarrow.DataType] = {}
        for footer, file in zip(footers, files, strict=True):
            require_single(named, footer.schema.names, columns)
            types |= {field.name: field.type for field in footer.schema} | dict.fromkeys(file.columns, pyarrow.string())
        numbers = [n for n, t in types.items() if pyarrow.types.is_integer(t) or pyarrow.types.is_floating(t)]
        chosen = selection(named, list(types), columns, numbers)
        wanted = list(dict.fromkeys(chosen.values()))
        _require_one_type(named, footers, files, wanted)
        return Selected(chosen, _numbered(footers, files, wanted))


@dataclass(frozen=True)
class Footer:
    """What a file says of itself."""

    opened: Callable[[], AbstractContextManager[BinaryIO]]
    content: Any
    schema: Any

    @classmethod
    def of(cls, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> Footer:
        """Of the file that is opened."""
        with opened() as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            return cls(opened, file.metadata, file.schema_arrow)

    def group(self, number: int, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of a row group; of texts each is there once."""
        own = [name for name in columns if name in self.schema.names]
        texts = [name for name in own if _is_text(self.schema.field(name).type)]
        with self.opened() as stream:
            file = pyarrow.parquet.ParquetFile(stream, metadata=self.content, read_dictionary=texts)
            table = file.read_row_group(number, columns=own)
        coded = [name for name in own if pyarrow.types.is_dictionary(table.schema.field(name).type)]
        frame: pd.DataFrame = table.drop_columns(coded).to_pandas(ignore_metadata=True, integer_object_nulls=True)
        return frame.assign(**{name: _categorical(table[name]) for name in coded}) if coded else frame


def row_groups(footers: Sequence[Footer], columns: Sequence[str]) -> Iterator[tuple[int, pd.DataFrame]]:
    """The row groups of files in their order, with the number of the file; the next ones are read meanwhile.

    Args:
        footers: of the files.
        columns: those that are read, where a file has them.
    """
    tasks = iter([(f, g) for f, footer in enumerate(footers) for g in range(footer.content.num_row_groups)])
    with ThreadPoolExecutor(_AHEAD) as pool:
        running: deque[tuple[int, Future[pd.DataFrame]]] = deque()
        try:
            while True:
                while len(running) < _AHEAD and (task := next(tasks, None)) is not None:
                    running.append((task[0], pool.submit(footers[task[0]].group, task[1], columns)))
                if not running:
                    return
                file, done = running.popleft()
                yield file, done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            pyarrow.default_memory_pool().release_unused()  # else what reading needed stays for the whole run


def _numbered(footers: Sequence[Footer], files: Sequence[File], wanted: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Row groups with what the names of their folders say; the index goes on over all of them."""
    start = 0
    for file, frame in row_groups(footers, wanted):
        for name, value in files[file].columns.items():
            if name in wanted and name not in frame:
                frame[name] = pd.Categorical([value]).repeat(len(frame))
        yield frame.set_index(pd.RangeIndex(start, start + len(frame)))
        start += len(frame)


def _categorical(column: Any) -> pd.Categorical[Any]:
    """Texts by code; pyarrow's own way to pandas copies them twice."""
    array = column.unify_dictionaries().combine_chunks()
    array = array.chunk(0) if isinstance(array, pyarrow.ChunkedArray) else array
    texts = np.array([*array.dictionary.to_pylist(), None], dtype=object)[:-1]  # one text is not an array of letters
    codes: np.ndarray[Any, np.dtype[np.int32]] = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(codes, pd.Index(texts, dtype=object))


def _is_text(kind: Any) -> bool:
    return bool(pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def _require_one_type(named: str, footers: Sequence[Footer], files: Sequence[File], wanted: Sequence[str]) -> None:
    """Refuse files whose columns of one name are of kinds that do not go together. Raises ErpError."""
    schemas = []
    for footer, file in zip(footers, files, strict=True):
        fields = [field.remove_metadata() for field in footer.schema if field.name in wanted]
        said = [pyarrow.field(name, pyarrow.string()) for name in file.columns if name not in footer.schema.names]
        schemas.append(pyarrow.schema([*fields, *said]))
    try:
        pyarrow.unify_schemas(schemas, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise ErpError(f"{named}: its files have columns of different types ({error}); convert them") from error
