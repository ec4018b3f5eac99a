"""Several backbones side by side: one vector of their blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, FittedBackbone, Keeping, Weighted, Windowed, normalised, trains
from erp.backbones.windows import Long
from erp.errors import ErpError


class JoinedBackbone(Backbone):
    """The vectors of several backbones, each normalised to length one and weighted, one after the other.

    Only distances between prompts change with the weights: a block of weight 2 counts four times as much in a dot
    product as one of weight 1.

    Args:
        parts: backbones; in a config, their nodes (``_target_`` and arguments).
        weights: one for each part; None for 1 each.
        active_parameters: of all parts together, those of an ``llm_probe`` once for each pass: what routing a prompt
            costs in FLOPs; None: the sum, where all parts tell theirs. It changes no embedding.
        long: what is read of a prompt longer than their window by parts that have one; None: what each of them says.
    """

    def __init__(
        self,
        parts: list[Backbone],
        weights: list[float] | None = None,
        active_parameters: float | None = None,
        long: Long | None = None,
    ) -> None:
        if not parts:
            raise ErpError("backbone.parts = []: there is nothing to join; give backbones, each with its _target_")
        self.weights = [1.0] * len(parts) if weights is None else [float(weight) for weight in weights]
        if len(self.weights) != len(parts):
            raise ErpError(f"backbone.weights = {self.weights}: give one for each of the {len(parts)} parts")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ErpError(f"backbone.weights = {self.weights}: give numbers above 0, or leave the part out")
        if at := [f"backbone.parts.{i}.finetune = true" for i, part in enumerate(parts) if trains(part)]:
            raise ErpError(
                f"{at[0]}: a part of a joined backbone stays as it was released; leave it out, or fine-tune alone"
            )
        self.parts = list(parts)
        for part in self.parts:
            if long is not None and isinstance(part, Windowed):
                part.long = long
        self.active_parameters = active_parameters

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        for part in self.parts:
            if isinstance(part, Weighted):
                part.look_in(weights_dir)

    def keep_in(self, cache: Path) -> None:
        """Say where parts may keep what their vectors are made of."""
        for part in self.parts:
            if isinstance(part, Keeping):
                part.keep_in(cache)

    def parameters_per_token(self) -> float | None:
        """As the config says; else the sum over the parts, where all tell."""
        if self.active_parameters is not None:
            return self.active_parameters
        each = [part.parameters_per_token() for part in self.parts]
        return None if None in each else float(sum(one for one in each if one is not None))

    def blocks(self) -> dict[str, int]:
        """Those of the parts, by position and name."""
        return {
            f"{position} {name}": width
            for position, part in enumerate(self.parts)
            for name, width in part.blocks().items()
        }

    def layout(self) -> str:
        """Those of the parts."""
        layouts = [part.layout() for part in self.parts]
        return " + ".join(layouts) if any(layouts) else ""

    def fit(self, prompts: Sequence[str]) -> None:
        """Let the parts that learn from the train prompts do so; nothing where none does."""
        for part in self.parts:
            if isinstance(part, FittedBackbone):
                part.fit(prompts)

    def recipe(self) -> str | None:
        """Those of the parts that learn; None where none does, or one has none."""
        recipes = [part.recipe() if isinstance(part, FittedBackbone) else "" for part in self.parts]
        known = [recipe for recipe in recipes if recipe is not None]
        return f"{self.kind()} {known}" if any(known) and len(known) == len(recipes) else None

    def state(self) -> dict[str, Any]:
        """What those parts learnt, by their position."""
        return {
            str(position): part.state() for position, part in enumerate(self.parts) if isinstance(part, FittedBackbone)
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Hand the parts what they had learnt."""
        for position, part in enumerate(self.parts):
            if isinstance(part, FittedBackbone):
                part.restore(state.get(str(position), {}))

    def fingerprint(self) -> str:
        """Those of the parts, with their weights."""
        parts = [f"{weight!r} * ({part.fingerprint()})" for weight, part in zip(self.weights, self.parts, strict=True)]
        return f"{self.kind()} {' + '.join(parts)}"

    def window(self) -> int | None:
        """The smallest of the parts'."""
        return min((size for part in self.parts if (size := part.window()) is not None), default=None)

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each prompt that the part which lost most of it lost, (n,)."""
        return np.asarray(np.max([part.unread(prompts) for part in self.parts], axis=0), dtype=np.int64)

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """The blocks in the order of the parts, (n, d1 + d2 + ...)."""
        blocks = [
            np.float32(weight) * normalised(part.embed(prompts))
            for weight, part in zip(self.weights, self.parts, strict=True)
        ]
        return np.hstack(blocks)


def learns(backbone: Backbone) -> bool:
    """Whether the backbone, or a part of it, has to learn from train prompts before it embeds."""
    if isinstance(backbone, JoinedBackbone):
        return any(map(learns, backbone.parts))
    return isinstance(backbone, FittedBackbone)
