"""A collection's folder, on a disk or an object store: every file appears whole or not at all."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
import pyarrow.parquet
from filelock import Timeout

from erp.errors import ErpError
from erp.files import jsonable, locked, named, replacing


class Store:
    """Files under one address: a path, or an object store that fsspec knows (``s3://``, ``gs://``, ``memory://``).

    Args:
        url: of the folder. Object stores put a file in one step; on a disk it is renamed into place. (Servers that do
            neither, such as ``sftp://``, may show half a file.)
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        try:
            self._fs, self._root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ErpError(f"out = {url}: cannot be opened ({error}); install what it names or give a folder") from None
        self._local = self._fs.protocol in ("file", ("file", "local"))

    def path(self, name: str) -> str:
        """The full address of a file."""
        return f"{self._root}/{name}"

    def on_disk(self, name: str) -> Path | None:
        """Where the file lies on a disk; None in an object store."""
        return Path(self.path(name)) if self._local else None

    def exists(self, name: str) -> bool:
        """Whether the file is there, whole."""
        return bool(self._fs.exists(self.path(name)))

    def changed(self, name: str) -> float:
        """When the file was written last, in seconds."""
        return float(self._fs.modified(self.path(name)).timestamp())

    def names(self, folder: str) -> set[str]:
        """Names of a folder's files; none where there is no such folder."""
        self._fs.invalidate_cache()  # another worker may have written since
        if not self._fs.isdir(self.path(folder)):
            return set()
        found = {str(path).rsplit("/", 1)[-1] for path in self._fs.ls(self.path(folder), detail=False)}
        return {name for name in found if not name.startswith(".")}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder."""
        if not self._fs.isdir(self.path(folder)):
            return []
        entries = self._fs.ls(self.path(folder), detail=True)
        return sorted(str(e["name"]).rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory")

    def read_frame(self, name: str, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pd.DataFrame:
        """A parquet file: its columns, all or some, and of the optional ones those that it has."""
        with self._fs.open(self.path(name), "rb") as stream:
            if columns is not None and optional:
                there = pyarrow.parquet.read_schema(stream).names
                columns = [*columns, *(column for column in optional if column in there)]
                stream.seek(0)
            frame: pd.DataFrame = pd.read_parquet(stream, columns=None if columns is None else list(columns))
        return frame

    def read_rows(self, name: str, rows: slice, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Some rows of a parquet file, as ``read_frame`` gives them; read are only the groups that hold them."""
        with self._fs.open(self.path(name), "rb") as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            starts = [0, *accumulate(sizes)]
            groups = [i for i, start in enumerate(starts[:-1]) if start < rows.stop and starts[i + 1] > rows.start]
            wanted = [*columns, *(column for column in optional if column in file.schema_arrow.names)]
            table = file.read_row_groups(groups, wanted)
        frame: pd.DataFrame = table.slice(rows.start - starts[groups[0]], rows.stop - rows.start).to_pandas()
        return frame

    def count_rows(self, name: str) -> int:
        """How many rows a parquet file has; none is read."""
        with self._fs.open(self.path(name), "rb") as stream:
            return int(pyarrow.parquet.read_metadata(stream).num_rows)

    def largest_group(self, name: str) -> int:
        """How many rows of a parquet file are read at least, wherever one is wanted."""
        with self._fs.open(self.path(name), "rb") as stream:
            about = pyarrow.parquet.read_metadata(stream)
        return max((about.row_group(i).num_rows for i in range(about.num_row_groups)), default=0)

    def write_frame(self, name: str, frame: pd.DataFrame, group: int | None = None) -> None:
        """Write a parquet file in one step; ``group``: rows that are read together, where not all are."""
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, row_group_size=group)
        self._write(name, buffer.getvalue())

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        value: dict[str, Any] = json.loads(self._fs.cat_file(self.path(name)))
        return value

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON object in one step."""
        self._write(name, (json.dumps(jsonable(value), indent=2, ensure_ascii=False) + "\n").encode())

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        if self.exists(name):
            self._fs.rm_file(self.path(name))

    def _write(self, name: str, data: bytes) -> None:
        if not self._local:
            self._fs.pipe_file(self.path(name), data)
            return
        path = Path(self.path(name))
        with named(path), replacing(path) as temporary, temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())  # on the disk before it has its name

    @contextmanager
    def alone(self, part: str = "") -> Iterator[None]:
        """Hold the samples, or a reward model's scores, for one collection, where the folder lies on a disk.

        Raises:
            ErpError: another one has it.
        """
        if not self._local:
            yield
            return
        try:
            with locked(Path(self.path(f".collect{quote(part, safe='')}")), timeout_s=0):
                yield
        except Timeout:
            raise ErpError(
                f"out = {self.url}: another collection is writing there{f' ({part})' if part else ''}; wait for it, or "
                f"give another name"
            ) from None
