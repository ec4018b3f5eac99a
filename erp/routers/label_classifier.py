"""Label classifier: which member is best, and nothing of by how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.knn import KNN
from erp.routers.losses import masked_log_softmax, masked_mean
from erp.routers.mlp import Trunk, require_trunk


class LabelClassifier(Router):
    """Cross-entropy of softmax f(x) with the best member: LLMRouter's MLP router (FusionFactory, 2507.10540).

    A label says who is best, not by how much, so that a prompt that all but one answer weighs like one that only one
    does; scores are logits, and ordinal. There the first of several best members is the label; here each of them
    counts by an equal share. A member whose reward is missing is in neither the label nor the softmax.

    Args:
        hidden: units of each hidden layer of f; empty for multinomial logistic regression.
        dropout: in training, after every hidden layer.

    Raises:
        ErpError: on a size below 1, or a dropout outside [0, 1).
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"
    closed_form = False

    def __init__(self, hidden: Sequence[int] = (256,), dropout: float = 0.2) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        self.hidden, self.dropout = tuple(hidden), dropout

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, dimensions.members)

    def scores(self, features: Features) -> Tensor:
        """Logits, (B, M) float64."""
        logits: Tensor = self.trunk(features.embedding)
        return logits.double()

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy over the prompts with at least two rewards, a scalar."""
        present = ~torch.isnan(batch.rewards)
        label = torch.nan_to_num(best_labels(batch.rewards)).float()
        cross = -(label * masked_log_softmax(self.trunk(batch.features.embedding), present)).sum(dim=1)
        return masked_mean(cross, present.sum(dim=1) >= 2)


class LabelKNN(KNN):
    """How many of the k nearest train prompts a member is best on: LLMRouter's kNN router (2507.10540).

    A vote of several best members is shared equally among them. k is chosen by the squared error of the shares on
    validation. Settings are those of ``KNN``, which averages the rewards themselves.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "ordinal"

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Keep the labels of the train prompts; choose k on validation."""
        super().fit(Labelled(train), Labelled(validation))


class Labelled:
    """Batches with labels for rewards, as often as they are asked for; none where one member's reward is alone."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            told = (~torch.isnan(batch.rewards)).sum(dim=1, keepdim=True) >= min(2, batch.rewards.shape[1])
            yield replace(batch, rewards=torch.where(told, best_labels(batch.rewards), torch.nan))


def best_labels(rewards: Tensor) -> Tensor:
    """1 for the member of most reward, an equal share for each of several, else 0, (B, M) float64; NaN where missing.

    Args:
        rewards: (B, M), NaN where missing.
    """
    best = rewards == torch.nan_to_num(rewards, nan=-torch.inf).amax(dim=1, keepdim=True)
    share = best.double() / best.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(torch.isnan(rewards), torch.nan, share)
