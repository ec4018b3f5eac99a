"""Ridge with one penalty for each block of the features: what tells nothing is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from erp.errors import ErpError
from erp.routers.arithmetic import Array
from erp.routers.base import Batch, Features, Router
from erp.routers.ridge import Moments, gather

RELATIVE = 10.0 ** np.arange(-3, 5)  # penalties that are tried, times the mean eigenvalue of a block's Gram matrix
FINER = 10.0 ** np.array([-0.5, 0.5])  # about what was found, last
_ROUNDS = 8  # over all blocks at most; as a rule nothing gets better after three


class BlockRidge(Router):
    """Banded ridge (Nunez-Elizalde, Huth and Gallant 2019): ``argmin |R - sum_b E_b W_b|^2 + sum_b a_b |W_b|^2``.

    Blocks are those of the backbone: the parts of a joined one, what an ``llm_probe`` tells, indicators of categories.
    Penalties are those of least squared error on validation, pooled over members, found by coordinate descent from the
    best of the ridge on all blocks and of those on each alone; infinity, which leaves the block out, is among them. A
    penalty for each block is a scale of it, ``1 / sqrt(a_b)``: every step solves the same second moments, gathered
    once, in float64. With one block it is the ridge.

    Args:
        leave_out: whether blocks may be left out altogether.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = True
    reads_blocks = True
    weight: Tensor
    intercept: Tensor
    penalties: Tensor
    names: Tensor

    def __init__(self, leave_out: bool = True) -> None:
        super().__init__()
        self.leave_out = leave_out
        self._blocks: dict[str, int] = {}
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (d, M)
        self.register_buffer("intercept", torch.empty(0, dtype=torch.float64))  # (M,)
        self.register_buffer("penalties", torch.empty(0, dtype=torch.float64))  # of each block; infinite: left out
        self.register_buffer("names", torch.empty(0, dtype=torch.uint8))  # of the blocks, UTF-8, a line each

    def divide(self, blocks: Mapping[str, int]) -> None:
        """Hear the blocks."""
        self._blocks = dict(blocks)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return features.embedding.to(self.weight.dtype) @ self.weight + self.intercept

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Choose the penalties on validation, which train's second moments then turn into weights."""
        moments = gather(train)
        if moments is None:
            raise ErpError("split: no prompt is left to train on; lower split.test or split.validation")
        width = len(moments.products) - 1
        blocks = self._blocks or {"all": width}
        if sum(blocks.values()) != width:
            raise ErpError(f"router = block_ridge: blocks {blocks} are not the {width} numbers of an embedding")
        search = _Search(moments, gather(validation), list(blocks.values()), self.leave_out)
        found = search.run()
        solved = search.solved(found)
        self.weight, self.intercept = torch.from_numpy(solved[:-1].copy()), torch.from_numpy(solved[-1].copy())
        self.penalties = torch.from_numpy(found)
        self.names = torch.frombuffer(bytearray("\n".join(blocks).encode()), dtype=torch.uint8)

    def chosen(self) -> dict[str, float | str]:
        """The penalty that validation chose for each block."""
        names = bytes(self.names.tolist()).decode().split("\n")
        return {
            f"penalty of {name}": penalty if np.isfinite(penalty) else "left out"
            for name, penalty in zip(names, self.penalties.tolist(), strict=True)
        }


class _Search:
    """Coordinate descent over the penalties of blocks.

    Args:
        moments: of train.
        held_out: of validation; None: the start stays.
        widths: of the blocks.
        leave_out: whether infinity is among the penalties.
    """

    def __init__(self, moments: Moments, held_out: Moments | None, widths: Sequence[int], leave_out: bool) -> None:
        self.moments, self.held_out, self.leave_out = moments, held_out, leave_out
        self.systems = moments.systems()
        self.widths = np.asarray(widths)
        edges = np.concatenate([[0], np.cumsum(self.widths)])
        traces = [np.diagonal(one.gram) for one in self.systems]
        means = [np.mean([trace[a:b].mean() for trace in traces]) if b > a else 0.0 for a, b in pairwise(edges)]
        self.unit: Array = np.maximum(means, 1e-12)  # mean eigenvalue of each block's Gram matrix

    def run(self) -> Array:
        """Penalties of the blocks, (blocks,)."""
        together: list[Array] = [self.unit * relative for relative in RELATIVE]
        alone = [np.where(np.arange(len(self.unit)) == block, penalties, np.inf)
                 for block in range(len(self.unit)) for penalties in together]  # fmt: skip
        starts: list[Array] = [*together, *(alone if self.leave_out else [])]
        if self.held_out is None:
            return together[len(together) // 2]
        errors = [self._error(start) for start in starts]
        best, least = starts[int(np.argmin(errors))], min(errors)
        for _ in range(_ROUNDS):
            before = least
            best, least = self._round(best, least, self.unit[:, None] * RELATIVE)
            if least == before:
                break
        best, _ = self._round(best, least, np.outer(best, FINER))
        return best

    def _round(self, best: Array, least: float, tried: Array) -> tuple[Array, float]:
        """Try penalties (blocks, n) of one block after the other, and to leave it out."""
        for block, penalties in enumerate(tried):
            for penalty in [*penalties, *([np.inf] if self.leave_out else [])]:
                other = best.copy()
                other[block] = penalty
                if penalty != best[block] and (error := self._error(other)) < least:
                    best, least = other, error
        return best, least

    def _error(self, penalties: Array) -> float:
        """Sum of squared errors on validation."""
        assert self.held_out is not None
        return float(self.held_out.squared_errors(self.solved(penalties)[None])[0])

    def solved(self, penalties: Array) -> Array:
        """Weights and, in the last row, intercepts of all members, (d + 1, M)."""
        diagonal = np.repeat(penalties, self.widths)
        kept = np.flatnonzero(np.isfinite(diagonal))
        found = np.zeros((len(diagonal) + 1, sum(len(one.members) for one in self.systems)))
        for one in self.systems:
            weights = np.linalg.solve(one.gram[np.ix_(kept, kept)] + np.diag(diagonal[kept]), one.products[kept])
            found[np.ix_(kept, one.members)] = weights
            found[-1, one.members] = one.mean_reward - one.center[kept] @ weights
        return found
