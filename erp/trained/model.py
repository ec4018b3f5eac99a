"""What a trained router is asked: a few lines in numpy, that a torch module and plain arrays both answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from erp.backbones.base import Backbone
from erp.config.resolved import require_resolved
from erp.decisions.choice import Choice
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Policy
from erp.decisions.sequential.policy import SequentialPolicy
from erp.errors import ErpError
from erp.formats.checkpoint import CHECKPOINT
from erp.formats.renamed import with_new_targets
from erp.trained.card import Card

Scores = NDArray[np.float64]
Vectors = NDArray[np.float32]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is known of n prompts before anybody decides.

    Attributes:
        scores: (n, M) predicted scores.
        costs: (n, M) predicted costs.
        neighbours: (n, k, M) rewards of the nearest train prompts; None where nobody asks for them.
        forecast: of the same, for a policy that looks at rewards; None for others.
    """

    scores: Scores
    costs: Scores
    neighbours: Scores | None
    forecast: Forecast | None = None

    def at(self, i: int) -> Predictions:
        """Those of one prompt, n = 1."""
        near, known, row = self.neighbours, self.forecast, slice(i, i + 1)
        return Predictions(
            self.scores[row],
            self.costs[row],
            None if near is None else near[row],
            None if known is None else known.take(np.array([i])),
        )

    def choice(self, policy: Policy) -> Choice:
        """Who answers, or is asked first."""
        if isinstance(policy, SequentialPolicy) and self.forecast is not None:
            return policy.first(self.forecast)
        return policy.choose(self.scores, self.costs, self.neighbours)


class Distribution(NamedTuple):
    """What is predicted of single rewards, as in `erp.decisions.forecast.Forecast`."""

    spread: Scores | None = None
    points: Scores | None = None
    weights: Scores | None = None
    matches: Scores | None = None


class Scale(Protocol):
    """What is said of a router's scores."""

    @property
    def scale(self) -> Literal["reward", "ordinal"]:
        """What a score is."""

    @property
    def reads_category(self) -> bool:
        """Whether scores need the prompt's category."""


class Model(Protocol):
    """A trained router with what stands beside it: a `Bundle`, or a `Light` one, for which nobody needs torch."""

    @property
    def card(self) -> Card:
        """What it says of itself."""

    @property
    def backbone(self) -> Backbone:
        """Where embeddings come from."""

    @property
    def router(self) -> Scale:
        """What scores."""

    @property
    def train_mean_reward(self) -> Any:
        """(M,) means over train, NaN for a member without one; a tensor or an array."""

    @property
    def train_mean_cost(self) -> Any:
        """(M,) likewise."""

    def predict(self, embedding: Vectors, category: Codes, neighbours: bool) -> Predictions:
        """Of n prompts by their embeddings (n, d) and the codes of their given categories (n,)."""

    def distribution(self, embedding: Vectors, category: Codes) -> Distribution:
        """What is predicted of single rewards beside their mean, likewise; a router may predict nothing of it."""

    def guess(self, embedding: Vectors) -> Codes:
        """(n,) codes of their most probable categories; -1 where none was learnt."""


def card_and_state(saved: Any, checkpoint: Path) -> tuple[Card, dict[str, Any]]:
    """What a file of any form holds. Raises ErpError, or of a damaged file anything."""
    content = CHECKPOINT.read(saved, f"checkpoint = {checkpoint}")
    card = Card.from_plain(with_new_targets(content["card"]))
    nodes = {"router": card.router, "backbone": card.backbone, "policy": card.policy}
    require_resolved(nodes, f"checkpoint = {checkpoint}", "restore the file, or train the run again")
    return card, content["state_dict"]


def require_whole(model: Model) -> None:
    """Score a prompt of no words: what was saved fits together. Raises ValueError, or what a library raises."""
    nothing = np.zeros((1, model.card.dimension), dtype=np.float32)
    found = model.predict(nothing, np.array([-1]), neighbours=False)
    if model.card.categories:
        model.guess(nothing)
    if any(part.shape[-1] != len(model.card.members) for part in (found.scores, found.costs)):
        raise ValueError(f"it does not score its {len(model.card.members)} members")


@contextmanager
def readable(checkpoint: Path) -> Iterator[None]:
    """Whatever a damaged file makes its reader raise is a line. Raises ErpError."""
    try:
        yield
    except ErpError:
        raise
    except Exception as error:
        # torch goes on for paragraphs, about options of its own that do not exist here
        reason = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:120]
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, ('card', *first['loc'])))}: {first['msg']}"
        raise ErpError(
            f"checkpoint = {checkpoint}: cannot be read ({reason}); restore the file, or train the run again"
        ) from None
