"""The nearest of many vectors by cosine, exactly, in blocks, or by an index of faiss; and what is read off them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.routers.arithmetic import Arithmetic, Array, Codes, Vectors

Cosines = NDArray[Any]  # float32, or float64 where weights are made of them

BLOCK = 1024  # query rows at once: bounds the similarity matrix at BLOCK x COLUMNS
COLUMNS = 65_536  # train prompts compared at once: bounds the similarities at queries x that many
ROWS = 64  # of them that are ordered at once
RECALL = 0.95  # of the exact neighbours that an index has to find
JUDGED = 500  # prompts on which that is measured
_LEARNT = 50  # vectors for each cell of the index, from which its centre is learnt


@dataclass(frozen=True, eq=False)
class Neighbours(Arithmetic):
    """Mean rewards of the k nearest train prompts.

    Attributes:
        embedding: (n, d) of train prompts; none where there is an index.
        rewards: (n, M), NaN where missing.
        means: (M,) over all n.
        twin: (n,) first train prompt, in a block, of the same embedding: products of equal rows can differ in the last
            bit.
        neighbours: k.
        temperature: tau of the neighbours' weights; infinite for equal ones.
        index: (bytes,) of faiss, in place of the embeddings.
        probes: how many cells of the index are looked into.
        recall: share of the exact neighbours that it finds.
        opened: the index, ready to be asked.
    """

    embedding: Vectors
    rewards: Array
    means: Array
    twin: Codes
    neighbours: Codes
    temperature: Array
    index: NDArray[np.uint8] | None = None
    probes: Codes | None = None
    recall: Array | None = None
    opened: Index | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """Of arrays by name. Raises ErpError where an index needs faiss, and there is none."""
        index = kept.get("index")
        return cls(**kept, opened=None if index is None else Index.opened(index, int(kept["probes"])))

    def scores(self, embedding: Vectors, category: Codes) -> Array:
        """Predicted expected rewards, (B, M)."""
        del category
        k, tau = int(self.neighbours), float(self.temperature)
        found = (self.nearest(block, k, tau < math.inf) for block in in_blocks(embedding))
        return np.concatenate([self.running_means(*near, [k], tau)[0] for near in found])

    def rewards_near(self, embedding: Vectors) -> Array:
        """Rewards of the k nearest train prompts, nearest first, (B, k, M); NaN where a cell is missing."""
        k, weighted = int(self.neighbours), bool(self.temperature < math.inf)
        return np.concatenate([self.rewards[self.nearest(block, k, weighted)[1]] for block in in_blocks(embedding)])

    def squared_errors(
        self, embedding: Vectors, observed: Array, ks: Sequence[int], temperatures: Sequence[float]
    ) -> Array:
        """Sums over the present cells, (temperatures, ks), of what every pair of ascending ks and taus would predict.

        Args:
            embedding: (B, d).
            observed: (B, M) rewards.
            ks: ascending.
            temperatures: of the weights.
        """
        errors = np.zeros((len(temperatures), len(ks)))
        for block, rewards in zip(in_blocks(embedding), in_blocks(observed), strict=True):
            near = self.nearest(block, ks[-1], min(temperatures) < math.inf)
            for t, temperature in enumerate(temperatures):
                for i, predicted in enumerate(self.running_means(*near, ks, temperature)):
                    errors[t, i] += np.nansum((predicted - rewards) ** 2)
        return errors

    def nearest(self, queries: Vectors, k: int, weighted: bool) -> tuple[Cosines, Codes]:
        """Cosines and positions of the k nearest train prompts, nearest first, (B, k) each."""
        if self.opened is None:
            return nearest(queries, self.embedding, self.twin, k, weighted)
        return self.opened.nearest(queries, k)

    def running_means(self, cosine: Cosines, nearest: Codes, ks: Sequence[int], temperature: float) -> list[Array]:
        """Mean rewards over the first k neighbours of each query, for ascending ks; each (B, M)."""
        total = np.zeros((len(nearest), self.rewards.shape[1]))
        count, weight, largest = (np.zeros_like(total) for _ in range(3))
        means, start = [], 0
        for k in ks:
            rewards = self.rewards[nearest[:, start:k]]
            present = ~np.isnan(rewards)
            if math.isfinite(temperature):
                exponent = np.where(present, (cosine[:, start:k] / temperature)[:, :, None], -math.inf)
                # Relative to the nearest prompt that the member has, which comes first: its weight is 1, so that none
                # overflows and not all underflow.
                largest = np.where(count > 0, largest, exponent.max(axis=1))
                weights = np.exp(exponent - np.where(np.isfinite(largest), largest, 0.0)[:, None])
                total = total + np.nansum(weights * rewards, axis=1)
                weight = weight + weights.sum(axis=1)
            else:
                total = total + np.nansum(rewards, axis=1)
                weight = weight + present.sum(axis=1)
            count = count + present.sum(axis=1)
            means.append(np.where(count > 0, total / np.where(count > 0, weight, 1.0), self.means))
            start = k
        return means


def in_blocks(rows: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows in blocks of at most ``BLOCK``; one, of none, where there are none."""
    return [rows[start : start + BLOCK] for start in range(0, max(len(rows), 1), BLOCK)]


def nearest(queries: Vectors, vectors: Vectors, twin: Codes, k: int, weighted: bool) -> tuple[Cosines, Codes]:
    """Cosines and positions of the k nearest vectors, nearest first, (B, k) each; the first of those equally near.

    float32 orders neighbours well enough; weights are made from cosines of float64.

    Args:
        queries: (B, d).
        vectors: (n, d).
        twin: (n,) first position of an equal vector in the same block of ``COLUMNS``:
            `erp.routers.knn.first_equal_in_blocks`.
        k: at most n.
        weighted: whether the cosines are to be float64.
    """
    found: tuple[Cosines, Codes] | None = None
    for start in range(0, len(vectors), COLUMNS):
        block = slice(start, start + COLUMNS)
        cosine, position = _nearest_in(queries, vectors[block], np.maximum(twin[block] - start, 0), k, weighted)
        position = position + start
        if found is not None:
            cosine, position = _sorted(
                np.concatenate([found[0], cosine], axis=1), np.concatenate([found[1], position], axis=1)
            )
        found = cosine[:, :k], position[:, :k]
    assert found is not None
    return found


def _nearest_in(queries: Vectors, vectors: Vectors, twin: Codes, k: int, weighted: bool) -> tuple[Cosines, Codes]:
    """Of one block; all of it where it has fewer than k."""
    n = len(vectors)
    k, dtype = min(k, n), np.float64 if weighted else vectors.dtype
    every: Cosines = np.matmul(queries.astype(dtype, copy=False), vectors.astype(dtype, copy=False).T)
    if (twin != np.arange(n)).any():
        every = every[:, twin]
    position = np.empty((len(queries), k), dtype=np.int64)
    for start in range(0, len(queries), ROWS):
        rows = every[start : start + ROWS]
        least = np.partition(rows, n - k, axis=1)[:, n - k, None]
        kept = rows >= least
        if (kept.sum(axis=1) > k).any():  # more are as near as the last
            above, level = rows > least, rows == least
            kept = above | (level & (level.cumsum(axis=1) <= k - above.sum(axis=1, keepdims=True)))
        position[start : start + ROWS] = kept.nonzero()[1].reshape(len(rows), k)
    return _sorted(np.take_along_axis(every, position, axis=1), position)


def _sorted(cosine: Cosines, position: Codes) -> tuple[Cosines, Codes]:
    """The largest first; those that are equal stay in their order."""
    order = np.argsort(-cosine, axis=1, kind="stable")
    return np.take_along_axis(cosine, order, axis=1), np.take_along_axis(position, order, axis=1)


class Index:
    """An inverted file of faiss: only vectors in the cells around a query are compared, in 16 bits.

    Args:
        index: of faiss.
        probes: how many cells are looked into.
    """

    def __init__(self, index: Any, probes: int) -> None:
        self._index, self.probes = index, probes

    @classmethod
    def of(cls, vectors: Vectors, queries: Vectors, exact: Codes) -> tuple[Index, float]:
        """An index that looks into as many cells as it takes to find ``RECALL`` of the exact ones, and its recall.

        Args:
            vectors: (n, d).
            queries: (Q, d) on which that is measured.
            exact: (Q, k) positions of their nearest vectors.

        Raises:
            ErpError: faiss is not installed.
        """
        faiss = _faiss()
        cells = max(1, int(2 * len(vectors) ** 0.5))
        index = faiss.index_factory(vectors.shape[1], f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _LEARNT
        index.train(vectors)
        for start in range(0, len(vectors), COLUMNS):
            index.add(vectors[start : start + COLUMNS])
        found, recall = cls(index, 4), 0.0
        while recall < RECALL and found.probes < cells:
            found = cls(index, min(2 * found.probes, cells))
            recall = recall_of(found.nearest(queries, exact.shape[1])[1], exact)
        return found, recall

    def nearest(self, queries: Vectors, k: int) -> tuple[Cosines, Codes]:
        """Cosines and positions of the nearest vectors that are found, nearest first, (B, k) each; k at most n."""
        wanted = np.ascontiguousarray(queries, dtype=np.float32)
        cosine, position = self._searched(wanted, k, self.probes)
        few = (position < 0).any(axis=1)
        if few.any():  # the cells around do not hold k
            cosine[few], position[few] = self._searched(wanted[few], k, self._index.nlist)
        return cosine, position

    def _searched(self, queries: Vectors, k: int, probes: int) -> Any:
        return self._index.search(queries, k, params=_faiss().SearchParametersIVF(nprobe=probes))

    def saved(self) -> NDArray[np.uint8]:
        """The index as bytes, (n,)."""
        return np.asarray(_faiss().serialize_index(self._index))

    @classmethod
    def opened(cls, content: NDArray[np.uint8], probes: int) -> Index:
        """Out of what `saved` gave. Raises ErpError where faiss is not installed."""
        return cls(_faiss().deserialize_index(content), probes)


def recall_of(found: Codes, exact: Codes) -> float:
    """Share of the exact neighbours, (Q, k), that are among those found, (Q, k)."""
    both = np.sort(np.concatenate([found, exact], axis=1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / max(exact.size, 1))


def _faiss() -> ModuleType:
    try:
        import faiss  # of the extra `ann`
    except ModuleNotFoundError:
        raise ErpError(
            "router.exact_up_to: more train prompts than that are searched by an index, which needs the package faiss; "
            "install it (pip install 'erp[ann]'), or raise router.exact_up_to, which takes time in proportion to train "
            "prompts x prompts"
        ) from None
    return faiss
