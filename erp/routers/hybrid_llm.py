"""Hybrid LLM: between a small member and a large one, how likely the small one does as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import masked_mean
from erp.routers.mlp import Trunk, require_choice, require_trunk

LABELS = ("det", "prob", "trans")
SLACKS = 50  # values of t that are tried: quantiles of the gaps
MOST_GAPS = 1_000_000  # of which those are taken


class HybridLLM(Router):
    """Binary cross-entropy with ``P(r_small >= r_large - t)``, two members (2404.14618).

    Labels: ``det``, of mean rewards, 0 or 1, t = 0; ``prob``, the share of pairs of samples, t = 0; ``trans``, the same
    with the t that sets the labels of train most apart, the largest mean of |y_i - y_j|: a large member that is nearly
    always better leaves labels of 0, which teach nothing. The small member is the one that costs less on train.

    Scores are the probability for the small member and 1 for the large one, which does as well as itself. At lambda = 0
    the large one answers, and as lambda grows the threshold that the small one has to pass falls from 1 to 0: the
    paper's sweep. Theirs fine-tunes an encoder; here the head stands on the embedding, or on one with
    ``backbone.finetune=true``.

    Args:
        label: ``det``, ``prob`` or ``trans``; with one sample a cell the first two are the same.
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.

    Raises:
        ErpError: on another label, a size below 1, or a dropout outside [0, 1).
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False
    reads_samples = True
    decides_between_two = True
    large: Tensor
    slack: Tensor

    def __init__(
        self, label: Literal["det", "prob", "trans"] = "trans", hidden: Sequence[int] = (256,), dropout: float = 0.2
    ) -> None:
        super().__init__()
        require_choice("label", label, LABELS)
        require_trunk(hidden, dropout)
        self.label, self.hidden, self.dropout = label, tuple(hidden), dropout
        self.register_buffer("large", torch.tensor([False, True]))  # which member is
        self.register_buffer("slack", torch.zeros((), dtype=torch.float64))  # t

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, 1)

    def begin(self, train: Iterable[Batch]) -> None:
        """See which member costs less, and how much slack parts the labels most."""
        small, large = torch.stack([batch.costs.double().sum(dim=0).cpu() for batch in train]).sum(dim=0)
        self.large.copy_(torch.tensor([bool(small > large), bool(small <= large)]))
        if self.label != "trans":
            return
        gaps = torch.cat([self._gaps(batch).flatten(1) for batch in train])
        known = gaps[~gaps.isnan()]
        if not len(known):
            return
        known = known[:: 1 + len(known) // MOST_GAPS]
        slacks = torch.quantile(known.clamp(min=0), torch.linspace(0, 1, SLACKS, dtype=known.dtype)).tolist()
        best = max(slacks, key=lambda t: _mean_distance(_share_within(gaps, t)))
        self.slack.copy_(torch.tensor(best, dtype=torch.float64))

    def scores(self, features: Features) -> Tensor:
        """The probability that the small member does as well, and 1 for the large one, (B, 2) float64."""
        chance = torch.sigmoid(self.trunk(features.embedding).double())
        return torch.where(self.large, 1.0, chance)

    def target(self, batch: Batch) -> Tensor:
        """The label of each prompt, (B,) float64; NaN without a reward of both members."""
        if self.label == "det":
            small, large = self._both(batch.rewards)
            return torch.where(torch.isnan(large - small), torch.nan, (small >= large).double())
        return _share_within(self._gaps(batch).flatten(1), self.slack)

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the prompts that have a reward of both, a scalar."""
        target = self.target(batch)
        logit = self.trunk(batch.features.embedding)[:, 0]
        told = torch.nan_to_num(target).to(logit.dtype)
        return masked_mean(binary_cross_entropy_with_logits(logit, told, reduction="none"), ~target.isnan())

    def chosen(self) -> dict[str, Any]:
        """The slack t that train chose, in reward units."""
        return {"t": float(self.slack)} if self.label == "trans" else {}

    def _both(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the small member and of the large one, (B, ...) each, of (B, 2, ...)."""
        return (values[:, 1], values[:, 0]) if self.large[0] else (values[:, 0], values[:, 1])

    def _gaps(self, batch: Batch) -> Tensor:
        """By how much each response of the large member beats each of the small one, (B, K, K), NaN where missing."""
        assert batch.samples is not None  # what `reads_samples` asks for
        small, large = self._both(batch.samples)
        return large[:, None, :] - small[:, :, None]


def _share_within(gaps: Tensor, slack: Tensor | float) -> Tensor:
    """Share of the gaps that are there, (B, n), that are at most ``slack``; (B,) float64, NaN without any."""
    there = ~torch.isnan(gaps)
    count = there.sum(dim=1)
    share = (gaps <= slack).sum(dim=1).double() / count.clamp(min=1)
    return torch.where(count > 0, share, torch.nan)


def _mean_distance(labels: Tensor) -> float:
    """Mean of |y_i - y_j| over all pairs, from the sorted labels; those that are NaN left out."""
    ordered = labels[~labels.isnan()].sort().values
    n = len(ordered)
    rank = 2 * torch.arange(n, dtype=ordered.dtype) - n + 1
    return float(2 * (rank * ordered).sum() / max(n * n, 1))
