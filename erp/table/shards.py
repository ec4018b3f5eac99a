"""The files that a path means: one, a folder's or a pattern's; local or wherever fsspec reaches; packed or not."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import pyarrow

from erp.errors import ErpError
from erp.table.readers.base import Reader, unreadable
from erp.table.readers.known import READERS, SUFFIXES

PACKED = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True)
class Shard:
    """One file.

    Attributes:
        system: the fsspec file system it lies on.
        name: its name there.
        kind: of its content.
        columns: what the names of its folders say (``model=small/``), column -> value.
    """

    system: Any
    name: str
    kind: str
    columns: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def reader(self) -> Reader:
        """Who reads its kind."""
        return READERS[self.kind]

    @property
    def last(self) -> str:
        """Its name without folders."""
        return self.name.rsplit("/", 1)[-1]

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Its bytes, unpacked; those of a parquet file can be sought."""
        with reading_from(self.system, self.name) as stream, unpacked(stream, self.name) as plain:
            yield plain


@contextmanager
def unpacked(stream: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked as its name says."""
    packed = _suffixes(name)[1]
    if packed == ".zst":  # pyarrow is here anyway; fsspec would need a package more
        with pyarrow.CompressedInputStream(stream, "zstd") as plain:
            yield cast(BinaryIO, io.BufferedReader(plain))
    elif packed:
        from fsspec.compression import compr
        from fsspec.utils import infer_compression

        with closing(compr[infer_compression(f"x{packed}")](stream, mode="rb")) as plain:
            yield plain
    else:
        yield stream


@contextmanager
def reading_from(system: Any, name: str) -> Iterator[BinaryIO]:
    """A file's bytes as they lie there."""
    if name.startswith(("http://", "https://")):  # whole: many servers give no ranges, and say nothing about it
        yield io.BytesIO(system.cat_file(name))
    else:
        with system.open(name, "rb") as stream:
            yield stream


def shards(named: str, path: str, kinds: Collection[str], fallback: str | None = None) -> list[Shard]:
    """The files of a path, sorted by name; all of one kind.

    Of a folder (with its folders) and of a pattern, files of other kinds are passed over, and so are those whose name,
    or folder's name, begins with ``.`` or ``_``.

    Args:
        named: how errors call the path: ``data.path = t.csv``.
        path: a file, a folder or a pattern with ``*``, ``?`` or ``[]``, with or without a protocol.
        kinds: those that are allowed.
        fallback: what a file is whose name says nothing; None refuses it.

    Raises:
        ErpError: there is none, or there are several kinds.
    """
    try:
        system, root, names, single = names_of(path)
    except Exception as error:  # every cloud's client has its own kinds
        raise unreadable(named, error) from error
    if single and not names:
        raise ErpError(f"{named}: there is no such file or folder; correct the path")
    found = {name: kind_of(name) or fallback for name in names if single or not hidden(name, root)}
    chosen = {name: kind for name, kind in found.items() if kind in kinds}
    known = " or ".join(suffix for suffix, kind in SUFFIXES.items() if kind in kinds)
    if not chosen and single:
        raise ErpError(
            f"{named}: not a known kind of file; known are {known}, each also as {', '.join(PACKED)}; "
            "convert the file or correct the path"
        )
    if not chosen:
        raise ErpError(f"{named}: holds no {known} file; correct the path")
    if len(present := sorted({str(kind) for kind in chosen.values()})) > 1:
        raise ErpError(
            f"{named}: holds {' and '.join(present)} files; name one kind with a pattern, e.g. "
            f"'{root.rstrip('/')}/*{next(s for s, k in SUFFIXES.items() if k == present[0])}'"
        )
    return [Shard(system, name, str(kind), _partition(name, root)) for name, kind in chosen.items()]


def names_of(path: str) -> tuple[Any, str, list[str], bool]:
    """The path's file system, the folder that its files are named from, their names, whether it is one file.

    Of a path that is nothing there is no name. Raises what the path's client raises.
    """
    import fsspec
    from fsspec.core import url_to_fs

    if "://" in path:
        system, inner = url_to_fs(path)
    else:
        system, inner = fsspec.filesystem("file"), Path(path).expanduser().absolute().as_posix()
    magic = any(sign in inner for sign in "*?[")
    if path.startswith(("http://", "https://")) and "*" not in inner:
        return system, inner, [inner], True
    if system.isfile(inner):
        return system, inner, [inner], True
    if system.isdir(inner):
        return system, inner, sorted(system.find(inner)), False
    if not magic:
        return system, inner, [], True
    fixed = inner[: min(inner.find(sign) for sign in "*?[" if sign in inner)].rpartition("/")[0]
    names: set[str] = set()
    for name in system.glob(inner):
        names |= set(system.find(name)) if system.isdir(name) else {name}
    return system, fixed, sorted(names), False


def hidden(name: str, root: str) -> bool:
    """Whether its name, or a folder's below the root, says that it is no content."""
    return any(part.startswith((".", "_")) for part in _below(name, root).parts)


def _below(name: str, root: str) -> PurePosixPath:
    return PurePosixPath(name.removeprefix(root).lstrip("/"))


def _partition(name: str, root: str) -> dict[str, str | None]:
    pairs = (part.split("=", 1) for part in _below(name, root).parts[:-1] if "=" in part)
    return {key: None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for key, value in pairs}


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix that names the kind, and the one of a packed file or nothing; of an address, of its path."""
    plain = PurePosixPath(urlsplit(name).path if name.startswith(("http://", "https://")) else name)
    last = plain.suffix.lower()
    return (plain.with_suffix("").suffix.lower(), last) if last in PACKED else (last, "")


def kind_of(name: str) -> str | None:
    """What a file's name says it holds; None where it says nothing known."""
    return SUFFIXES.get(_suffixes(name)[0])
