"""Label classifier by support vectors: a border between the prompts that either of two members is best on."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.errors import ErpError
from erp.routers.base import Batch, Features, Router
from erp.routers.knn import as_values, scored_prompts
from erp.routers.label_classifier import best_labels

Array = NDArray[Any]

MOST_ROWS = 20_000  # prompts it is fitted on: the time grows with their square
BLOCK = 1024  # prompts scored at once: bounds the kernel at that many x support vectors
TOLERANCE = 1e-5  # of the solver; scikit-learn's default leaves decisions a thousandth off


class LabelSVM(Router):
    """A support vector machine of the best member: LLMRouter's SVM router (FusionFactory, 2507.10540).

    Scikit-learn's SVC with its kernel ``exp(-gamma |x - y|^2)``, one machine f_ab for every pair of members, and its
    score: the pairs that a member wins, and between members of as many, how clearly. Scores are ordinal. There the
    first of several best members is the label; here each of them counts by an equal share, as a weight of C. A pair
    learns from the prompts that have a reward of both.

    Args:
        strength: C, the price of a prompt on the wrong side; 1 there.
        gamma: of the kernel; None for 1 / (d * variance of the embeddings' entries), scikit-learn's ``scale``.

    Raises:
        ErpError: on a strength or a gamma that is no number above 0.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = True
    vectors: Tensor
    owner: Tensor
    weight: Tensor
    bias: Tensor
    width: Tensor

    def __init__(self, strength: float = 1.0, gamma: float | None = None) -> None:
        super().__init__()
        if not 0 < strength < math.inf:
            raise ErpError(f"router.strength = {strength}: give a number above 0")
        if gamma is not None and not 0 < gamma < math.inf:
            raise ErpError(f"router.gamma = {gamma}: give a number above 0, or null for one that fits the embeddings")
        self.strength, self.gamma = float(strength), gamma
        self.register_buffer("vectors", torch.empty(0, 0))  # (S, d) of the prompts on or beyond some margin
        self.register_buffer("owner", torch.empty(0, 0, dtype=torch.bool))  # (S, M) whose label the prompt has there
        self.register_buffer("weight", torch.empty(0, 0, dtype=torch.float64))  # (S, M) in the pair with each other one
        self.register_buffer("bias", torch.empty(0, 0, dtype=torch.float64))  # (M, M) of the pairs, antisymmetric
        self.register_buffer("width", torch.tensor(torch.nan, dtype=torch.float64))  # gamma

    def scores(self, features: Features) -> Tensor:
        """Pairs won, and a part below 1/3 for how clearly, (B, M) float64."""
        return torch.cat([self._scored(block.double()) for block in torch.split(features.embedding, BLOCK)])

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve every pair of members; nothing is chosen on validation."""
        del validation
        features, rewards = scored_prompts(train, MOST_ROWS)
        _, code = np.unique(as_values(features.embedding), return_inverse=True)
        order = np.argsort(code, kind="stable")
        embedding, labels = features.embedding[order], _Labels.of(best_labels(rewards).numpy()[order], code[order])
        x, members = embedding.double().numpy(), rewards.shape[1]
        gamma = self.gamma or 1 / ((x.shape[1] * x.var()) or 1.0)
        weight, bias = np.zeros((len(labels.owner), members)), np.zeros((members, members))
        for pair in combinations(range(members), 2):
            (*_, first, rows), (*_, second, others) = sorted(labels.side(*each) for each in (pair, pair[::-1]))
            alpha, above = _solved(x[labels.prompt], labels.share, rows, others, self.strength, gamma)
            weight[rows, second], weight[others, first] = alpha[: len(rows)], alpha[len(rows) :]
            bias[first, second], bias[second, first] = above, -above
        kept = (weight > 0).any(axis=1)
        self.vectors = embedding[labels.prompt[kept]]
        self.owner = torch.from_numpy(labels.owner[kept, None] == np.arange(members))
        self.weight, self.bias = torch.from_numpy(weight[kept]), torch.from_numpy(bias)
        self.width = torch.tensor(gamma, dtype=torch.float64)

    def _scored(self, x: Tensor) -> Tensor:
        """Of one block (B, d) float64."""
        squares = x.square().sum(dim=1, keepdim=True) + self.vectors.double().square().sum(dim=1)
        near = torch.exp(-self.width * (squares - 2 * x @ self.vectors.double().T).clamp(min=0))  # (B, S)
        toward = [near[:, own] @ self.weight[own] for own in self.owner.T]
        side = torch.stack(toward, dim=1)  # (B, M, M): how far a prompt lies on a member's side, against each other one
        clear = side - side.transpose(1, 2) + self.bias
        total = clear.sum(dim=2)
        return (clear > 0).sum(dim=2) + total / (3 * (total.abs() + 1))


@dataclass(frozen=True, eq=False)
class _Labels:
    """Who is best on what, a row for each: several for a prompt on which several are.

    Attributes:
        prompt, owner, share: (R,) position of the prompt, the member, and its share of the label.
        there: (n, M) whether a prompt has the member's reward.
        code: (n,) equal embeddings have equal codes, whatever the table's order.
    """

    prompt: Array
    owner: Array
    share: Array
    there: Array
    code: Array

    @classmethod
    def of(cls, labels: Array, code: Array) -> _Labels:
        """Of `best_labels` (n, M)."""
        prompt, owner = np.nonzero(np.nan_to_num(labels))
        return cls(prompt, owner, labels[prompt, owner], ~np.isnan(labels), code)

    def side(self, member: int, rival: int) -> tuple[list[int], list[float], int, Array]:
        """The member's rows among prompts that both have: their codes and shares, the member, the rows.

        In an order of their content, by which the two sides of a pair can be sorted: neither the order of the table nor
        that of the members then shows in the last bits.
        """
        rows = np.flatnonzero((self.owner == member) & self.there[self.prompt, rival])
        rows = rows[np.lexsort((self.share[rows], self.code[self.prompt[rows]]))]
        return self.code[self.prompt[rows]].tolist(), self.share[rows].tolist(), member, rows


def _solved(x: Array, share: Array, rows: Array, others: Array, strength: float, gamma: float) -> tuple[Array, float]:
    """Weight of each row, then of each of the others, and the intercept of ``f``, above 0 on the side of ``rows``."""
    from sklearn.svm import SVC  # here: slow to import, and needed to fit only

    taken = np.concatenate([rows, others])
    alpha = np.zeros(len(taken))
    if not len(rows) or not len(others):  # who is never best where the other is there never wins
        return alpha, float(len(rows) > 0) - float(len(others) > 0)
    machine = SVC(C=strength, gamma=gamma, tol=TOLERANCE)
    machine.fit(x[taken], np.arange(len(taken)) < len(rows), sample_weight=share[taken])
    alpha[machine.support_] = np.abs(machine.dual_coef_[0])
    return alpha, float(machine.intercept_[0])
