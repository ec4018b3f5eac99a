"""Embeddings on disk: one row per distinct prompt and backbone, appended once, read by any process."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from erp.backbones.base import Backbone, Keeping, normalised
from erp.backbones.store import KEY, KEY_BYTES, Keys, Store, append, begin, mended, opened
from erp.errors import ErpError
from erp.files import locked

SHIPPED = Path(__file__).resolve().parent.parent / "mini" / "features"  # of the table that ships with the package
CHUNK = 512  # rows compared at once
WINDOW = 1 << 14  # prompts sorted by length together: a table's neighbours stay neighbours on disk, and are read so
_FORMAT = 2  # of the files; another has other folders, so that two versions of this package do not meet in one


class Rows(Protocol):
    """What gives rows by their positions: an array, or a file."""

    shape: tuple[int, ...]

    def __getitem__(self, rows: NDArray[np.int64], /) -> Any:
        """Rows, (n, d) float32."""


class Embeddings:
    """L2-normalised embeddings of a list of prompts, read from disk where they are asked for.

    Attributes:
        dimension: d.
        unread: (prompts,) tokens of each that are in no vector.
        window: tokens that the backbone reads at once; None where it reads everything.
    """

    def __init__(
        self,
        vectors: Rows,
        rows: NDArray[np.int64],
        unread: NDArray[np.int64] | None = None,
        window: int | None = None,
    ) -> None:
        self._vectors = vectors
        self._rows = rows
        self.dimension = int(vectors.shape[1])
        self.unread = np.zeros(len(rows), dtype=np.int64) if unread is None else unread
        self.window = window

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, prompts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings of the prompts at these positions of the list, (n, d), copied into memory."""
        return np.ascontiguousarray(self._vectors[self._rows[prompts]])

    def shared(self) -> float:
        """Share of the distinct prompts whose vector is exactly that of another: no router can tell these apart."""
        distinct = np.unique(self._rows)
        hashes: list[int] = []  # 64 bits: even of ten million vectors no two collide
        for start in range(0, len(distinct), CHUNK):
            chunk = self._vectors[distinct[start : start + CHUNK]] + np.float32(0)  # -0 is 0
            hashes += [hash(row.tobytes()) for row in chunk]
        alike = Counter(hashes)
        return sum(count for count in alike.values() if count > 1) / max(len(distinct), 1)


def embed_prompts(prompts: Sequence[str], backbone: Backbone) -> NDArray[np.float32]:
    """Normalised embeddings without a cache, (n, d), to the digits that a cache keeps: what a service does."""
    return normalised(backbone.embed(prompts)).astype(backbone.kept).astype(np.float32)


def cached_embeddings(prompts: Sequence[str], backbone: Backbone, cache: Path, progress: bool = True) -> Embeddings:
    """Embeddings of ``prompts`` from the cache; only prompts it does not hold are embedded, and added to it.

    They lie in a folder named by the backbone's fingerprint (`erp.backbones.store`). Every row that is used is held
    against its checksum. Where one does not fit, all that do not are dropped, which is said in a line, and those that
    are needed are embedded again. Writers take turns by a lock; readers need none. Embeddings that ship with the
    package are copied, not computed.

    Raises:
        ErpError: the cache cannot be read or written, or does not keep what is written.
    """
    if isinstance(backbone, Keeping):
        backbone.keep_in(cache)
    folder = cache / "embeddings" / _folder_name(backbone)
    keys = _keys(prompts)
    with named(cache, "read", "check who may read it,"):
        found = _found(folder, keys)
    if found is None:
        with named(cache, "written", "make room there"), locked(folder / "embeddings"):
            store, lost, of = mended(folder)
            if lost:
                _say(f"cache_dir = {cache}: {lost:,} of {of:,} embeddings in {folder.name} were damaged or incomplete; "
                     "they were dropped, and those that are needed are embedded again")  # fmt: skip
            missing = np.flatnonzero(store.find(keys) < 0) if store else np.arange(len(keys))
            _, first = np.unique(keys[missing], return_index=True)
            _add(prompts, keys, np.sort(missing[first]), backbone, folder, store, progress)
            found = _found(folder, keys)
    if found is None:
        raise ErpError(f"cache_dir = {cache}: does not keep what is written there; give another cache_dir")
    return found


def _found(folder: Path, keys: Keys) -> Embeddings | None:
    """The embeddings of these prompts; None where one is not there, or does not fit."""
    store = opened(folder)
    if store is None or (rows := store.find(keys)).min(initial=0) < 0:
        return None
    if not store.fitting(np.flatnonzero(np.bincount(rows))).all():
        return None
    return Embeddings(store.vectors, rows, store.unread()[rows], store.window)


@contextmanager
def named(cache: Path, done: str, remedy: str) -> Iterator[None]:
    """Name the cache where the system does not let it be read or written. Raises ErpError."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # not the system's: transformers raises bare ones for files of a model
            raise
        raise ErpError(
            f"cache_dir = {cache}: cannot be {done} ({error.strerror}); what was embedded so far is kept; "
            f"{remedy} or give another cache_dir"
        ) from None


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _folder_name(backbone: Backbone) -> str:
    return hashlib.sha256(f"format {_FORMAT} {backbone.fingerprint()}".encode()).hexdigest()[:16]


def _keys(prompts: Sequence[str]) -> Keys:
    digests = (hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES] for prompt in prompts)
    return np.frombuffer(b"".join(digests), dtype=KEY)


def _add(
    prompts: Sequence[str],
    keys: Keys,
    new: NDArray[np.int64],
    backbone: Backbone,
    folder: Path,
    store: Store | None,
    progress: bool,
) -> None:
    """Embed the prompts at these positions and add them to the store; None: to one that begins here."""
    shipped = opened(SHIPPED / _folder_name(backbone))
    lengths = np.array([len(prompts[at]) for at in new.tolist()])
    order = new[np.lexsort((lengths, np.arange(len(new)) // WINDOW))]  # of like length in a batch: less padding
    with tqdm(total=len(new), desc="embedding", unit="prompt", disable=not progress or not len(new)) as bar:
        for start in range(0, len(order), backbone.at_once):
            chunk = order[start : start + backbone.at_once]
            rows = shipped.find(keys[chunk]) if shipped else np.full(1, -1)
            if shipped and rows.min() >= 0 and shipped.fitting(rows).all():
                embedded, unread, window = shipped.vectors[rows], shipped.unread()[rows], shipped.window
            else:
                texts = [prompts[at] for at in chunk]
                embedded, unread, window = backbone.embed(texts), backbone.unread(texts), backbone.window()
            if not np.isfinite(embedded).all():
                raise ErpError("backbone: gave an embedding that is not finite; check its weights and dtype")
            vectors = normalised(embedded) if backbone.unit_length else embedded
            vectors = vectors.astype(backbone.kept, copy=False)
            if store is None or store.vectors.shape[1] != vectors.shape[1]:
                begin(folder, backbone.fingerprint(), vectors.shape[1], window, backbone.kept)
                store = opened(folder)
            append(folder, keys[chunk], vectors, unread)
            bar.update(len(chunk))
