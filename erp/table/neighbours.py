"""Near-duplicate texts: which share so many character shingles that one tells the answer to the other.

Candidates come from MinHash signatures (Broder 1997) cut into bands (Mining of Massive Datasets, chapter 3); every one
is verified by the exact Jaccard similarity of its two shingle sets. Nothing is random: the permutations have a fixed
seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Characters, not words: they need no spaces between words, and one word changed in forty leaves 0.9 of the shingles,
# where three-word shingles would keep 0.85. Five: shorter ones are shared by unrelated texts of one language.
SHINGLE = 5
LARGEST_SHARE = 0.05  # of a table's prompts: a larger component would make the parts of a split lumpy
SMALLEST_LIMIT = 10  # prompts: in a small table 5% is one prompt, and nothing would ever be joined
STRICTER = (0.9, 0.95)  # after these, equal texts only

_PERMUTATIONS = 128  # the standard error of an estimate of 0.8 is 0.035
_SEED = 1
_RECALL = 0.99  # of pairs exactly at the threshold; of those 0.1 above it, 0.9999 and more
_WINDOW = 16  # texts of one bucket, in the order of their signatures, that a text is compared with on either side
_CHUNK = 8192  # pairs verified at a time


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Texts that are connected by near-duplicates.

    Attributes:
        component: Number of the component of every text (N,).
        text: Number of every text (N,), the same for equal ones.
        cut: Whether the component that the text was in was too large and has been cut (N,).
    """

    component: NDArray[np.int64]
    text: NDArray[np.int64]
    cut: NDArray[np.bool_]


@dataclass(frozen=True)
class DuplicateFacts:
    """How much of a table are near-duplicates. A group is a component of two or more distinct texts.

    Attributes:
        groups: Number of groups.
        prompts: Prompts in them.
        largest: Prompts in the largest; 0 where there is none.
        cut: Prompts of components that were too large and were cut; what they then fell into counts above.
        leak: Share of prompts that a random split of the texts into halves is expected to put beside a
            near-duplicate in the other half: each text of a group of s has one there with a chance of 1 - 0.5^(s-1).
    """

    groups: int
    prompts: int
    largest: int
    cut: int
    leak: float


def duplicate_facts(found: NearDuplicates) -> DuplicateFacts:
    """Count what `near_duplicates` found."""
    _, first = np.unique(found.text, return_index=True)
    distinct = np.bincount(found.component[first])
    prompts = np.bincount(found.component)
    groups = distinct > 1
    parted = prompts @ (1.0 - 0.5 ** (distinct - 1.0)) / max(len(found.text), 1)
    largest = int(prompts[groups].max(initial=0))
    return DuplicateFacts(int(groups.sum()), int(prompts[groups].sum()), largest, int(found.cut.sum()), float(parted))


def leak(found: NearDuplicates, test: NDArray[np.int64], train: NDArray[np.int64]) -> int:
    """How many of the test rows lie in one component with a train row."""
    return int(np.isin(found.component[test], found.component[train]).sum())


def near_duplicates(texts: Sequence[str], threshold: float) -> NearDuplicates:
    """Components of texts that are linked where the Jaccard similarity of their shingles reaches the threshold.

    A shingle is five characters in a row; a shorter text is one shingle. The texts of a benchmark share its
    instructions and chain into one component: a component of more than 5% of the texts (and more than ten) is taken
    apart again at 0.9, then 0.95, then down to equal texts. The result is a function of the set of texts, not of
    their order. Up to 1% of the links right at the threshold are missed, and 0.01% of those 0.1 above it. In a
    bucket of many texts a text is compared with its nearest ones by signature only, so that 15,000 prompts of one
    template take seconds.

    Args:
        texts: Texts (N,), with white space and case folded already; equal ones are always of one component.
        threshold: Above 0, up to 1.
    """
    distinct, code, count = np.unique(np.array(texts, dtype=object), return_inverse=True, return_counts=True)
    sets = [_shingles(text) for text in distinct]
    found = _Search(sets, _signatures(sets))
    limit = max(LARGEST_SHARE * len(texts), SMALLEST_LIMIT)
    component, cut = np.arange(len(distinct)), np.zeros(len(distinct), dtype=bool)
    pending = [(np.arange(len(distinct)), threshold)]
    while pending:
        rows, level = pending.pop()
        labels = found.components(rows, level)
        for members in _parts(rows, labels):
            component[members] = members[0]
            if count[members].sum() <= limit or len(members) == 1:
                continue
            cut[members] = True
            component[members] = members
            stricter = [value for value in STRICTER if value > level]
            if stricter:
                pending.append((members, stricter[0]))
    numbers = np.unique(component, return_inverse=True)[1]
    return NearDuplicates(numbers[code].astype(np.int64), code.astype(np.int64), cut[code])


def _parts(rows: NDArray[np.int64], labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each label, ascending."""
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    return np.split(rows[order], bounds) if len(rows) else []


def _shingles(text: str) -> NDArray[np.int64]:
    """Hashes of 63 bits of the distinct shingles of a text, ascending."""
    codes = np.frombuffer(text.ljust(SHINGLE, "\0").encode("utf-32-le", "surrogatepass"), dtype="<u4")
    hashes = np.zeros(len(codes) - SHINGLE + 1, dtype=np.uint64)
    for offset in range(SHINGLE):  # a polynomial in an odd number, modulo 2^64
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + len(hashes)]
    hashes ^= hashes >> np.uint64(32)  # MinHash reads the low 32 bits: they have to depend on all of them
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    return np.unique(hashes >> np.uint64(1)).astype(np.int64)


def _signatures(sets: Sequence[NDArray[np.int64]]) -> NDArray[np.uint32]:
    """MinHash signatures (N, 128)."""
    from datasketch import MinHash  # not at the top: only tables that are split by near-duplicates pay for it

    hashed = ((values & 0xFFFFFFFF).tolist() for values in sets)
    sketches = MinHash.generator(hashed, num_perm=_PERMUTATIONS, seed=_SEED, hashfunc=int, scheme="affine32")
    out = np.empty((len(sets), _PERMUTATIONS), dtype=np.uint32)
    for row, sketch in enumerate(sketches):
        out[row] = sketch.hashvalues
    return out


def _rows_per_band(threshold: float) -> int:
    """The longest bands, so the fewest candidates, with which a pair at the threshold shares one almost surely."""
    recall = {r: 1 - (1 - threshold**r) ** (_PERMUTATIONS // r) for r in range(1, _PERMUTATIONS + 1)}
    return max((r for r, found in recall.items() if found >= _RECALL), default=1)


class _Search:
    """Shingle sets and their signatures, to be searched at one threshold after another."""

    def __init__(self, sets: Sequence[NDArray[np.int64]], signatures: NDArray[np.uint32]) -> None:
        self.sizes = np.array([len(values) for values in sets], dtype=np.int64)
        self.signatures = signatures
        hashes = np.concatenate([*sets, np.zeros(0, dtype=np.int64)])
        starts = np.concatenate([[0], np.cumsum(self.sizes)])
        shape = (len(sets), np.iinfo(np.int64).max)
        self.sets = csr_array((np.ones(len(hashes), dtype=np.int8), hashes, starts), shape=shape)

    def components(self, rows: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
        """Component number of each of the rows (R,), linked among themselves only."""
        orders, buckets = self._bands(rows, _rows_per_band(threshold))
        labels = np.arange(len(rows))
        links = np.zeros((0, 2), dtype=np.int64)
        for distance in range(1, _WINDOW + 1):  # the nearest first: most pairs are then connected already
            same = buckets[:, distance:] == buckets[:, :-distance]
            if not same.any():
                break
            pairs = np.stack([orders[:, :-distance][same], orders[:, distance:][same]], axis=1)
            pairs = np.unique(np.sort(pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]], axis=1), axis=0)
            links = np.concatenate([links, pairs[self._similar(rows[pairs], threshold)]])
            graph = coo_array((np.ones(len(links), dtype=np.int8), (links[:, 0], links[:, 1])), shape=(len(rows),) * 2)
            labels = connected_components(graph, directed=False)[1]
        return labels

    def _bands(self, rows: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each band the rows' positions in order of signature (B, R), and the bucket at each place (B, R).

        The order goes by the whole signature, read from the band on and round: in a bucket, those who share more of it
        are neighbours (as in LSH Forest, Bawa 2005).
        """
        signatures = self.signatures[rows].astype(">u4")  # big-endian: bytes then sort as numbers, on every machine
        starts = range(0, _PERMUTATIONS - width + 1, width)
        orders = np.zeros((len(starts), len(rows)), dtype=np.int64)
        buckets = np.zeros_like(orders)
        for band, start in enumerate(starts):
            turned = np.ascontiguousarray(np.roll(signatures, -start, axis=1))
            order = np.argsort(turned.view(f"V{4 * _PERMUTATIONS}")[:, 0], kind="stable")
            heads = turned[order, :width]
            orders[band] = order
            buckets[band, 1:] = np.cumsum((heads[1:] != heads[:-1]).any(axis=1))
        return orders, buckets

    def _similar(self, pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Whether each pair (P, 2) reaches the threshold: by sizes, by signatures with a wide margin, then exactly."""
        left, right = pairs[:, 0], pairs[:, 1]
        sizes = np.sort(self.sizes[pairs], axis=1)
        similar = sizes[:, 0] >= threshold * sizes[:, 1] - 1e-9
        margin = 4 * np.sqrt(threshold * (1 - threshold) / _PERMUTATIONS)
        for chunk in _chunks(np.flatnonzero(similar)):
            estimate = (self.signatures[left[chunk]] == self.signatures[right[chunk]]).mean(axis=1)
            similar[chunk] = estimate >= threshold - margin
        for chunk in _chunks(np.flatnonzero(similar)):
            shared = np.diff(self.sets[left[chunk]].multiply(self.sets[right[chunk]]).indptr)
            union = self.sizes[left[chunk]] + self.sizes[right[chunk]] - shared
            similar[chunk] = shared >= threshold * union - 1e-9
        return similar


def _chunks(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    bounds = [*range(0, len(rows), _CHUNK), len(rows)]
    return [rows[low:high] for low, high in pairwise(bounds)]
