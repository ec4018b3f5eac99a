"""Regret head: learns the decision itself, by what a soft choice would lose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_log_softmax, masked_mean
from erp.routers.mlp import Trunk, require_temperature, require_trunk
from erp.routers.ranking import Prices


class Regret(Router):
    """Expected regret of choosing by softmax((f(x) - lambda c) / T): max_m u_m - sum_m p_m u_m, u = R - lambda c.

    The decision-aware twin of ``Ranking``, in answer to EquiRouter (2602.03478), with the same lambdas, and costs taken
    off outside of the network. Nothing holds f to the size of rewards at lambda = 0, where a larger f is a surer
    choice; the costs do, elsewhere, and loosely: the scale is ordinal.

    Args:
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.
        temperature: T, in standard deviations of the rewards between the members of a prompt.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), or a temperature of 0 or less.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.2, temperature: float = 0.1) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        require_temperature(temperature)
        self.hidden, self.dropout, self.temperature = tuple(hidden), dropout, temperature

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
        """f(x), (B, M) float64."""
        return self.units.in_rewards(self.trunk(features.embedding))

    def loss(self, batch: Batch) -> Tensor:
        """Mean expected regret over the prompts with a reward, a scalar, in standard deviations of reward."""
        scores, present = self.scores(batch.features), ~torch.isnan(batch.rewards)
        rewards = torch.where(present, batch.rewards, 0.0)
        losses = [
            softmax_regret(
                (scores - price * batch.costs) / (self.temperature * self.units.within),
                (rewards - price * batch.costs) / self.units.within,
                present,
            )
            for price in self.prices.lambdas(len(scores))
        ]
        return torch.stack(losses).mean()


def softmax_regret(logits: Tensor, utility: Tensor, present: Tensor) -> Tensor:
    """Mean over prompts of max_m u_m - sum_m softmax(logits)_m u_m over their present members, a scalar.

    Args:
        logits: (B, M).
        utility: u, (B, M), finite.
        present: (B, M); a prompt counts where any is.
    """
    best = torch.where(present, utility, -torch.inf).amax(dim=1, keepdim=True)
    some = present.any(dim=1)
    lost = torch.where(present, torch.where(some[:, None], best, 0.0) - utility, 0.0)
    chance = masked_log_softmax(logits, present).exp()
    return masked_mean((chance * lost).sum(dim=1), some)
