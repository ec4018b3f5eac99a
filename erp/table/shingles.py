"""What texts are compared by: the hashes of their shingles, and a short signature of the set of them.

Both are made of many texts at once, in compiled code: a block of texts is one array of code points.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Characters, not words: they need no spaces between words, and one word changed in forty leaves 0.9 of the shingles,
# where three-word shingles would keep 0.85. Five: shorter ones are shared by unrelated texts of one language.
SHINGLE = 5
SLOTS = 128  # the standard error of an estimate of 0.8 is 0.035

_SEED = 1
_BLOCK = 1 << 16  # characters hashed at a time: what a core keeps near
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_SQUARED = np.uint64(0x9E3779B97F4A7C15**2 % 2**64)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


def shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the shingles of every text, one after another and with repeats, and where each text's begin (N + 1,).

    A shingle is five characters in a row; a shorter text is one shingle.
    """
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    counts = np.array([len(text) - SHINGLE + 1 for text in padded], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    if not len(texts):
        return codes, starts
    two = codes[:-1] * _FACTOR + codes[1:]  # a polynomial in an odd number, modulo 2^64
    four = two[:-2] * _FACTOR_SQUARED + two[2:]
    hashes = four[:-1] * _FACTOR + codes[4:]
    hashes ^= hashes >> _HALF
    hashes *= _MIX
    hashes ^= hashes >> _HALF
    within = np.ones(len(hashes), dtype=bool)
    ends = starts[1:-1] + (SHINGLE - 1) * np.arange(1, len(texts))
    for back in range(1, SHINGLE):  # the last four places of a text begin shingles that reach into the next
        within[ends - back] = False
    return hashes[within], starts


def shingle_sets(texts: Sequence[str]) -> csr_array:
    """The set of shingles of every text: a row each, ones in the columns of 63-bit hashes, ascending."""
    made = [shingles(texts[block]) for block in blocks(lengths(texts), _BLOCK)]
    hashes = (np.concatenate([hashes for hashes, _ in made]) >> np.uint64(1)).view(np.int64)
    counts = np.concatenate([np.diff(starts) for _, starts in made])
    starts = np.concatenate([[0], np.cumsum(counts)])
    for low, high in pairwise(starts.tolist()):  # five times as fast as scipy's sort of the indices
        hashes[low:high].sort()
    sets = csr_array((np.ones(len(hashes), dtype=bool), hashes, starts), shape=(len(texts), np.iinfo(np.int64).max))
    sets.sum_duplicates()
    return sets


def signatures(texts: Sequence[str]) -> NDArray[np.uint16]:
    """Signatures (N, 128): two agree in a slot with a chance of the Jaccard similarity of their shingles.

    They are minima (Fast Similarity Sketching, Dahlgaard, Knudsen and Thorup 2017) of which the low 16 bits are kept
    (b-bit minwise hashing, Li and König 2010): unlike ones agree once in 65,536. Big-endian: bytes sort as numbers.
    """
    from rensa import RMinHash  # not at the top: only tables that are split by near-duplicates pay for it

    out = np.empty((len(texts), SLOTS), dtype=">u2")
    for block in blocks(lengths(texts), _BLOCK):
        hashes, starts = shingles(texts[block])
        sketches = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts.astype(np.uint64), SLOTS, _SEED)
        out[block] = np.array(sketches.to_rows(), dtype=np.uint32) & 0xFFFF
    return out


def lengths(texts: Sequence[str]) -> NDArray[np.int64]:
    """Characters of every text (N,)."""
    return np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))


def blocks(sizes: NDArray[np.int64], characters: int) -> list[slice]:
    """Slices of texts of these sizes that have about so many characters in all; a text may be longer."""
    block = np.cumsum(sizes) // characters
    bounds = [*np.flatnonzero(np.diff(block, prepend=-1)).tolist(), len(sizes)]
    return [slice(low, high) for low, high in pairwise(bounds)]
