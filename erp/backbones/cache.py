"""Embeddings on disk: one row per distinct prompt and backbone, appended once, read memory-mapped by any process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from erp.backbones.base import Backbone, normalised
from erp.errors import ErpError
from erp.files import locked, read_json, write_json

KEY_BYTES = 16  # half a sha256: no two of 10^12 prompts collide
SHIPPED = Path(__file__).resolve().parent.parent / "mini" / "features"  # of the table that ships with the package
CHUNK = 512  # prompts embedded between two writes: what a killed process loses at most


class Embeddings:
    """L2-normalised embeddings of a list of prompts, memory-mapped.

    Attributes:
        dimension: d.
    """

    def __init__(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        self._vectors = vectors
        self._rows = rows
        self.dimension = int(vectors.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, prompts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embeddings of the prompts at these positions of the list, (n, d), copied into memory."""
        return np.ascontiguousarray(self._vectors[self._rows[prompts]])


def embed_prompts(prompts: Sequence[str], backbone: Backbone) -> NDArray[np.float32]:
    """Normalised embeddings without a cache, (n, d): what a service does."""
    return normalised(backbone.embed(prompts))


def cached_embeddings(prompts: Sequence[str], backbone: Backbone, cache: Path, progress: bool = True) -> Embeddings:
    """Embeddings of ``prompts`` from the cache; only prompts it does not hold are embedded, and added to it.

    Files, under a folder named by the backbone's fingerprint: ``vectors.f32`` (rows of d numbers) and ``keys.bin``
    (one hash per row, written after its row). A process killed in between leaves a tail of vectors without keys,
    which the next writer cuts off. Writers take turns by a lock; readers need none. Embeddings that ship with the
    package are copied, not computed.
    """
    folder = cache / "embeddings" / _folder_name(backbone)
    keys = [_key(prompt) for prompt in prompts]
    index = _read_index(folder)
    new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in index}
    if new:
        try:
            with locked(folder / "embeddings"):
                index = _read_index(folder)  # another process may have added some meanwhile
                _append({key: prompt for key, prompt in new.items() if key not in index}, backbone, folder, progress)
        except OSError as error:
            if error.errno is None:  # not the system's: transformers raises bare ones for files of a model
                raise
            raise ErpError(
                f"cache_dir = {cache}: cannot be written ({error.strerror}); what was embedded so far is kept; "
                f"make room there or give another cache_dir"
            ) from None
        index = _read_index(folder)
    dimension = int(read_json(folder / "about.json")["dimension"])
    # As many rows as there are keys: a writer at work, or a killed one, leaves part of a row behind them.
    vectors = np.memmap(folder / "vectors.f32", dtype=np.float32, mode="r", shape=(len(index), dimension))
    return Embeddings(vectors, np.fromiter((index[key] for key in keys), dtype=np.int64, count=len(keys)))


def _folder_name(backbone: Backbone) -> str:
    return hashlib.sha256(backbone.fingerprint().encode()).hexdigest()[:16]


def _key(prompt: str) -> bytes:
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES]


def _read_index(folder: Path) -> dict[bytes, int]:
    file = folder / "keys.bin"
    data = file.read_bytes() if file.exists() else b""
    return {data[i * KEY_BYTES : (i + 1) * KEY_BYTES]: i for i in range(len(data) // KEY_BYTES)}


def _append(new: dict[bytes, str], backbone: Backbone, folder: Path, progress: bool) -> None:
    shipped = _shipped(backbone)
    keys_file, vectors_file, about = folder / "keys.bin", folder / "vectors.f32", folder / "about.json"
    bar = tqdm(total=len(new), desc="embedding", unit="prompt", disable=not progress or not new)
    with bar, keys_file.open("ab") as keys, vectors_file.open("ab") as vectors:
        rows = keys.tell() // KEY_BYTES
        keys.truncate(rows * KEY_BYTES)
        if about.exists():
            vectors.truncate(rows * int(read_json(about)["dimension"]) * 4)
        for chunk in _chunks(list(new.items())):
            at_hand = [shipped.get(key) for key, _ in chunk]
            if any(vector is None for vector in at_hand):
                embedded = backbone.embed([prompt for _, prompt in chunk])
            else:
                embedded = np.array(at_hand, dtype=np.float32)
            if not np.isfinite(embedded).all():
                raise ErpError("backbone: gave an embedding that is not finite; check its weights and dtype")
            rows_of_chunk = normalised(embedded)
            if not about.exists():
                vectors.truncate(0)
                write_json(about, {"backbone": backbone.fingerprint(), "dimension": rows_of_chunk.shape[1]})
            for stream, data in ((vectors, rows_of_chunk.tobytes()), (keys, b"".join(key for key, _ in chunk))):
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            bar.update(len(chunk))


def _shipped(backbone: Backbone) -> dict[bytes, NDArray[np.float32]]:
    """Embeddings of this backbone that came with the package."""
    folder = SHIPPED / _folder_name(backbone)
    index = _read_index(folder)
    if not index:
        return {}
    rows = np.fromfile(folder / "vectors.f32", dtype=np.float32).reshape(len(index), -1)
    return {key: rows[row] for key, row in index.items()}


def _chunks(items: list[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    items.sort(key=lambda item: len(item[1]))  # prompts of like length share a batch: less padding
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
