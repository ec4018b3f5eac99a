"""What a router is: features in, one score per pool member out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Features:
    """What a router may know of a batch of prompts before any LLM runs.

    Attributes:
        embedding: (B, d) float32, L2-normalised prompt embeddings.
        category: (B,) int64 codes; -1 where the category is unknown or was not seen in training.
    """

    embedding: Tensor
    category: Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Prompts with their targets.

    Attributes:
        features: of the B prompts.
        rewards: (B, M) float64 mean rewards; NaN where a cell is missing.
        counts: (B, M) int64 samples behind each mean; 0 where missing.
        costs: (B, M) float64 cost of each member's answer.
        rows: (B,) int64 row of each prompt in the table.
    """

    features: Features
    rewards: Tensor
    counts: Tensor
    costs: Tensor
    rows: Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on a device; float64 becomes float32 where the device has none (MPS)."""
        tensors = (self.features.embedding, self.features.category, self.rewards, self.counts, self.costs, self.rows)
        e, category, rewards, counts, costs, rows = (_moved(t, device, non_blocking) for t in tensors)
        return Batch(Features(e, category), rewards, counts, costs, rows)


def _moved(tensor: Tensor, device: torch.device, non_blocking: bool) -> Tensor:
    if device.type == "mps" and tensor.dtype == torch.float64:
        tensor = tensor.float()
    return tensor.to(device, non_blocking=non_blocking)


@dataclass(frozen=True)
class Dimensions:
    """Sizes a router needs before it sees data: d, M and the number of categories."""

    embedding: int
    members: int
    categories: int


class Router(nn.Module):
    """Base of all routers: subclasses define ``scores`` and either ``fit`` (closed form) or ``loss`` (gradient).

    ``scale`` says what a score is: ``reward`` (reward units, so that lambda prices cost) or ``ordinal`` (only the
    order within a prompt means something). Fitted values are buffers; they are restored from a checkpoint whatever
    their shape, because how many train prompts a router keeps is known only after fitting.
    """

    scale: ClassVar[Literal["reward", "ordinal"]]
    reads_category: ClassVar[bool] = False
    closed_form: ClassVar[bool]

    def __init__(self) -> None:  # a router without settings needs no constructor of its own: torch's takes *args
        super().__init__()

    def prepare(self, dimensions: Dimensions) -> None:
        """Make parameters, once, before training or loading. Closed-form routers rarely need it."""

    def scores(self, features: Features) -> Tensor:
        """Predicted scores, (B, M)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores")

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve in closed form. Both can be iterated over again."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form")

    def loss(self, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar. A missing cell never contributes."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def chosen(self) -> dict[str, float]:
        """Hyper-parameters that ``fit`` chose on validation, for the report."""
        return {}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in list(self.named_buffers(recurse=False)):
            saved = state_dict.get(prefix + name)
            if saved is not None and saved.shape != buffer.shape:
                setattr(self, name, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)
