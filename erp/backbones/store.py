"""A folder of embeddings on disk, each with a checksum: what does not fit it is never believed.

``vectors.f32`` has a row of d numbers for each prompt (``vectors.f16`` where they are kept in half the room),
``index.bin`` an entry for each row, written after it: the prompt's hash, how many of its tokens no vector saw, and a
checksum of all three. ``about.json`` says what d is. A row fits only under its own entry: zeros, flipped bits, lost
ends and rows that changed places are all found.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import weakref
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from erp.files import read_json, replacing, write_json

Kept = Literal["float32", "float16"]
Rows = NDArray[np.int64]
Keys = NDArray[np.bytes_]

KEY_BYTES = 16  # half a sha256: no two of 10^12 prompts collide
KEY = np.dtype(f"S{KEY_BYTES}")
_ENTRY = np.dtype([("key", KEY), ("unread", "<u4"), ("check", "<u4")])
ENTRY_BYTES = _ENTRY.itemsize
_CHECKED = ENTRY_BYTES - 4  # of an entry: key and unread tokens; the checksum follows
_BLOCK = 4096  # rows read at once
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class Vectors:
    """Rows of a file, read when they are asked for, as float32; none stays in memory, mapped or not.

    The file is held open: another process may replace it.
    """

    def __init__(self, file: Path, shape: tuple[int, ...], kept: Kept) -> None:
        with file.open("rb") as stream:
            self._open = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self._open)
        self.shape = shape
        self.kept = np.dtype(kept)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> NDArray[np.float32]:
        return self.as_kept(rows).astype(np.float32, copy=False)

    def as_kept(self, rows: Rows) -> NDArray[Any]:
        """The rows in the numbers of the file, (n, d). Raises OSError where it ends before."""
        found = np.empty((len(rows), self.shape[1]), dtype=self.kept)
        begins = np.diff(rows, prepend=-2) != 1  # neighbours are read together
        begins[::_BLOCK] = True
        starts = np.flatnonzero(begins).tolist()
        at = (np.asarray(rows, dtype=np.int64) * found.itemsize * found.shape[1]).tolist()
        for start, end in zip(starts, [*starts[1:], len(found)], strict=False):
            part = found[start:end]
            if os.preadv(self._open, [part.data], at[start]) != part.nbytes:
                raise OSError(errno.EIO, "shorter than it was")
        return found


@dataclass(frozen=True, eq=False)
class Store:
    """What lies in a folder, as it lies there: whether a row fits is asked for each.

    Attributes:
        entries: of the rows, (rows,) with the fields key, unread and check.
        vectors: (rows, d), on disk.
        window: tokens that the backbone reads at most; None where it reads everything.
        begun: how many there are of either: more, where something was lost.
    """

    entries: NDArray[np.void]
    vectors: Vectors
    window: int | None
    begun: int

    def find(self, keys: Keys) -> Rows:
        """Row of each prompt by its key, (n,); -1 where there is none."""
        if not len(self.entries):
            return np.full(len(keys), -1, dtype=np.int64)
        known = np.ascontiguousarray(self.entries["key"])
        order = np.argsort(known, kind="stable")
        row = order[np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)]
        return np.where(known[row] == keys, row, -1)

    def fitting(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each of these rows is what was written, (n,)."""
        found = np.zeros(len(rows), dtype=bool)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            found[start : start + _BLOCK] = self.entries["check"][some] == _checks(
                self.vectors.as_kept(some), self.entries[some]
            )
        return found

    def unread(self) -> NDArray[np.int64]:
        """Tokens of each row's prompt that no vector saw, (rows,)."""
        return self.entries["unread"].astype(np.int64)


def opened(folder: Path) -> Store | None:
    """The store in a folder; None where there is none, or none that can be made out. Raises OSError."""
    try:
        about = read_json(folder / "about.json")
        dimension, window = about["dimension"], about["window"]
        if about.pop("check") != _about_check(about) or not dimension > 0:
            return None
        kept: Kept = about.get("kept", "float32")
        file, content = _file(folder, kept), (folder / "index.bin").read_bytes()
        size, width = file.stat().st_size, np.dtype(kept).itemsize * dimension
        rows = min(len(content) // ENTRY_BYTES, size // width)
        vectors = Vectors(file, (rows, dimension), kept)
    except (*_NOT_THERE, ValueError, KeyError, TypeError, RecursionError):  # ValueError: no JSON
        return None
    entries = np.frombuffer(content, dtype=_ENTRY, count=rows)
    return Store(entries, vectors, window, max(-(-len(content) // ENTRY_BYTES), -(-size // width)))


def mended(folder: Path) -> tuple[Store | None, int, int]:
    """The store without what does not fit, how many rows were dropped, and of how many. Only with the lock held.

    Files are replaced, not shortened: another process may have them open.
    """
    store = opened(folder)
    if store is None:
        file = folder / "index.bin"
        lost = -(-file.stat().st_size // ENTRY_BYTES) if file.is_file() else 0
        clear(folder)
        return None, lost, lost
    vectors, rows = store.vectors, len(store.entries)
    file = _file(folder, vectors.kept.name)
    fitting = store.fitting(np.arange(rows))
    sizes = (folder / "index.bin").stat().st_size, file.stat().st_size
    if fitting.all() and sizes == (rows * ENTRY_BYTES, rows * vectors.kept.itemsize * vectors.shape[1]):
        return store, 0, store.begun
    kept = np.flatnonzero(fitting)
    with replacing(file) as temporary, temporary.open("wb") as stream:
        for start in range(0, len(kept), _BLOCK):
            stream.write(vectors.as_kept(kept[start : start + _BLOCK]).tobytes())
    with replacing(folder / "index.bin") as temporary:
        temporary.write_bytes(store.entries[kept].tobytes())
    return opened(folder), store.begun - len(kept), store.begun


def begin(folder: Path, fingerprint: str, dimension: int, window: int | None, kept: Kept = "float32") -> None:
    """An empty store, whatever was there."""
    clear(folder)
    about = {"backbone": fingerprint, "dimension": dimension, "window": window}
    about |= {} if kept == "float32" else {"kept": kept}
    for file in (_file(folder, kept), folder / "index.bin"):
        file.touch()
    write_json(folder / "about.json", {**about, "check": _about_check(about)})


def append(folder: Path, keys: Keys, vectors: NDArray[Any], unread: NDArray[np.int64]) -> None:
    """Add rows, in the numbers that are kept, to a store that was mended or begun.

    A process killed in between leaves rows without entries. The system writes to the disk when it likes: what a power
    cut loses does not fit, and is embedded again.
    """
    entries = np.zeros(len(keys), dtype=_ENTRY)
    entries["key"], entries["unread"] = keys, unread
    entries["check"] = _checks(vectors, entries)
    for file, data in ((_file(folder, vectors.dtype.name), vectors), (folder / "index.bin", entries)):
        with file.open("ab") as stream:
            stream.write(np.ascontiguousarray(data).view(np.uint8).data)


def clear(folder: Path) -> None:
    """Remove what a store consists of, whatever has taken the place of its files."""
    for name in ("about.json", "index.bin", "vectors.f32", "vectors.f16"):
        remove(folder / name)


def remove(path: Path) -> None:
    """Remove what is there, a file or a folder in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _file(folder: Path, kept: str) -> Path:
    return folder / {"float32": "vectors.f32", "float16": "vectors.f16"}[kept]


def _checks(vectors: NDArray[Any], entries: NDArray[np.void]) -> NDArray[np.uint32]:
    """Checksum of each row with the first fields of its entry, (n,)."""
    numbers, fields = np.ascontiguousarray(vectors).view(np.uint8), entries.tobytes()
    found = [
        zlib.crc32(fields[at : at + _CHECKED], zlib.crc32(row))
        for row, at in zip(numbers, range(0, len(fields), ENTRY_BYTES), strict=True)
    ]
    return np.array(found, dtype=np.uint32)


def _about_check(about: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())
