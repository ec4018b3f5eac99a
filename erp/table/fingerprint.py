"""The hash of a table's content, of which a run's name is made; independent of the order of its rows and members."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

PROMPTS = 1 << 13
"""Prompts of a mapped table whose samples are hashed together. It is part of what the hash is."""
_TEXTS = 1 << 12  # hashed at once


def feed_texts(digest: hashlib._Hash, texts: Sequence[str | None] | NDArray[np.object_]) -> None:
    """Hash texts with their lengths, so that no two lists of texts run together into the same bytes."""
    digest.update(b"%d texts" % len(texts))
    for start in range(0, len(texts), _TEXTS):
        digest.update(b"".join(map(_framed, texts[start : start + _TEXTS])))


def feed_labels(digest: hashlib._Hash, labels: NDArray[np.object_]) -> None:
    """`feed_texts` of few different texts."""
    codes, values = pd.factorize(labels)
    framed = np.array([*map(_framed, values), _framed(None)], dtype=object)  # code -1 reads the last
    digest.update(b"%d texts" % len(labels))
    digest.update(b"".join(framed[codes]))


def _framed(text: str | None) -> bytes:
    if text is None:
        return b"-;"
    raw = text.encode("utf-8", "surrogatepass")
    return b"%d:%b" % (len(raw), raw)


def feed_samples(
    digest: hashlib._Hash,
    samples: pd.DataFrame,
    measures: Iterable[str],
    prompt_rank: NDArray[np.int64],
    member_rank: NDArray[np.int64],
) -> None:
    """Hash samples, column by column, as little-endian numbers in an order that depends on the content alone.

    Args:
        digest: takes the bytes.
        samples: of `PROMPTS` prompts.
        measures: their columns of numbers that are not whole.
        prompt_rank: place of every prompt of the table in the order of ids.
        member_rank: place of every member in the order of names.
    """
    prompt = prompt_rank[samples["prompt"].to_numpy()].astype("<i8")
    member = member_rank[samples["member"].to_numpy()].astype("<i8")
    columns: list[NDArray[np.generic]] = [samples["n_samples"].to_numpy().astype("<i8")]
    for name in measures:
        values = samples[name].to_numpy().astype("<f8") + 0.0  # + 0.0 turns -0.0 into 0.0
        columns.append(np.where(np.isnan(values), np.nan, values).astype("<f8"))  # one bit pattern for every NaN
    cell = prompt * (len(member_rank) or 1) + member
    order = _order(cell, columns)
    for column in (prompt, member, *columns):
        digest.update((column if order is None else column[order]).tobytes())


def _order(cell: NDArray[np.int64], columns: list[NDArray[np.generic]]) -> NDArray[np.int64] | None:
    """Rows by cell, and those of one cell by what they hold, its last column first; None: they are in order."""
    step = np.diff(cell)
    if (step > 0).all():
        return None
    several = len(np.unique(cell)) < len(cell) if (step < 0).any() else True
    # a column of one value, as of a measure that the table lacks, orders nothing
    varied = [column for column in columns if several and not _one_value(column)]
    if not several:
        return np.argsort(cell)
    if (step >= 0).all() and (size := _one_size(cell)) is not None:  # sorting short rows is several times as fast
        within = np.lexsort([np.zeros(len(cell)).reshape(-1, size), *(c.reshape(-1, size) for c in varied)])
        return np.asarray((within + np.arange(0, len(cell), size)[:, None]).ravel())
    return np.lexsort([*varied, cell])


def _one_size(cell: NDArray[np.int64]) -> int | None:
    """How many rows every cell has, one cell behind the other; None: not all have as many."""
    sizes = np.diff(np.flatnonzero(np.diff(cell, prepend=-1)), append=len(cell))
    return int(sizes[0]) if (sizes == sizes[0]).all() else None


def _one_value(column: NDArray[np.generic]) -> bool:
    return bool((column == column[0]).all() or (column != column).all())
