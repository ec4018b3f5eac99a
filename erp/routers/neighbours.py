"""The nearest of many vectors by cosine: exactly, in blocks, or by an index of faiss."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erp.errors import ErpError

COLUMNS = 65_536  # train prompts compared at once: bounds the similarities at queries x that many
TIES = 64  # rows of them in which ties are counted out at once
RECALL = 0.95  # of the exact neighbours that an index has to find
JUDGED = 500  # prompts on which that is measured
_LEARNT = 50  # vectors for each cell of the index, from which its centre is learnt


def nearest(queries: Tensor, vectors: Tensor, twin: Tensor, k: int, weighted: bool) -> tuple[Tensor, Tensor]:
    """Cosines and positions of the k nearest vectors, nearest first, (B, k) each; the first of those equally near.

    float32 orders neighbours well enough; weights are made from cosines of float64.

    Args:
        queries: (B, d).
        vectors: (n, d).
        twin: (n,) first position of an equal vector in the same block of ``COLUMNS``: `first_equal_in_blocks`.
        k: at most n.
        weighted: whether the cosines are to be float64.
    """
    found: tuple[Tensor, Tensor] | None = None
    for start in range(0, len(vectors), COLUMNS):
        block = slice(start, start + COLUMNS)
        cosine, position = _nearest_in(queries, vectors[block], (twin[block] - start).clamp(min=0), k, weighted)
        position = position + start
        if found is not None:
            cosine, order = torch.cat([found[0], cosine], dim=1).sort(dim=1, descending=True, stable=True)
            position = torch.cat([found[1], position], dim=1).gather(1, order)
        found = cosine[:, :k], position[:, :k]
    assert found is not None
    return found


def _nearest_in(queries: Tensor, vectors: Tensor, twin: Tensor, k: int, weighted: bool) -> tuple[Tensor, Tensor]:
    """Of one block; all of it where it has fewer than k."""
    k, dtype = min(k, len(vectors)), torch.float64 if weighted else vectors.dtype
    every = queries.to(dtype) @ vectors.to(dtype).T
    if (twin != torch.arange(len(twin))).any():
        every = every[:, twin]
    cosine, position = torch.topk(every, min(k + 1, len(vectors)), dim=1)
    least, position = cosine[:, k - 1 : k], position[:, :k]
    tied = (cosine[:, k:] == least).any(dim=1).nonzero()[:, 0]  # more are as near as the last
    for rows in torch.split(tied, TIES):
        above, level = every[rows] > least[rows], every[rows] == least[rows]
        room = k - above.sum(dim=1, keepdim=True)
        kept = above | (level & (level.cumsum(dim=1) <= room))
        position[rows] = kept.nonzero()[:, 1].view(len(rows), k)
    position = position.sort(dim=1).values
    cosine, order = every.gather(1, position).sort(dim=1, descending=True, stable=True)
    return cosine, position.gather(1, order)


class Index:
    """An inverted file of faiss: only vectors in the cells around a query are compared, in 16 bits.

    Args:
        index: of faiss.
        probes: how many cells are looked into.
    """

    def __init__(self, index: Any, probes: int) -> None:
        self._index, self.probes = index, probes

    @classmethod
    def of(cls, vectors: Tensor, queries: Tensor, exact: Tensor) -> tuple[Index, float]:
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
        index.train(vectors.numpy())
        for block in torch.split(vectors, COLUMNS):
            index.add(block.numpy())
        found, recall = cls(index, 4), 0.0
        while recall < RECALL and found.probes < cells:
            found = cls(index, min(2 * found.probes, cells))
            recall = recall_of(found.nearest(queries, exact.shape[1])[1], exact)
        return found, recall

    def nearest(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines and positions of the nearest vectors that are found, nearest first, (B, k) each; k at most n."""
        wanted = np.ascontiguousarray(queries.numpy(), dtype=np.float32)
        cosine, position = self._searched(wanted, k, self.probes)
        few = (position < 0).any(axis=1)
        if few.any():  # the cells around do not hold k
            cosine[few], position[few] = self._searched(wanted[few], k, self._index.nlist)
        return torch.from_numpy(cosine), torch.from_numpy(position)

    def _searched(self, queries: Any, k: int, probes: int) -> Any:
        return self._index.search(queries, k, params=_faiss().SearchParametersIVF(nprobe=probes))

    def saved(self) -> Tensor:
        """The index as bytes, (n,) uint8."""
        return torch.from_numpy(_faiss().serialize_index(self._index))

    @classmethod
    def opened(cls, content: Tensor, probes: int) -> Index:
        """Out of what `saved` gave. Raises ErpError where faiss is not installed."""
        return cls(_faiss().deserialize_index(content.numpy()), probes)


def recall_of(found: Tensor, exact: Tensor) -> float:
    """Share of the exact neighbours, (Q, k), that are among those found, (Q, k)."""
    both = torch.cat([found, exact], dim=1).sort(dim=1).values
    return float((both[:, 1:] == both[:, :-1]).sum() / max(exact.numel(), 1))


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
