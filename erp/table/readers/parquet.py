"""Parquet: columns with types, of which only those that are needed are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

import pyarrow
import pyarrow.parquet

from erp.errors import ErpError
from erp.table.readers.base import Choose, File, Reader, Row, Selected
from erp.table.shape import require_single, selection


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

    def frame(self, named: str, files: Sequence[File], columns: Mapping[str, str]) -> Selected:
        """Whole columns; of files with columns of different types the more general one."""
        schemas: dict[str, pyarrow.DataType] = {}
        for file in files:
            with file.opened() as stream:
                schema = pyarrow.parquet.read_schema(stream)
                require_single(named, schema.names, columns)
                schemas |= {field.name: field.type for field in schema}
            schemas |= dict.fromkeys(file.columns, pyarrow.string())
        numbers = [n for n, t in schemas.items() if pyarrow.types.is_integer(t) or pyarrow.types.is_floating(t)]
        chosen = selection(named, list(schemas), columns, numbers)
        tables = []
        for file in files:
            with file.opened() as stream:
                content = pyarrow.parquet.ParquetFile(stream)
                own = [name for name in dict.fromkeys(chosen.values()) if name in content.schema_arrow.names]
                table = content.read(columns=own)
            for name, value in file.columns.items():
                if name in chosen.values() and name not in own:
                    table = table.append_column(name, pyarrow.array([value] * len(table), pyarrow.string()))
            tables.append(table)
        try:
            whole = pyarrow.concat_tables(tables, promote_options="permissive")
        except pyarrow.ArrowException as error:
            raise ErpError(f"{named}: its files have columns of different types ({error}); convert them") from error
        return Selected(whole.to_pandas(ignore_metadata=True, integer_object_nulls=True), chosen)
