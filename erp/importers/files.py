"""The files that a path means: a file, a folder, a pattern, an archive; here or wherever fsspec reaches."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from erp.errors import ErpError, shorten
from erp.table.readers.base import decoded, unreadable
from erp.table.shards import PACKED, hidden, names_of, reading_from, unpacked

_CHUNK = 1 << 20
# what systems, archives, packings and parsers raise of a damaged file
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, ImportError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_WHOLE = "check that it is whole, and of the kind its name says"


@dataclass(frozen=True)
class SourceFile:
    """One file, perhaps in an archive.

    Attributes:
        name: below the folder that the path means, with ``/``; of a file in an archive the archive's name comes first.
        path: what the user gave, for errors.
        system: the fsspec file system it lies on.
        address: its name there, or its archive's.
        inner: its name in the archive; None for a file of its own.
        size: in bytes, as it lies there.
        read: told of bytes as they are read.
    """

    name: str
    path: str
    system: Any
    address: str
    inner: str | None = None
    size: int = 0
    read: Callable[[int], object] = field(default=lambda _: None, compare=False)

    @property
    def last(self) -> str:
        """Its name without folders and without the suffix of a packed file."""
        return _last(self.name)

    @property
    def folder(self) -> str:
        """The folders before its name, with ``/``; empty where there are none."""
        return self.name.rpartition("/")[0]

    @property
    def columns(self) -> dict[str, str | None]:
        """What the names of its folders say of its rows: nothing; a source reads folders itself."""
        return {}

    @property
    def named(self) -> str:
        """How errors call it: ``path = logs: a/b.jsonl``."""
        return f"path = {self.path}" if self.path.endswith(self.name) else f"path = {self.path}: {self.name}"

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Its bytes, unpacked; those of a file that is not packed can be sought.

        Raises:
            ErpError: what the system, the archive or the packing says, in a line; also while it is read.
        """
        try:
            with reading_from(self.system, self.address) as stream:
                if self.inner is None:
                    with unpacked(cast(BinaryIO, _Counted(stream, self.read)), self.address) as plain:
                        yield plain
                    return
                with (
                    zipfile.ZipFile(stream) as archive,
                    archive.open(self.inner) as member,
                    unpacked(cast(BinaryIO, _Counted(member, self.read)), self.inner) as plain,
                ):
                    yield plain
        except ErpError:
            raise
        except _UNREADABLE as error:
            raise unreadable(self.named, error, _WHOLE) from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """Lines that are not blank, with their numbers from 1. Raises ErpError: they cannot be read."""
        with self.opened() as stream:
            for number, raw in enumerate(stream, 1):
                line = decoded(self.named, raw, f"line {number}")
                if line.strip():
                    yield number, line

    def json(self) -> Any:
        """The whole of it as JSON; NaN and Infinity as Python writes them. Raises ErpError: it is none."""
        with self.opened() as stream:
            return json.load(stream)

    def sha256(self) -> str:
        """Of its bytes as they lie there; of one in an archive, of what that holds. Raises ErpError: it is damaged."""
        digest = hashlib.sha256()
        try:
            with reading_from(self.system, self.address) as stream:
                if self.inner is None:
                    _feed(digest, stream)
                else:
                    with zipfile.ZipFile(stream) as archive, archive.open(self.inner) as member:
                        _feed(digest, cast(BinaryIO, member))
        except _UNREADABLE as error:
            raise unreadable(self.named, error, _WHOLE) from error
        return digest.hexdigest()


class _Counted:
    """A stream that tells what was read of it."""

    def __init__(self, stream: Any, tell: Callable[[int], object]) -> None:
        self._stream, self._tell = stream, tell

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self._tell(len(data))
        return data

    def readline(self, size: int = -1) -> bytes:
        data: bytes = self._stream.readline(size)
        self._tell(len(data))
        return data

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def find(
    path: str, patterns: Sequence[str], read: Callable[[int], object] = lambda _: None, but: Path | None = None
) -> list[SourceFile]:
    """The files of a path, sorted by name.

    A file that is named itself is taken whatever it is called. Of a folder, a pattern with ``*`` and a ``.zip``, those
    are taken whose names meet a pattern of the source; hidden ones are not.

    Args:
        path: here, or with a protocol.
        patterns: of names.
        read: told of bytes as they are read.
        but: a folder here whose files are not taken: the table that is made of the others.

    Raises:
        ErpError: there is none, or the path cannot be read.
    """
    try:
        system, root, names, single = names_of(path)
        files: list[SourceFile] = []
        for name in names:
            if not single and (hidden(name, root) or ("://" not in path and but in Path(name).resolve().parents)):
                continue
            below = name.rsplit("/", 1)[-1] if single else name.removeprefix(root).lstrip("/")
            whole = SourceFile(below, path, system, name, size=int(system.size(name) or 0), read=read)
            if meets(below, patterns) or (single and not below.lower().endswith(".zip")):
                files.append(whole)
            elif below.lower().endswith(".zip"):
                files += _within(whole, patterns)
    except ErpError:
        raise
    except Exception as error:  # every cloud's client has its own kinds
        raise unreadable(f"path = {path}", error) from error
    if not names and single:
        raise ErpError(f"path = {path}: there is no such file or folder; correct the path")
    if not files:
        held = shorten(sorted({name.rsplit("/", 1)[-1] for name in names}), 5) or "nothing"
        raise ErpError(
            f"path = {path}: holds no file called {' or '.join(patterns)}; it holds {held}; correct the path or "
            "choose another source"
        )
    return sorted(files, key=lambda file: file.name)


def meets(name: str, patterns: Sequence[str]) -> bool:
    """Whether a file's name, without folders and packing, is of a pattern."""
    return any(fnmatch.fnmatchcase(_last(name).lower(), pattern.lower()) for pattern in patterns)


def _within(archive: SourceFile, patterns: Sequence[str]) -> list[SourceFile]:
    with reading_from(archive.system, archive.address) as stream, zipfile.ZipFile(stream) as opened:
        held = [info for info in opened.infolist() if not info.is_dir()]
    chosen = [info for info in held if not hidden(info.filename, "") and meets(info.filename, patterns)]
    return [
        SourceFile(f"{archive.name}/{info.filename}", archive.path, archive.system, archive.address, info.filename,
                   info.file_size, archive.read)
        for info in chosen
    ]  # fmt: skip


def _last(name: str) -> str:
    last = name.rsplit("/", 1)[-1]
    return next((last[: -len(packed)] for packed in PACKED if last.lower().endswith(packed)), last)


def _feed(digest: Any, stream: BinaryIO) -> None:
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
