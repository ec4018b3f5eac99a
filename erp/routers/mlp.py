"""ERP MLP: one network with an output for each member."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

from torch import Tensor, nn

from erp.errors import ErpError
from erp.routers.base import Batch, Dimensions, Features, Router
from erp.routers.losses import RewardUnits, masked_huber, masked_squared_error


class Trunk(nn.Sequential):
    """Embeddings (B, d), L2-normalised, to outputs (B, n): hidden layers with GELU and dropout, then a linear one.

    Embeddings are scaled by sqrt(d), to entries of about 1, which the layers' initialisation expects. The last layer
    starts at zero: before its first step a router predicts what it knows without the prompt, and treats members alike.

    Args:
        dimension: d.
        hidden: units of each hidden layer; empty for a linear map.
        dropout: share of hidden units that are left out in training.
        outputs: n.
        start: (n,) what comes out before the first step; None for 0.
    """

    def __init__(
        self, dimension: int, hidden: Sequence[int], dropout: float, outputs: int, start: Tensor | None = None
    ) -> None:
        sizes = [dimension, *hidden]
        layers: list[nn.Module] = []
        for inputs, units in pairwise(sizes):
            layers += [nn.Linear(inputs, units), nn.GELU(), nn.Dropout(dropout)]
        last = nn.Linear(sizes[-1], outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if start is not None:
            last.bias.data.copy_(start)
        super().__init__(*layers, last)
        self.gain = dimension**0.5

    def forward(self, embedding: Tensor) -> Tensor:
        """(B, d) float32 to (B, n) float32."""
        output: Tensor = super().forward(embedding * self.gain)  # type: ignore[no-untyped-call]
        return output


def require_trunk(hidden: Sequence[int], dropout: float) -> None:
    """Refuse sizes that make no network. Raises ErpError."""
    if any(units < 1 for units in hidden):
        raise ErpError(f"router.hidden = {list(hidden)}: give a list of layer sizes, each 1 or more, or [] for none")
    if not 0 <= dropout < 1:
        raise ErpError(f"router.dropout = {dropout}: give a share of 0 or more and below 1")


def require_temperature(temperature: float) -> None:
    """Refuse what a softmax cannot be divided by. Raises ErpError."""
    if not 0 < temperature < float("inf"):
        raise ErpError(f"router.temperature = {temperature}: give a number above 0")


def require_counts(**counts: int) -> None:
    """Refuse a number of anything below 1. Raises ErpError."""
    for key, count in counts.items():
        if count < 1:
            raise ErpError(f"router.{key} = {count}: give 1 or more")


def require_choice(key: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is none of the options. Raises ErpError."""
    if value not in allowed:
        raise ErpError(f"router.{key} = {value}: no such option; give one of {', '.join(allowed)}")


class MLP(Router):
    """A trunk shared by all members, one output each, trained on mean rewards: 2603.20217's head with layers; ours.

    Outputs are standardised by what the train rewards say, so that rewards may lie anywhere. Scores are float64 around
    a float32 network.

    Args:
        hidden: units of each hidden layer; empty for a linear model.
        dropout: in training, after every hidden layer.
        loss: ``mse``, or ``huber``: quadratic up to one standard deviation of the rewards, linear beyond.
        weights: ``none``, or ``precision``: cells count by 1 / (tau^2 + s^2 / K), where samples tell; ours.
        beside: other reward models of the table, whose rewards are learnt too (Caruana, Machine Learning 28, 1997): an
            output for each of them and each member on the same hidden layers, or the same encoder where it is
            fine-tuned, and their losses, each on standardised rewards, are added to the own one. Scores, and what
            early stopping watches, are the own ones.

    Raises:
        ErpError: on a size below 1, a dropout outside [0, 1), or an unknown word.
    """

    scale: ClassVar[Literal["reward", "ordinal"]] = "reward"
    closed_form = False

    def __init__(
        self,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.2,
        loss: Literal["mse", "huber"] = "mse",
        weights: Literal["none", "precision"] = "none",
        beside: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        require_trunk(hidden, dropout)
        require_choice("loss", loss, ("mse", "huber"))
        require_choice("weights", weights, ("none", "precision"))
        self.hidden, self.dropout, self.weights = tuple(hidden), dropout, weights
        self.beside = tuple(beside) if beside else None
        self.error = masked_huber if loss == "huber" else masked_squared_error

    def prepare(self, dimensions: Dimensions) -> None:
        """Make the network."""
        self.members = dimensions.members
        self.units = RewardUnits(self.members)
        outputs = self.members * (1 + len(self.beside or ()))  # the own ones first
        self.trunk = Trunk(dimensions.embedding, self.hidden, self.dropout, outputs)

    def begin(self, train: Iterable[Batch]) -> None:
        """Measure the rewards."""
        self.units.measure(train)

    def scores(self, features: Features) -> Tensor:
        """Predicted expected rewards, (B, M) float64."""
        return self.units.in_rewards(self.trunk(features.embedding)[:, : self.members])

    def loss(self, batch: Batch) -> Tensor:
        """Mean error of the standardised rewards over the present cells, a scalar; in training those beside added."""
        weights = self.units.precision(batch) if self.weights == "precision" else None
        own, *others = self.trunk(batch.features.embedding).split(self.members, dim=1)
        loss = self.error(own, self.units.standardised(batch.rewards), weights)
        if not self.training or not others:
            return loss
        if batch.beside is None:
            raise ErpError(
                f"router.beside = {', '.join(self.beside or ())}: a router that is part of another gets the rewards of "
                "one reward model; give null there"
            )
        return loss + sum(
            self.error(output, observed) for output, observed in zip(others, batch.beside.unbind(1), strict=True)
        )
