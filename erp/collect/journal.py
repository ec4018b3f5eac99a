"""What came of a unit before the unit is written: kept line by line, so that a killed process loses no paid answer."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import IO, Any

from erp.collect.store import Store
from erp.files import named


def forget(store: Store, folder: str) -> None:
    """Remove the journals of units that are all written: one is left where a process was killed right after that."""
    path = store.on_disk(folder)
    if path is not None and path.is_dir():
        shutil.rmtree(path)


def kept(store: Store, folder: str) -> dict[str, int]:
    """Name of each journal in a folder -> its lines: answers of units that are not written yet."""
    path = store.on_disk(folder)
    files = sorted(path.glob("*.jsonl")) if path is not None else []
    return {file.name: file.read_bytes().count(b"\n") for file in files}


class Journal:
    """Lines of JSON beside a collection on a disk. An object store takes no lines: there ``kept`` is False.

    A line is handed to the system before the next answer is looked at. It outlives the process, however that ends; what
    outlives a power cut is the parts.

    Args:
        store: of the collection.
        name: of the file.
    """

    def __init__(self, store: Store, name: str) -> None:
        self._path = store.on_disk(name)
        self._stream: IO[str] | None = None

    @property
    def kept(self) -> bool:
        """Whether lines are written at all."""
        return self._path is not None

    def read(self) -> list[Any]:
        """The lines of a process that ended before its unit was written; one that was cut off is left out."""
        if self._path is None or not self._path.exists():
            return []
        found = []
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    def add(self, line: Any) -> None:
        """Write a line."""
        if self._path is None:
            return
        with named(self._path):
            if self._stream is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                whole = not self._path.exists() or self._path.read_bytes()[-1:] in (b"", b"\n")
                self._stream = self._path.open("a", encoding="utf-8")
                if not whole:
                    self._stream.write("\n")
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Write no more lines for now."""
        if self._path is not None and self._stream is not None:
            stream, self._stream = self._stream, None
            with named(self._path):
                stream.close()

    def remove(self) -> None:
        """The unit is written: its lines stand there too."""
        self.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
