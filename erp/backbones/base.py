"""What a backbone is: prompts in, vectors out, independent of pool and reward model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Backbone:
    """Base of all backbones. Construction is cheap; weights are loaded at the first ``embed``."""

    def kind(self) -> str:
        """The class by its full name, for fingerprints: a subclass embeds otherwise, and must not share a cache."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def fingerprint(self) -> str:
        """A text that names everything an embedding depends on; embeddings are cached under its hash."""
        raise NotImplementedError(f"{type(self).__name__} defines no fingerprint")

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of the prompts, (n, d) float32; the caller normalises them."""
        raise NotImplementedError(f"{type(self).__name__} defines no embed")


@runtime_checkable
class Weighted(Protocol):
    """A backbone whose weights are found by name: in a folder, an installed package, or on the hub."""

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""


def normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalised rows; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)
