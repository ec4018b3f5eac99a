"""k nearest neighbours: the mean reward of the most similar train prompts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import ArithmeticRouter, Batch, Features, array_of, arrays_of
from erp.routers.neighbours import COLUMNS, JUDGED, Index, Neighbours, in_blocks


class KNN(ArithmeticRouter):
    """Mean reward of the k train prompts of largest cosine (2505.12601), each counted once or by exp(cosine / tau).

    A missing cell does not count; a member that none of the k neighbours has falls back to its train mean. Of train
    prompts that are equally near, those come first whose embedding and rewards have the smaller hash: neither their
    place in the table nor the value of a reward decides which of them are the k.

    Beyond ``exact_up_to`` train prompts faiss (the extra `ann`) finds most of the k by an inverted file, which looks
    into as many of its cells as it takes to find 95% of the exact ones of validation prompts; the share is reported.

    Args:
        k: neighbours; None for the best of ``ks`` by squared error on validation.
        ks: candidates for k; those above the number of train prompts are taken as that number.
        temperature: tau of the neighbours' weights; None for equal weights.
        temperatures: candidates for tau, None among them for equal weights; the best pair of k and tau by squared error
            on validation. Empty for ``temperature`` alone.
        exact_up_to: train prompts; to search all of n takes time in proportion to n x prompts.
    """

    arithmetic = Neighbours
    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    embedding: Tensor
    rewards: Tensor
    means: Tensor
    twin: Tensor
    index: Tensor | None
    probes: Tensor | None
    recall: Tensor | None
    neighbours: Tensor
    temperature: Tensor  # infinite: equal weights

    def __init__(
        self,
        k: int | None = None,
        ks: Sequence[int] = (5, 10, 20, 50, 100, 200, 512),
        temperature: float | None = None,
        temperatures: Sequence[float | None] = (),
        exact_up_to: int = 200_000,
    ) -> None:
        super().__init__()
        if k is not None and k < 1:
            raise ErpError(f"router.k = {k}: give 1 or more, or null for the best of router.ks")
        if k is None and (len(ks) == 0 or min(ks) < 1):
            raise ErpError(f"router.ks = {list(ks)}: give one or more numbers, each 1 or more")
        if temperature is not None and not 0 < temperature < math.inf:
            raise ErpError(f"router.temperature = {temperature}: give a number above 0, or null for equal weights")
        if any(tau is not None and not 0 < tau < math.inf for tau in temperatures):
            raise ErpError(f"router.temperatures = {list(temperatures)}: give numbers above 0, or null among them")
        if temperature is not None and len(temperatures) > 0:
            raise ErpError(f"router.temperature = {temperature}: router.temperatures is given too; give one of the two")
        if exact_up_to < 1:
            raise ErpError(f"router.exact_up_to = {exact_up_to}: give 1 or more")
        self.exact_up_to = exact_up_to
        self.ks = sorted({k} if k is not None else set(ks))
        self.temperatures = list(dict.fromkeys(temperatures or [temperature]))
        self.register_buffer("embedding", torch.empty(0, 0))
        self.register_buffer("rewards", torch.empty(0, 0, dtype=torch.float64))
        # (n,) first train prompt, in a block, of the same embedding: products of equal rows can differ in the last bit
        self.register_buffer("twin", torch.empty(0, dtype=torch.int64))
        self.register_buffer("index", None)  # (bytes,) of faiss, in place of the embeddings
        self.register_buffer("probes", None)
        self.register_buffer("recall", None)
        self._opened: tuple[Tensor, Index] | None = None
        self.register_buffer("means", torch.empty(0, dtype=torch.float64))
        self.register_buffer("neighbours", torch.tensor(0))
        self.register_buffer("temperature", torch.tensor(math.inf, dtype=torch.float64))

    def kept(self) -> Neighbours:
        """As numpy has it; an index is opened once."""
        arrays = arrays_of(self)
        if self.index is None:
            return Neighbours(**arrays)
        if self._opened is None or self._opened[0] is not self.index:
            self._opened = self.index, Index.opened(arrays["index"], int(arrays["probes"]))
        return Neighbours(**arrays, opened=self._opened[1])

    def neighbour_rewards(self, features: Features) -> Tensor:
        """Rewards of the k nearest train prompts, nearest first, (B, k, M) float64; NaN where a cell is missing.

        k is the number that ``scores`` uses.
        """
        return torch.from_numpy(self.kept().rewards_near(array_of(features.embedding)))

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Keep the train prompts; choose k and the temperature on validation."""
        features, rewards = scored_prompts(train)
        order = by_content(features.embedding, rewards)
        self.embedding, self.rewards = features.embedding[order], rewards[order]
        self.twin = first_equal_in_blocks(self.embedding)
        del features
        self.means = torch.nan_to_num(torch.nanmean(self.rewards, dim=0))
        ks = sorted({min(k, len(self.embedding)) for k in self.ks})
        if len(self.embedding) > self.exact_up_to:
            self._approximate(validation, ks[-1])
        temperatures = [math.inf if tau is None else tau for tau in self.temperatures]
        errors, kept = np.zeros((len(temperatures), len(ks))), self.kept()
        for batch in validation if errors.size > 1 else ():
            embedding, observed = batch.features.embedding.numpy(), batch.rewards.numpy()
            errors += kept.squared_errors(embedding, observed, ks, temperatures)
        t, i = divmod(int(errors.argmin()), len(ks))
        self.neighbours = torch.tensor(ks[i])
        self.temperature = torch.tensor(temperatures[t], dtype=torch.float64)

    def chosen(self) -> dict[str, Any]:
        """The k that validation chose, the temperature unless the weights are equal, the recall of an index."""
        told = {"k": self.neighbours, "temperature": self.temperature, "recall": self.recall}
        return {name: float(value) for name, value in told.items() if value is not None and value.isfinite()}

    def _approximate(self, validation: Iterable[Batch], k: int) -> None:
        """Put the train prompts into an index, in place of their embeddings; its recall is measured on validation."""
        vectors = self.embedding.numpy()
        queries = np.concatenate([*(batch.features.embedding.numpy() for batch in validation), vectors[:1]])
        queries = queries[:: max(1, len(queries) // JUDGED)]
        exact = np.concatenate([self.kept().nearest(block, k, False)[1] for block in in_blocks(queries)])
        opened, recall = Index.of(vectors, queries, exact)
        self.index, self.probes = torch.from_numpy(opened.saved()), torch.tensor(opened.probes)
        self._opened = self.index, opened
        self.recall = torch.tensor(recall, dtype=torch.float64)
        self.embedding, self.twin = self.embedding[:0], self.twin[:0]


def by_content(embedding: Tensor, rewards: Tensor) -> Tensor:
    """(n,) order of prompts by the hash of their embeddings (n, d) and of their rewards' (n, M) places among all.

    Places, not rewards: in other units the order is the same.
    """
    from scipy.stats import rankdata  # here: slow to import, and needed to fit only

    parts = zip(embedding.numpy(), rankdata(rewards.numpy(), "min", axis=0, nan_policy="omit"), strict=True)
    digests = [hashlib.sha256(row.tobytes() + cells.tobytes()).digest() for row, cells in parts]
    return torch.tensor(sorted(range(len(digests)), key=digests.__getitem__), dtype=torch.int64)


def first_equal_in_blocks(embedding: Tensor) -> Tensor:
    """(n,) position of the first row that is equal to each row of (n, d), within blocks of ``COLUMNS`` rows."""
    blocks = torch.split(embedding, COLUMNS)
    return torch.cat([first_equal(block) + COLUMNS * i for i, block in enumerate(blocks)])


def as_values(embedding: Tensor) -> NDArray[np.void]:
    """Rows of (n, d) as one value each (n,), which are compared by their bytes."""
    rows = np.ascontiguousarray(embedding.numpy())
    return rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()


def first_equal(embedding: Tensor) -> Tensor:
    """(n,) position of the first row that is equal to each row of (n, d)."""
    _, first, code = np.unique(as_values(embedding), return_index=True, return_inverse=True)
    return torch.from_numpy(first[code])


def scored_prompts(batches: Iterable[Batch], most: int | None = None) -> tuple[Features, Tensor]:
    """Prompts that have a reward, in memory: a prompt without any is nobody's neighbour.

    Args:
        batches: of train.
        most: of more, about so many are taken: those whose embeddings have the smallest hashes, whatever the table's
            order; the batches are then read twice. None: all.

    Returns:
        features of the n prompts, and their rewards (n, M), NaN where missing.

    Raises:
        ErpError: there is none.
    """
    share = 1.0 if most is None else most / max(sum(int(_scored(batch).sum()) for batch in batches), 1)
    parts = []
    for batch in batches:
        taken = _scored(batch)
        if share < 1:
            taken[taken.clone()] = _hashed(batch.features.embedding[taken]) < share
        parts.append((batch.features.embedding[taken], batch.features.category[taken], batch.rewards[taken]))
    if not any(len(rewards) for _, _, rewards in parts):
        if share < 1:  # few different embeddings, and none of a small hash
            return scored_prompts(batches)
        raise ErpError("split: no prompt with a reward is left to train on; lower split.test or split.validation")
    embedding, category, rewards = (torch.cat(column) for column in zip(*parts, strict=True))
    return Features(embedding, category), rewards


def _scored(batch: Batch) -> Tensor:
    """(B,) whether a prompt has a reward."""
    return ~torch.isnan(batch.rewards).all(dim=1)


def _hashed(embedding: Tensor) -> Tensor:
    """A number in [0, 1) for each row of (n, d), of its content alone, (n,) float64."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=6).digest() for row in embedding.numpy()]
    return torch.tensor([int.from_bytes(digest, "big") / 2.0**48 for digest in digests], dtype=torch.float64)
