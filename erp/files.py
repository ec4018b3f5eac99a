"""Files that are never half-written: atomic replacement, locks between processes, content hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step, on error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; a run folder is as open as the user's files
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, on the disk before it has its name."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write strict JSON atomically: NaN and infinities become null, because other readers refuse them."""
    write_text(path, json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def jsonable(value: Any) -> Any:
    """Plain JSON values out of nested containers and numpy scalars; non-finite numbers become None."""
    return plain(value, keep_nonfinite=False)


def plain(value: Any, keep_nonfinite: bool = True) -> Any:
    """Plain Python values out of nested containers and numpy scalars; inf and nan stay, or become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item, keep_nonfinite) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, keep_nonfinite) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist(), keep_nonfinite)
    if isinstance(value, float) and not math.isfinite(value) and not keep_nonfinite:
        return None
    return value


def whole_text(text: str) -> str:
    r"""The text, lone surrogates ("\ud800" in JSON) replaced by ?: no file, terminal or tokenizer takes them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


@contextmanager
def locked(path: Path, timeout_s: float = -1) -> Iterator[None]:
    """Hold the lock file ``<path>.lock``; released by the system if the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock", timeout=timeout_s):
        yield


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder(configured: str | None) -> Path:
    """Where embeddings are cached: the configured folder, else ``ERP_CACHE``, else the user's cache folder."""
    if configured is not None:
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("ERP_CACHE") or f"{base}/erp").expanduser()
