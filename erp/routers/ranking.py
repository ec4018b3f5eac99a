"""Ranking head: orders the members by utility, at whatever cost weighs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_mean, spread_within_prompts
from erp.routers.mlp import Trunk, require_temperature, require_trunk

FREE = 0.25  # share of prompts that see lambda = 0
LOWEST, HIGHEST = 0.01, 10.0  # range of the others' lambda, log-uniform, times the balance of rewards and costs
HELD_OUT = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)  # times the balance: the lambdas of validation, the same each time


class Prices(nn.Module):
    """The lambdas that a router is trained and validated under.

    Attributes:
        balance: () float64, reward per unit of cost, at which a standard deviation of cost between the members of a
            prompt outweighs one of reward; 0 where costs are all equal.
    """

    balance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("balance", torch.zeros((), dtype=torch.float64))

    def measure(self, train: Iterable[Batch], units: RewardUnits) -> None:
        """Take the balance from the train batches; only cells with a reward count."""
        costs = spread_within_prompts(
            torch.where(torch.isnan(batch.rewards), torch.nan, batch.costs).cpu() for batch in train
        )
        self.balance.copy_(torch.where(costs > 0, units.within.cpu() / costs, 0.0))

    def lambdas(self, prompts: int) -> list[Tensor]:
        """Columns (B, 1) of lambdas: in training one, drawn by prompt from torch's generator; else the fixed ones."""
        if not self.training:
            return [(factor * self.balance).expand(prompts, 1) for factor in HELD_OUT]
        draws = torch.rand(2, prompts, 1, device=self.balance.device)
        factors = LOWEST * (HIGHEST / LOWEST) ** draws[0]
        return [torch.where(draws[1] < FREE, 0.0, factors) * self.balance]


class Ranking(Router):
    """Pairwise logistic loss on utilities u = R - lambda c, each pair weighted by |u_i - u_j|.

    An answer to EquiRouter (2602.03478), which finds that regression of single rewards collapses onto the dearest
    member. The network gives f(x) alone. What is compared under a lambda is f_i - lambda c_i with f_j - lambda c_j, by
    the costs the batch carries: the decision rule's own comparison. Each prompt of a batch draws its lambda: 0 for a
    quarter, else log-uniform about the balance of rewards and costs. So one training serves every lambda, and costs
    give differences between scores of a prompt the size of rewards: a pair is to change its order at the lambda at
    which its utilities cross. The size is as good as the fit, the common level of a prompt is not learnt, and where
    costs are equal nothing but order is: the scale is ordinal.

    The logistic is steep (temperature below 1), so that pairs that cost has decided teach nothing. With a flat one they
    go on to widen their margin, and the cheap member is preferred at lambda = 0 too.

    Args:
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.
        temperature: of the logistic, in standard deviations of the rewards between the members of a prompt.
        shrink: shrink rewards first (empirical Bayes), where cells have two samples or more: a pair that noise has put
            apart should not teach an order.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), or a temperature of 0 or less.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False

    def __init__(
        self, hidden: Sequence[int] = (256,), dropout: float = 0.2, temperature: float = 0.2, shrink: bool = True
    ) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        require_temperature(temperature)
        self.hidden, self.dropout, self.temperature, self.shrink = tuple(hidden), dropout, temperature, shrink

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.units = RewardUnits(dimensions.members)
        self.prices = Prices()
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, dimensions.members)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure rewards and costs."""
        self.units.measure(train)
        self.prices.measure(train, self.units)

    def scores(self, features: Features) -> Tensor:
        """f(x), (B, M) float64: differences within a prompt like rewards."""
        return self.units.in_rewards(self.trunk(features.embedding))

    def loss(self, batch: Batch) -> Tensor:
        """Mean over lambdas of what `compare` makes of utilities, a scalar, in standard deviations of reward."""
        scores, present = self.scores(batch.features), ~torch.isnan(batch.rewards)
        labels = self.units.shrunk(batch) if self.shrink else batch.rewards
        rewards = torch.where(present, labels, 0.0)
        losses = [
            self.compare(
                (scores - price * batch.costs) / (self.temperature * self.units.within),
                (rewards - price * batch.costs) / self.units.within,
                present,
            )
            for price in self.prices.lambdas(len(scores))
        ]
        return torch.stack(losses).mean()

    def compare(self, predicted: Tensor, utility: Tensor, present: Tensor) -> Tensor:
        """What is lost under one lambda, a scalar; both (B, M) in standard deviations of reward."""
        return pairwise_logistic(predicted, utility, present)


def pairwise_logistic(predicted: Tensor, utility: Tensor, present: Tensor) -> Tensor:
    """Mean of |u_i - u_j| log(1 + exp(-(v_i - v_j) sign(u_i - u_j))) over pairs i < j of a prompt, a scalar.

    Args:
        predicted: v, (B, M).
        utility: u, (B, M), finite.
        present: (B, M); a pair counts where both are.
    """
    members = predicted.shape[1]
    i, j = torch.triu_indices(members, members, 1, device=predicted.device)
    gap, guess = utility[:, i] - utility[:, j], predicted[:, i] - predicted[:, j]
    return masked_mean(gap.abs() * softplus(-gap.sign() * guess), present[:, i] & present[:, j])
