"""Files that are never half-written: atomic replacement, locks between processes, content hashes."""

from __future__ import annotations

import glob
import hashlib
import json
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

try:
    from yaml import CSafeLoader as _SafeLoader  # ten times as fast
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment]

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 100_000  # of a YAML file, with what its aliases stand for: nine lines can stand for a billion
DEEPEST = 64  # lists and mappings within each other
FORMULA = tuple("=+-@＝＋－＠")  # noqa: RUF001 - some spreadsheets take the wide ones too
FORMULA_SPACE = ("\t", "\r", "\n")


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


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What the system refuses meanwhile is said of this file: a full disk, unlike a missing folder, names none."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


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
    write_text(path, whole_text(json.dumps(jsonable(value), indent=2, ensure_ascii=False, allow_nan=False)) + "\n")


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
    """Read a JSON object. Raises ValueError where it is none: NaN is no JSON, and `write_json` writes none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_json)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object")
    return value


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def read_yaml(text: str) -> Any:
    """The value of a YAML text from anywhere: plain values alone, with bounds on its size and depth, no key twice.

    Raises:
        ValueError: it is no YAML, or beyond the bounds; on one line.
    """
    try:
        _require_bounded(yaml.parse(text, Loader=yaml.SafeLoader))  # libyaml's scanner has a depth of its own
        return yaml.load(text, Loader=_PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:200]) from None


class _PlainLoader(_SafeLoader):
    """Refuses a key that stands twice; a date is a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - of PyYAML
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in _SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if twice := [key for key, count in Counter(keys).items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]} stands there twice")
        return super().construct_mapping(node, deep)


def _require_bounded(events: Iterator[yaml.Event]) -> None:
    """Count values and depth, an alias as what it stands for, without building anything. Raises ValueError."""
    open_: list[tuple[str | None, list[int]]] = [(None, [0, 0])]  # anchor; values and depth within
    anchored: dict[str, list[int]] = {}
    for event in events:
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, [1, 1]))
        elif isinstance(event, yaml.CollectionEndEvent | yaml.ScalarEvent | yaml.AliasEvent):
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchored:
                    raise ValueError(f"*{event.anchor} stands for nothing yet, or for what it is in itself")
                anchor, found = None, anchored[event.anchor]
            else:
                anchor, found = open_.pop() if isinstance(event, yaml.CollectionEndEvent) else (event.anchor, [1, 0])
            if anchor is not None:
                anchored[anchor] = found
            within = open_[-1][1]
            within[:] = [within[0] + found[0], max(within[1], found[1] + 1)]
        if len(open_) - 1 > DEEPEST or open_[-1][1][1] > DEEPEST + 1:
            raise ValueError(f"lists and mappings are nested deeper than {DEEPEST}")
        if open_[-1][1][0] > MOST_VALUES:
            raise ValueError(f"it stands for more than {MOST_VALUES:,} values")


def places_of(text: str, value: Any) -> list[str]:
    """Where a text stands in a nested value, in its keys or texts, as dotted paths. Raises ValueError if too deep."""
    found: set[str] = set()
    left: list[tuple[tuple[str, ...], Any]] = [((), value)]
    while left:
        place, node = left.pop()
        if len(place) > DEEPEST:
            raise ValueError(f"lists and mappings are nested deeper than {DEEPEST}")
        if text in (place[-1] if place else "") or (isinstance(node, str) and text in node):
            found.add(".".join(place))
        items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | tuple) else ()
        left += [((*place, str(name)), part) for name, part in items]
    return sorted(found)


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


def sha256_of(path: str) -> str:
    """Hex sha256 of what lies at a path: a file, a folder's files with their names, those of a pattern with ``*``.

    Of what is not here, an address or nothing, the path stands for itself.
    """
    root = Path(path).expanduser()
    found = [root] if root.exists() else map(Path, glob.iglob(str(root)))  # noqa: PTH207 - Path's is relative
    files = sorted(file for part in found for file in (part.rglob("*") if part.is_dir() else [part]) if file.is_file())
    if not files:
        return hashlib.sha256(path.encode()).hexdigest()
    names = [str(file.relative_to(root)) if root.is_dir() else "" for file in files]
    lines = [f"{name} {sha256_file(file)}" for name, file in zip(names, files, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def cache_folder(configured: str | None) -> Path:
    """Where embeddings are cached: the configured folder, else ``ERP_CACHE``, else the user's cache folder."""
    if configured is not None:
        return Path(configured).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("ERP_CACHE") or f"{base}/erp").expanduser()


def as_csv(frame: pd.DataFrame) -> str:
    """A table as CSV: a text that a spreadsheet would run as a formula has a ' before it; numbers stay numbers."""
    texts = frame.select_dtypes(exclude=["number", "bool"])
    return str(frame.assign(**{str(name): texts[name].map(_no_formula) for name in texts}).to_csv(index=False))


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str) or re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value):
        return value
    run = value[:1] in FORMULA_SPACE or value.lstrip()[:1] in FORMULA
    return (f"'{value}" if run else value).replace("\r", " ")  # a bare one ends a row, for many readers
