"""What routers that learn by gradient share: errors over present cells, and what is known of scale and noise."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from erp.routers.base import Batch

PRIOR_FREEDOM = 4.0
"""Degrees of freedom that a member's pooled variance counts for beside a cell's own, as in the plus-four rule for
shares: a cell whose samples are all 0 or all 1 has a variance of 0 by accident, not by nature."""


def masked_mean(values: Tensor, present: Tensor, weights: Tensor | None = None) -> Tensor:
    """Weighted mean of the present values, a scalar; 0, on which a gradient can still be taken, where none is.

    Args:
        values: of any shape, finite; what stands where nothing is present does not matter.
        present: bool, same shape.
        weights: same shape, at least 0; None for equal ones.
    """
    weight = present.to(values.dtype)
    if weights is not None:
        weight = torch.where(present, weights.to(values.dtype), 0.0)
    total = weight.sum()
    return (weight * values).sum() / torch.where(total > 0, total, 1.0)


def masked_squared_error(predicted: Tensor, observed: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean squared error over the cells that are present (not NaN in ``observed``), a scalar; 0 where none is."""
    present = ~torch.isnan(observed)
    error = predicted - torch.where(present, observed, 0.0)
    return masked_mean(error.square(), present, weights)


def masked_huber(predicted: Tensor, observed: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean Huber loss over the present cells: quadratic up to an error of 1, linear beyond; 0 where none is."""
    present = ~torch.isnan(observed)
    loss = huber_loss(predicted, torch.where(present, observed, 0.0).to(predicted.dtype), reduction="none")
    return masked_mean(loss, present, weights)


def softmax_target(rewards: Tensor, temperature: Tensor | float) -> Tensor:
    """softmax(rewards / temperature) over the members that are present, (B, M), 0 for the others.

    Args:
        rewards: (B, M), NaN where missing.
        temperature: above 0, in units of the rewards.
    """
    present = ~torch.isnan(rewards)
    return present * torch.softmax(_absent_last(torch.where(present, rewards, 0.0) / temperature, present), dim=1)


def masked_log_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Logarithm of the softmax over the members that are present, (B, M), 0 for the others."""
    return torch.where(present, torch.log_softmax(_absent_last(logits, present), dim=1), 0.0)


def _absent_last(logits: Tensor, present: Tensor) -> Tensor:
    # Finite, not -inf: a row without any present member must not become NaN.
    return torch.where(present, logits, torch.finfo(logits.dtype).min)


def shrunk_variances(variances: Tensor, counts: Tensor, pooled: Tensor) -> Tensor:
    """Variances between a cell's samples, each shrunk toward its member's pooled one, (B, M).

    ``(f pooled + (K - 1) s^2) / (f + K - 1)`` with f = ``PRIOR_FREEDOM``; the pooled one where a cell has none.

    Args:
        variances: (B, M) unbiased, NaN with fewer than two samples.
        counts: (B, M) samples K of each cell.
        pooled: (M,).
    """
    known = ~torch.isnan(variances)
    freedom = torch.where(known, counts - 1, 0).to(pooled.dtype)
    own = torch.where(known, variances, 0.0).to(pooled.dtype)
    return (PRIOR_FREEDOM * pooled + freedom * own) / (PRIOR_FREEDOM + freedom)


def spread_within_prompts(values: Iterable[Tensor]) -> Tensor:
    """Root mean square, over prompts, of the standard deviation between the members of a prompt, a float64 scalar.

    Args:
        values: batches (B, M), NaN where missing; prompts with fewer than two members count for nothing.

    Returns:
        0 where no prompt has two.
    """
    total, prompts = torch.zeros((), dtype=torch.float64), 0
    for batch in values:
        present = ~torch.isnan(batch)
        count = present.sum(dim=1)
        filled = torch.where(present, batch, 0.0).double()
        mean = filled.sum(dim=1, keepdim=True) / count.clamp(min=1)[:, None]
        squares = torch.where(present, filled - mean, 0.0).square().sum(dim=1)
        several = count >= 2
        total = total + (squares[several] / (count[several] - 1)).sum()
        prompts += int(several.sum())
    return (total / max(prompts, 1)).sqrt()


class RewardUnits(nn.Module):
    """Where a table's rewards lie and how wide they are, so that nothing in a network or its training depends on it.

    Networks predict (reward - member's mean) / spread. The spread is one for the whole pool: squared error then stays
    in proportion to that in reward units, in which members are compared. What needs two samples in some cell of a
    member is NaN without.

    Attributes:
        center: (M,) float64 train mean of each member; of the pool, for a member without any reward.
        spread: () float64 root mean square of reward - center over all cells; 1 where that is 0.
        within: () float64 root mean square, over prompts, of the standard deviation between members; the spread where
            that is 0, as in a pool of one.
        pooled: (M,) float64 variance between samples of one cell, pooled over cells.
        noise: (M,) float64 mean of s^2 / K over cells, the part of the variance of means that is sampling.
        signal: (M,) float64 tau^2, the variance of expected rewards about the center: what the noise leaves.
    """

    center: Tensor
    spread: Tensor
    within: Tensor
    pooled: Tensor
    noise: Tensor
    signal: Tensor

    def __init__(self, members: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(members, dtype=torch.float64))
        self.register_buffer("spread", torch.ones((), dtype=torch.float64))
        self.register_buffer("within", torch.ones((), dtype=torch.float64))
        for name in ("pooled", "noise", "signal"):
            self.register_buffer(name, torch.full((members,), torch.nan, dtype=torch.float64))

    def measure(self, train: Iterable[Batch]) -> None:
        """Take all of it from the train batches, which are read three times."""
        sums = _CellSums(len(self.center))
        for batch in train:
            sums.add(batch)
        cells = sums.cells.clamp(min=1)
        overall = sums.rewards.sum() / sums.cells.sum().clamp(min=1)
        center = torch.where(sums.cells > 0, sums.rewards / cells, overall)
        squares = torch.zeros_like(center)
        for batch in train:
            squares += torch.nan_to_num(batch.rewards.cpu() - center).square().sum(dim=0)
        spread = (squares.sum() / sums.cells.sum().clamp(min=1)).sqrt()
        spread = torch.where(spread > 0, spread, 1.0)
        within = spread_within_prompts(batch.rewards.cpu() for batch in train)
        pooled = sums.weighted_variances / sums.freedom  # 0 / 0 where no cell has two samples: NaN
        noise = (sums.known_noise + torch.where(sums.unknown_noise > 0, pooled * sums.unknown_noise, 0.0)) / cells
        noise = torch.where(pooled.isnan(), pooled, noise)
        self.center.copy_(center)
        self.spread.copy_(spread)
        self.within.copy_(torch.where(within > 0, within, spread))
        self.pooled.copy_(pooled)
        self.noise.copy_(noise)
        self.signal.copy_((squares / (sums.cells - 1).clamp(min=1) - noise).clamp(min=0))

    def standardised(self, rewards: Tensor) -> Tensor:
        """Rewards (B, M) as networks see them, float32."""
        return ((rewards - self.center) / self.spread).float()

    def in_rewards(self, outputs: Tensor) -> Tensor:
        """Outputs (B, M) of a network in units of the reward, float64."""
        return self.center + self.spread * outputs.to(self.center.dtype)

    def precision(self, batch: Batch) -> Tensor:
        """Weight of each cell, (B, M): 1 / (tau^2 + s^2 / K), s^2 shrunk, in units of the member's typical cell.

        1 for all cells of a member in which no cell has two samples, and where there is neither signal nor noise. What
        stands for a missing cell is of no use.
        """
        noise = self._noise_of_means(batch)
        weight = (self.signal + self.noise) / (self.signal + noise)
        return torch.nan_to_num(weight, nan=1.0, posinf=1.0)

    def shrunk(self, batch: Batch) -> Tensor:
        """Rewards (B, M), each shrunk toward its member's train mean by its reliability: w R + (1 - w) center.

        w = tau^2 / (tau^2 + s^2 / K), s^2 shrunk itself (empirical Bayes). Untouched where no cell of the member has
        two samples, because the reliability of one is not identified.
        """
        noise = self._noise_of_means(batch)
        trust = torch.nan_to_num(self.signal / (self.signal + noise), nan=1.0)
        return trust * batch.rewards + (1 - trust) * self.center

    def _noise_of_means(self, batch: Batch) -> Tensor:
        return shrunk_variances(batch.variances, batch.counts, self.pooled) / batch.counts.clamp(min=1)


class _CellSums:
    """Sums over the present cells of each member, (M,) float64 on the CPU."""

    def __init__(self, members: int) -> None:
        self.cells, self.rewards, self.freedom, self.weighted_variances, self.known_noise, self.unknown_noise = (
            torch.zeros(6, members, dtype=torch.float64).unbind()
        )

    def add(self, batch: Batch) -> None:
        rewards, counts, variances = batch.rewards.cpu(), batch.counts.cpu(), batch.variances.cpu()
        present, known = ~torch.isnan(rewards), ~torch.isnan(variances)
        freedom, own = torch.where(known, counts - 1, 0), torch.where(known, variances, 0.0)
        each = torch.where(present, 1.0 / counts.clamp(min=1), 0.0)
        self.cells += present.sum(dim=0)
        self.rewards += torch.where(present, rewards, 0.0).sum(dim=0)
        self.freedom += freedom.sum(dim=0)
        self.weighted_variances += (freedom * own).sum(dim=0)
        self.known_noise += (own * each).sum(dim=0)
        self.unknown_noise += torch.where(known, 0.0, each).sum(dim=0)
