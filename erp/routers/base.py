"""What a router is: features in, one score per pool member out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from erp.routers.arithmetic import Arithmetic


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
        variances: (B, M) float64 unbiased variance between a cell's samples; NaN with fewer than two.
        samples: (B, M, K) float64 the rewards themselves, NaN behind a cell's last; None for a router that does not
            say that it reads them.
        costs: (B, M) float64 cost of each member's answer.
        rows: (B,) int64 row of each prompt in the table.
        groups: (B,) int64 code of the group each prompt lies in: a split inside the train half must not part one.
        released: (B, d) embeddings by the encoder as it was released, where it is trained along with the router; None
            where it is not, and those of the features are these.
        beside: (B, R, M) float32 rewards by other reward models, less each member's mean and in standard deviations,
            NaN where there is none; None for a router that does not name any.
    """

    features: Features
    rewards: Tensor
    counts: Tensor
    variances: Tensor
    samples: Tensor | None
    costs: Tensor
    rows: Tensor
    groups: Tensor
    released: Tensor | None = None
    beside: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same function of every tensor: moved elsewhere, or fewer rows."""
        features = Features(function(self.features.embedding), function(self.features.category))
        others = (getattr(self, f.name) for f in fields(Batch) if f.name != "features")
        mapped: list[Any] = [None if other is None else function(other) for other in others]
        return Batch(features, *mapped)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        """The batch on a device; float64 becomes float32 where the device has none (MPS)."""
        return self.map(lambda tensor: _moved(tensor, device, non_blocking))

    def take(self, rows: Tensor) -> Batch:
        """Some prompts, by mask or position."""
        return self.map(lambda tensor: tensor[rows])


def concatenated(batches: Iterable[Batch]) -> Batch:
    """Batches as one, in the order of the table's rows, whatever the order they came in."""
    parts = list(batches)
    features = Features(*(torch.cat([getattr(p.features, f.name) for p in parts]) for f in fields(Features)))
    columns = ([getattr(p, f.name) for p in parts] for f in fields(Batch) if f.name != "features")
    targets: list[Any] = [None if column[0] is None else torch.cat(column) for column in columns]
    whole = Batch(features, *targets)
    return whole.take(whole.rows.argsort(stable=True))


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


class Fitted(nn.Module):
    """A module whose fitted values are buffers, restored from a checkpoint whatever their shape.

    How many train prompts a router keeps, for one, is known only after fitting. One that is None is not saved.
    """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if saved is not None and (buffer is None or saved.shape != buffer.shape):
                setattr(self, name, torch.empty_like(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Router(Fitted):
    """Base of all routers: subclasses define ``scores`` and either ``fit`` (closed form) or ``loss`` (gradient).

    ``scale`` says what a score is: ``reward`` (reward units, so that lambda prices cost) or ``ordinal`` (only the
    order within a prompt means something). ``reads_category``: scores need the prompt's category; ``learns_category``:
    only fitting does. ``learns_spread``: it learns how single responses differ, which means of several do not tell.
    ``reads_samples``: its batches hold the single rewards, K times the memory of their means. ``decides_between_two``:
    a pool of any other size is refused. ``learns_games``: of rewards it sees who beats whom and no more, so that votes
    may stand for them. ``samples_needed``: separate responses in every cell; a table with fewer is refused.
    ``reads_blocks``: it is told by ``divide`` which numbers of an embedding belong together. ``beside``: other reward
    models whose rewards its train batches hold, in this order.
    """

    scale: ClassVar[Literal["reward", "ordinal"]]
    reads_category: ClassVar[bool] = False
    learns_category: ClassVar[bool] = False
    learns_spread: ClassVar[bool] = False
    reads_samples: ClassVar[bool] = False
    decides_between_two: ClassVar[bool] = False
    learns_games: ClassVar[bool] = False
    closed_form: ClassVar[bool]
    reads_blocks: ClassVar[bool] = False
    samples_needed: int = 1
    beside: Sequence[str] | None = None

    def __init__(self) -> None:  # a router without settings needs no constructor of its own: torch's takes *args
        super().__init__()

    def prepare(self, dimensions: Dimensions) -> None:
        """Make parameters, once, before training or loading. Closed-form routers rarely need it."""

    def divide(self, blocks: Mapping[str, int]) -> None:
        """Hear how many numbers of an embedding belong together, by name and in order; before ``fit``."""

    def scores(self, features: Features) -> Tensor:
        """Predicted scores, (B, M)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores")

    def fit(self, train: Iterable[Batch], validation: Iterable[Batch]) -> None:
        """Solve in closed form. Both can be iterated over again."""
        raise NotImplementedError(f"{type(self).__name__} has no closed form")

    def begin(self, train: Iterable[Batch]) -> None:
        """Look at the train batches once, before the first gradient step: the scale and noise of rewards, say.

        ``train`` can be iterated over again. What is kept must be buffers of a shape known after ``prepare``, so that a
        checkpoint holds it and a training that goes on finds it again. Closed-form routers have ``fit`` for this.
        """

    def loss(self, batch: Batch) -> Tensor:
        """Training loss of a batch, a scalar. A missing cell never contributes."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def chosen(self) -> dict[str, Any]:
        """Hyper-parameters that ``fit`` chose on validation, for the report."""
        return {}


class ArithmeticRouter(Router):
    """A router whose scores are arithmetic on its buffers: numpy computes them, as it does where there is no torch.

    ``arithmetic`` is the router as numpy has it.
    """

    arithmetic: ClassVar[type[Arithmetic]]

    def kept(self) -> Arithmetic:
        """As numpy has it, of the buffers as they are now."""
        return self.arithmetic.of(arrays_of(self))

    def scores(self, features: Features) -> Tensor:
        """Predicted scores, (B, M) float64."""
        found = self.kept().scores(array_of(features.embedding), array_of(features.category))
        return torch.from_numpy(found).to(features.embedding.device)


def array_of(tensor: Tensor) -> NDArray[Any]:
    """A tensor as an array; one on the CPU is not copied."""
    array: NDArray[Any] = tensor.detach().cpu().numpy()
    return array


def arrays_of(module: nn.Module) -> dict[str, Any]:
    """A module's buffers as arrays by name, those of its parts in a mapping each."""
    own = {name: array_of(buffer) for name, buffer in module.named_buffers(recurse=False)}
    return own | {name: arrays_of(part) for name, part in module.named_children()}
