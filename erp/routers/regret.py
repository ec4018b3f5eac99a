"""Regret head: learns the decision itself, by what a soft choice would lose."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erp.routers.losses import masked_log_softmax, masked_mean
from erp.routers.ranking import Ranking


class Regret(Ranking):
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

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.2, temperature: float = 0.1) -> None:
        super().__init__(hidden, dropout, temperature, shrink=False)  # a mean regret is unbiased by noise in u as it is

    def compare(self, predicted: Tensor, utility: Tensor, present: Tensor) -> Tensor:
        """Expected regret of a choice by softmax of the predicted utilities under one lambda, a scalar."""
        return softmax_regret(predicted, utility, present)


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
