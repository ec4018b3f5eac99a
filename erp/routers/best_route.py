"""BEST-Route: how likely the best of several answers of a member does as well as one of the dearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import masked_mean
from erp.routers.mlp import Trunk, require_trunk


class BestRoute(Router):
    """Binary cross-entropy with ``P(best of j answers of m >= one of the reference - t)``, j = 1 to n (2506.22716).

    A head for every arm: a member and how many answers of it are asked for. The reference is the member that costs the
    most on train. A label is the exact share of pairs of j samples of m, none twice, and a sample of the reference;
    there it is a mean over ten draws with replacement, which count one answer several times. All rewards are the run's
    reward model's, who also picks the best answer; there a small one that imitates it does.

    Scores are the probabilities of a single answer, and 1 for the reference, which does as well as itself, so that
    lambda sweeps as in ``hybrid_llm``. ``policy=best_route`` reads those of every arm. Theirs fine-tunes an encoder;
    here the heads stand on the embedding, or on one with ``backbone.finetune=true``.

    Args:
        n: answers of one member that are asked for at most; every cell needs so many samples.
        slack: t, in reward units.
        hidden: units of each hidden layer; empty for linear heads.
        dropout: in training, after every hidden layer.

    Raises:
        ErpError: on n below 2, a slack that is no number of 0 or more, a size below 1, or a dropout outside [0, 1).
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False
    reads_samples = True
    reference: Tensor

    def __init__(self, n: int = 5, slack: float = 0.0, hidden: Sequence[int] = (256,), dropout: float = 0.2) -> None:
        super().__init__()
        if n < 2:
            raise ErpError(f"router.n = {n}: give 2 or more; with one answer of each member it is router=hybrid_llm")
        if not 0 <= slack < float("inf"):
            raise ErpError(f"router.slack = {slack}: give 0 or more")
        require_trunk(hidden, dropout)
        self.n, self.slack, self.hidden, self.dropout = n, slack, tuple(hidden), dropout
        self.samples_needed = n

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.register_buffer("reference", torch.zeros(dimensions.members, dtype=torch.bool))
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, dimensions.members * self.n)

    def begin(self, train: Iterable[Batch]) -> None:
        """See which member costs the most."""
        cost = torch.stack([batch.costs.double().sum(dim=0).cpu() for batch in train]).sum(dim=0)
        self.reference.copy_(torch.arange(len(cost)) == cost.argmax())

    def matches(self, features: Features) -> Tensor:
        """Probability that the best of 1 to n answers does as well as the reference's one, (B, M, n) float64."""
        chance = torch.sigmoid(self._logits(features).double())
        return torch.where(self.reference[:, None], 1.0, chance)

    def scores(self, features: Features) -> Tensor:
        """The same of one answer, (B, M) float64."""
        return self.matches(features)[..., 0]

    def target(self, batch: Batch) -> Tensor:
        """The label of each arm, (B, M, n) float64; NaN without j samples of the member and one of the reference."""
        assert batch.samples is not None  # what `reads_samples` asks for
        samples = batch.samples
        bar = samples[:, self.reference] - self.slack  # (B, 1, K)
        matched = (samples[..., None] >= bar[:, :, None, :]).double().sum(dim=3)
        known = (~torch.isnan(bar)).sum(dim=2, keepdim=True)
        return expected_best(torch.where(torch.isnan(samples) | (known == 0), torch.nan, matched / known), self.n)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the arms that have a label, the reference's left out, a scalar."""
        target = self.target(batch)
        told = ~torch.isnan(target) & ~self.reference[:, None]
        logits = self._logits(batch.features)
        wanted = torch.nan_to_num(target).to(logits.dtype)
        return masked_mean(binary_cross_entropy_with_logits(logits, wanted, reduction="none"), told)

    def _logits(self, features: Features) -> Tensor:
        """(B, M, n)."""
        logits: Tensor = self.trunk(features.embedding)
        return logits.reshape(len(logits), -1, self.n)


def expected_best(values: Tensor, n: int) -> Tensor:
    """Expected maximum of j of the values that are there, none drawn twice, for j = 1 to n: (..., n) float64.

    Args:
        values: (..., K), NaN where there is none; NaN comes out where there are fewer than j.
        n: the most that are drawn.
    """
    there = ~torch.isnan(values)
    count = there.sum(dim=-1)[..., None, None]
    ordered = torch.where(there, values, torch.inf).sort(dim=-1).values.nan_to_num(posinf=0.0)[..., None]
    place = torch.arange(values.shape[-1], device=values.device)[:, None]
    drawn = torch.arange(1, n + 1, device=values.device)
    # The k-th smallest of K, from 0, is the maximum of j in C(k, j - 1) of C(K, j) draws.
    share = torch.exp(_log_combinations(place, drawn - 1) - _log_combinations(count, drawn))  # (..., K, n)
    mean = torch.where(place < count, share * ordered, 0.0).sum(dim=-2)
    return torch.where(count[..., 0, :] >= drawn, mean, torch.nan)


def _log_combinations(of: Tensor, drawn: Tensor) -> Tensor:
    """Logarithm of the binomial coefficient; minus infinity where there are fewer."""
    return torch.lgamma(of + 1.0) - torch.lgamma(drawn + 1.0) - torch.lgamma(of - drawn + 1.0)
