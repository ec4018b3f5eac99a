"""A folder of embeddings on disk, each with a checksum: what does not fit it is never believed.

``vectors.f32`` has a row of d numbers for each prompt, ``index.bin`` an entry for each row, written after it: the
prompt's hash, how many of its tokens no vector saw, and a checksum of all three. ``about.json`` says what d is. A row
fits only under its own entry: zeros, flipped bits, lost ends and rows that changed places are all found.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.files import read_json, replacing, write_json

KEY_BYTES = 16  # half a sha256: no two of 10^12 prompts collide
_NUMBER_BYTES = 4
_CHECKED = KEY_BYTES + _NUMBER_BYTES  # of an entry: key and unread tokens; the checksum follows
ENTRY_BYTES = _CHECKED + _NUMBER_BYTES
_COPIED = 4096  # rows copied at once
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


@dataclass(frozen=True, eq=False)
class Store:
    """What lies in a folder, as it lies there: whether a row fits is asked for each.

    Attributes:
        entries: of the rows, one after the other.
        vectors: (rows, d), memory-mapped.
        window: tokens that the backbone reads at most; None where it reads everything.
        begun: how many there are of either: more, where something was lost.
    """

    entries: bytes
    vectors: NDArray[np.float32]
    window: int | None
    begun: int

    @property
    def rows(self) -> int:
        """As many as there are whole ones of both."""
        return len(self.vectors)

    def index(self) -> dict[bytes, int]:
        """Row of each prompt by its key."""
        return {
            self.entries[at : at + KEY_BYTES]: row
            for row, at in enumerate(range(0, self.rows * ENTRY_BYTES, ENTRY_BYTES))
        }

    def fitting(self, rows: Iterable[int]) -> Iterator[bool]:
        """Whether each of these rows is what was written."""
        if not self.rows:
            return
        data, width = self.vectors.data.cast("B"), 4 * self.vectors.shape[1]
        for row in rows:
            entry = self.entries[row * ENTRY_BYTES : (row + 1) * ENTRY_BYTES]
            yield _check(data[row * width : (row + 1) * width], entry[:_CHECKED]) == entry[_CHECKED:]

    def unread(self) -> NDArray[np.int64]:
        """Tokens of each row's prompt that no vector saw, (rows,)."""
        entries = np.frombuffer(self.entries, dtype=np.uint8)[: self.rows * ENTRY_BYTES].reshape(self.rows, ENTRY_BYTES)
        return entries[:, KEY_BYTES:_CHECKED].copy().view("<u4").ravel().astype(np.int64)


def opened(folder: Path) -> Store | None:
    """The store in a folder; None where there is none, or none that can be made out. Raises OSError."""
    try:
        about = read_json(folder / "about.json")
        dimension, window = about["dimension"], about["window"]
        if about.pop("check") != _about_check(about) or not dimension > 0:
            return None
        entries, size = (folder / "index.bin").read_bytes(), (folder / "vectors.f32").stat().st_size
        rows = min(len(entries) // ENTRY_BYTES, size // (4 * dimension))
        vectors: NDArray[np.float32] = (
            np.memmap(folder / "vectors.f32", dtype=np.float32, mode="r", shape=(rows, dimension))
            if rows
            else np.zeros((0, dimension), dtype=np.float32)
        )
    # ValueError: no JSON, or a file that got shorter meanwhile.
    except (*_NOT_THERE, ValueError, KeyError, TypeError, RecursionError):
        return None
    return Store(entries, vectors, window, max(-(-len(entries) // ENTRY_BYTES), -(-size // (4 * dimension))))


def mended(folder: Path) -> tuple[Store | None, int, int]:
    """The store without what does not fit, how many rows were dropped, and of how many. Only with the lock held.

    Files are replaced, not shortened: another process may have them mapped.
    """
    store = opened(folder)
    if store is None:
        file = folder / "index.bin"
        lost = -(-file.stat().st_size // ENTRY_BYTES) if file.is_file() else 0
        clear(folder)
        return None, lost, lost
    fitting = np.fromiter(store.fitting(range(store.rows)), dtype=bool, count=store.rows)
    whole = store.rows * ENTRY_BYTES == len(store.entries) and store.begun == store.rows
    if fitting.all() and whole and (folder / "vectors.f32").stat().st_size == store.vectors.nbytes:
        return store, 0, store.begun
    kept = np.flatnonzero(fitting)
    with replacing(folder / "vectors.f32") as temporary, temporary.open("wb") as stream:
        for start in range(0, len(kept), _COPIED):
            stream.write(store.vectors[kept[start : start + _COPIED]].tobytes())
    with replacing(folder / "index.bin") as temporary, temporary.open("wb") as stream:
        stream.writelines(store.entries[row * ENTRY_BYTES : (row + 1) * ENTRY_BYTES] for row in kept)
    return opened(folder), store.begun - len(kept), store.begun


def begin(folder: Path, fingerprint: str, dimension: int, window: int | None) -> None:
    """An empty store, whatever was there."""
    clear(folder)
    about = {"backbone": fingerprint, "dimension": dimension, "window": window}
    for name in ("vectors.f32", "index.bin"):
        (folder / name).touch()
    write_json(folder / "about.json", {**about, "check": _about_check(about)})


def append(folder: Path, keys: Sequence[bytes], vectors: NDArray[np.float32], unread: NDArray[np.int64]) -> None:
    """Add rows to a store that was mended or begun. A process killed in between leaves rows without entries."""
    entries = []
    for key, vector, count in zip(keys, vectors, unread, strict=True):
        checked = key + int(count).to_bytes(_NUMBER_BYTES, "little")
        entries.append(checked + _check(vector.tobytes(), checked))
    for name, data in (("vectors.f32", vectors.tobytes()), ("index.bin", b"".join(entries))):
        with (folder / name).open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def clear(folder: Path) -> None:
    """Remove what a store consists of, whatever has taken the place of its files."""
    for name in ("about.json", "index.bin", "vectors.f32"):
        remove(folder / name)


def remove(path: Path) -> None:
    """Remove what is there, a file or a folder in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _check(vector: bytes | memoryview, checked: bytes) -> bytes:
    return zlib.crc32(checked, zlib.crc32(vector)).to_bytes(_NUMBER_BYTES, "little")


def _about_check(about: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(about, sort_keys=True).encode())
