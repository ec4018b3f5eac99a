"""Rows put aside by prompt: those of one prompt lie together, and only so many of them in memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections import deque
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from erp.errors import ErpError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PROMPTS = 4096
"""Prompts of a partition, by their number."""
BLOCK_ROWS = 1 << 21
"""Rows that are worked on at once: 16 MiB of each number. A table of fewer is one block."""
KEPT_BYTES = 1 << 28
"""Bytes of rows in memory before they go to the disk, to the folder for temporary files (TMPDIR)."""


@contextmanager
def on_disk() -> Iterator[None]:
    """What is written to the folder for temporary files meanwhile. Raises ErpError: it cannot be."""
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or os.environ.get("TMPDIR", "")
        raise ErpError(
            f"TMPDIR = {folder}: rows of a table that memory does not hold cannot be written there "
            f"({error.strerror}); give a folder that is writable and has room for them"
        ) from error


class Partitions:
    """Rows of numbers in the order in which they came, to be read again by blocks of prompts.

    Args:
        fields: name of each number and its type; ``prompt`` is one of them.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        self._type = np.dtype(list(fields.items()))
        self._held: dict[int, list[NDArray[Any]]] = {}
        self._rows: dict[int, int] = {}
        self._bytes = 0
        self._folder: Path | None = None

    def __len__(self) -> int:
        return sum(self._rows.values())

    def add(self, columns: dict[str, NDArray[Any]]) -> None:
        """Put rows aside; (n,) each, the fields of all rows."""
        rows = np.empty(len(columns["prompt"]), dtype=self._type)
        for name in self._type.names or ():
            rows[name] = columns[name]
        part = rows["prompt"] // PROMPTS
        if len(part) and (part[1:] < part[:-1]).any():
            order = np.argsort(part, kind="stable")
            rows, part = rows[order], part[order]
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(part)) + 1, [len(part)]])
        for start, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if start < end:
                number = int(part[start])
                self._held.setdefault(number, []).append(rows[start:end])
                self._rows[number] = self._rows.get(number, 0) + end - start
        self._bytes += rows.nbytes
        if self._bytes > KEPT_BYTES:
            self._spill()

    def blocks(self, most: int = BLOCK_ROWS) -> Iterator[tuple[range, dict[str, NDArray[Any]]]]:
        """Runs of prompt numbers, ascending, and the columns of their rows, ``most`` if they can; each is read once."""
        numbers = deque(sorted(self._rows))
        while numbers:
            first = last = numbers.popleft()
            size = self._rows[first]
            while numbers and size + self._rows[numbers[0]] <= most:
                last = numbers.popleft()
                size += self._rows[last]
            prompts = range(first * PROMPTS, (last + 1) * PROMPTS)
            yield prompts, self.take(prompts)

    def take(self, prompts: range) -> dict[str, NDArray[Any]]:
        """The columns of the rows of a run of whole partitions, which are then gone."""
        numbers = range(prompts.start // PROMPTS, -(-prompts.stop // PROMPTS))
        rows = np.concatenate([np.empty(0, dtype=self._type), *(part for n in numbers for part in self._read(n))])
        return {name: np.ascontiguousarray(rows[name]) for name in self._type.names or ()}

    def _spill(self) -> None:
        with on_disk():
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="erp-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            for number, parts in self._held.items():
                with self._file(number).open("ab") as file:
                    for part in parts:
                        file.write(part.tobytes())
        self._held, self._bytes = {}, 0

    def _file(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / str(number)

    def _read(self, number: int) -> Iterator[NDArray[Any]]:
        if self._folder is not None and self._file(number).exists():
            yield np.fromfile(self._file(number), dtype=self._type)
            self._file(number).unlink()
        yield from self._held.pop(number, [])
