"""Which texts are linked: candidates by bands of their signatures, each verified by its exact Jaccard similarity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from erp.table.shingles import SLOTS, blocks, lengths, shingle_sets, signatures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_RECALL = 0.999  # of pairs exactly at the threshold; of those 0.1 above it, 0.99999 and more
# Of texts of one bucket, in the order of their signatures: a text is compared with sixteen on either side, the nearest
# first, after which most are connected already.
_DISTANCES = ((1, 1), (2, 16))
_MARGIN = 3  # standard errors by which an estimate may fall short
_PAIRS = 8192  # whose signatures are compared at a time
_CHARACTERS = 1 << 24  # of texts whose shingles are held at a time; a pair may be longer
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Search:
    """Texts to be searched at one threshold after another: their signatures are held, their shingles are not.

    Args:
        texts: Distinct texts (N,).
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.lengths = lengths(texts)
        self.signatures = signatures(texts)

    def components(self, rows: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
        """Component number of each of the rows (R,), linked among themselves only."""
        labels = np.arange(len(rows))
        width = _rows_per_band(threshold)
        for start in range(0, SLOTS - width + 1, width):
            places, last = self._band(rows, start, width)
            for nearest, furthest in _DISTANCES:
                pairs = _within(places, last, nearest, furthest)
                pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
                labels = _joined(labels, pairs[self._similar(rows[pairs], threshold)])
        return labels

    def _band(self, rows: NDArray[np.int64], start: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the rows that share a band with others, bucket after bucket, and where each one's bucket ends.

        In a bucket the order goes by the whole signature, read from the band on and round: those who share more of it
        are neighbours (as in LSH Forest, Bawa 2005).
        """
        crowded = _crowded(self.signatures[rows, start : start + width])
        turned = np.roll(self.signatures[rows[crowded]], -start, axis=1)
        order = np.argsort(turned.view(f"V{turned.itemsize * SLOTS}")[:, 0], kind="stable")
        heads = turned[order, :width]
        bucket = np.concatenate([[0], np.cumsum((heads[1:] != heads[:-1]).any(axis=1))])
        return crowded[order], np.searchsorted(bucket, bucket, side="right")

    def _similar(self, pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Whether each pair (P, 2) reaches the threshold: by signatures with a wide margin, then exactly."""
        similar = np.zeros(len(pairs), dtype=bool)
        lowest = threshold - _MARGIN * np.sqrt(threshold * (1 - threshold) / SLOTS)
        for start in range(0, len(pairs), _PAIRS):
            left, right = self.signatures[pairs[start : start + _PAIRS].T]
            similar[start : start + _PAIRS] = (left == right).mean(axis=1) >= lowest
        if similar.any():
            similar[similar] = self._exactly(pairs[similar], threshold)
        return similar

    def _exactly(self, pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Whether the Jaccard similarity of each pair (P, 2) reaches the threshold."""
        rows, places = np.unique(pairs, return_inverse=True)
        half = len(pairs) // 2
        if half and self.lengths[rows].sum() > _CHARACTERS:
            return np.concatenate([self._exactly(part, threshold) for part in (pairs[:half], pairs[half:])])
        sets = shingle_sets([self.texts[row] for row in rows])
        sizes = np.diff(sets.indptr)
        left, right = places.reshape(-1, 2).T
        shared = np.zeros(len(pairs), dtype=np.int64)
        for block in blocks(self.lengths[pairs].sum(axis=1), _CHARACTERS):
            shared[block] = np.diff(sets[left[block]].multiply(sets[right[block]]).indptr)
        return np.asarray(shared >= threshold * (sizes[left] + sizes[right] - shared) - 1e-9)


def _rows_per_band(threshold: float) -> int:
    """The longest bands, so the fewest candidates, with which a pair at the threshold shares one almost surely."""
    recall = {r: 1 - (1 - threshold**r) ** (SLOTS // r) for r in range(1, SLOTS + 1)}
    return max((r for r, found in recall.items() if found >= _RECALL), default=1)


def _crowded(heads: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Positions, ascending, of the rows of (R, width) that equal another row; a few others by chance."""
    keys = np.zeros(len(heads), dtype=np.uint64)
    for slot in heads.T:
        keys = keys * _FACTOR + slot
    order = np.argsort(keys)
    equal = keys[order[1:]] == keys[order[:-1]]
    shared = np.zeros(len(keys), dtype=bool)
    shared[order[1:][equal]] = True
    shared[order[:-1][equal]] = True
    return np.flatnonzero(shared)


def _within(places: NDArray[np.int64], last: NDArray[np.int64], nearest: int, furthest: int) -> NDArray[np.int64]:
    """Pairs (P, 2) of places of one bucket that are so far from each other."""
    at, distance = np.nonzero(np.arange(len(places))[:, None] + np.arange(nearest, furthest + 1) < last[:, None])
    return np.stack([places[at], places[at + distance + nearest]], axis=1)


def _joined(labels: NDArray[np.int64], links: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels (R,) of components once these pairs (L, 2) of places are linked too."""
    ends, codes = np.unique(labels[links], return_inverse=True)
    graph = coo_array((np.ones(len(links), dtype=np.int8), codes.reshape(-1, 2).T), shape=(len(ends),) * 2)
    joined = connected_components(graph, directed=False)[1]
    renamed = np.arange(len(labels))
    renamed[ends] = ends[np.unique(joined, return_index=True)[1]][joined]
    return renamed[labels]
