"""Prompt-to-leaderboard: Bradley-Terry strengths as a function of the prompt, with ties."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_mean
from erp.routers.mlp import Trunk, require_trunk

LEAST = 1e-6  # probability of what happened, as in the published code: its logarithm stays finite


class P2L(Router):
    """Per-prompt strengths beta(x) under the grounded Rao-Kupper law (P2L, 2502.14855).

    With pi_m = exp beta_m(x) and theta = 1 + exp eta(x), of two members that have a reward of the prompt

        P(i beats j) = pi_i / (pi_i + theta pi_j + 1),    P(both bad) = 1 / (1 + pi_i + pi_j),

    and a tie is what is left. The 1 grounds the strengths: a member as strong as it is hardly worth asking. People vote
    "both bad"; in a reward table a tie is bad where the common reward is below the mean of train. Ours: a head on the
    embedding, not a language model that is trained along; scores, beta, are ordinal.

    Args:
        hidden: units of each hidden layer; empty for the linear head that is published.
        dropout: in training, after every hidden layer.
        margin: rewards that differ by no more are a tie, in standard deviations between the members of a prompt.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), or a negative margin.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    learns_games = True
    closed_form = False
    level: Tensor

    def __init__(self, hidden: Sequence[int] = (), dropout: float = 0.0, margin: float = 0.0) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        if not 0 <= margin < float("inf"):
            raise ErpError(f"router.margin = {margin}: give 0 or more")
        self.hidden, self.dropout, self.margin = tuple(hidden), dropout, margin

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the heads of the strengths and of eta."""
        self.units = RewardUnits(dimensions.members)
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, dimensions.members)
        self.ties = Trunk(dimensions.embedding, (), 0.0, 1)
        self.register_buffer("level", torch.zeros((), dtype=torch.float64))  # mean of all train rewards

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)
        cells = [b.rewards[~b.rewards.isnan()] for b in train]
        if any(map(len, cells)):
            self.level.copy_(torch.cat(cells).mean())

    def scores(self, features: Features) -> Tensor:
        """Strengths beta, (B, M) float64."""
        strengths: Tensor = self.trunk(features.embedding)
        return strengths.double()

    def loss(self, batch: Batch) -> Tensor:
        """Mean negative log likelihood over the pairs of members that have a reward of one prompt, a scalar."""
        members = batch.rewards.shape[1]
        i, j = torch.triu_indices(members, members, 1, device=batch.rewards.device)
        gap, both = batch.rewards[:, i] - batch.rewards[:, j], (batch.rewards[:, i] + batch.rewards[:, j]) / 2
        tie = gap.abs() <= self.margin * self.units.within
        better = torch.where(gap > 0, 0, 1)
        outcome = torch.where(tie, torch.where(both < self.level, 3, 2), better)  # a comparison with NaN is false
        beta, eta = self.trunk(batch.features.embedding), self.ties(batch.features.embedding)
        chances = outcome_chances(beta[:, i], beta[:, j], eta)
        happened = chances.gather(0, outcome[None])[0].clamp(min=LEAST)
        return masked_mean(-happened.log(), ~gap.isnan())


def outcome_chances(first: Tensor, second: Tensor, eta: Tensor) -> Tensor:
    """Probabilities that the first wins, the second wins, a tie, a tie of two bad ones, (4, B, P), of sum 1.

    Args:
        first: strengths (B, P).
        second: those of the others.
        eta: (B, 1) what makes ties likely: theta = 1 + exp eta.
    """
    log_theta = softplus(eta)
    zero = torch.zeros_like(first)

    def share(of: Tensor, *beside: Tensor) -> Tensor:
        return torch.exp(of - torch.logsumexp(torch.stack([of, *beside]), dim=0))

    wins, loses = share(first, second + log_theta, zero), share(second, first + log_theta, zero)
    bad = share(zero, first, second)
    return torch.stack([wins, loses, 1 - wins - loses - bad, bad])
