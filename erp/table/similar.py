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
_WINDOW = 16  # texts of one bucket, in the order of their signatures, that a text is compared with on either side
_PAIRS = 8192  # whose signatures are compared at a time
_CHARACTERS = 1 << 23  # of texts whose shingles are held at a time; a pair may be longer
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
        places, buckets = self._bands(rows, _rows_per_band(threshold))
        labels = np.arange(len(rows))
        links = np.zeros((0, 2), dtype=np.int64)
        for distance in range(1, _WINDOW + 1):  # the nearest first: most pairs are then connected already
            same = np.flatnonzero(buckets[distance:] == buckets[:-distance])
            if not len(same):
                break
            pairs = _distinct(places[same], places[same + distance], labels)
            similar = pairs[self._similar(rows[pairs], threshold)]
            if len(similar):
                links = np.concatenate([links, similar])
                ends = (links[:, 0], links[:, 1])
                graph = coo_array((np.ones(len(links), dtype=np.int8), ends), shape=(len(rows),) * 2)
                labels = connected_components(graph, directed=False)[1]
        return labels

    def _bands(self, rows: NDArray[np.int64], width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the rows that share a band with another, band after band, and the bucket each is in there.

        In a bucket the order goes by the whole signature, read from the band on and round: those who share more of it
        are neighbours (as in LSH Forest, Bawa 2005).
        """
        found: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
        buckets = [np.zeros(0, dtype=np.int64)]
        for start in range(0, SLOTS - width + 1, width):
            crowded = _crowded(self.signatures[rows, start : start + width])
            turned = np.roll(self.signatures[rows[crowded]], -start, axis=1)
            order = np.argsort(turned.view(f"V{turned.itemsize * SLOTS}")[:, 0], kind="stable")
            heads = turned[order, :width]
            begins = np.ones(len(order), dtype=np.int64)
            begins[1:] = (heads[1:] != heads[:-1]).any(axis=1)
            found.append(crowded[order])
            buckets.append(np.cumsum(begins) + buckets[-1].max(initial=0))
        return np.concatenate(found), np.concatenate(buckets)

    def _similar(self, pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Whether each pair (P, 2) reaches the threshold: by signatures with a wide margin, then exactly."""
        similar = np.zeros(len(pairs), dtype=bool)
        margin = 4 * np.sqrt(threshold * (1 - threshold) / SLOTS)
        for start in range(0, len(pairs), _PAIRS):
            left, right = self.signatures[pairs[start : start + _PAIRS].T]
            similar[start : start + _PAIRS] = (left == right).mean(axis=1) >= threshold - margin
        likely = np.flatnonzero(similar)
        for block in blocks(self.lengths[pairs[likely]].sum(axis=1), _CHARACTERS):
            similar[likely[block]] = self._exactly(pairs[likely[block]], threshold)
        return similar

    def _exactly(self, pairs: NDArray[np.int64], threshold: float) -> NDArray[np.bool_]:
        """Whether the Jaccard similarity of each pair (P, 2) reaches the threshold."""
        rows, places = np.unique(pairs, return_inverse=True)
        sets = shingle_sets([self.texts[row] for row in rows])
        sizes = np.diff(sets.indptr)
        left, right = places.reshape(-1, 2).T
        shared = np.diff(sets[left].multiply(sets[right]).indptr)
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


def _distinct(left: NDArray[np.int64], right: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The pairs (P, 2) that are not of one component yet, each once."""
    apart = labels[left] != labels[right]
    left, right = left[apart], right[apart]
    numbers = np.unique(np.minimum(left, right) * len(labels) + np.maximum(left, right))
    return np.stack(np.divmod(numbers, max(len(labels), 1)), axis=1)
