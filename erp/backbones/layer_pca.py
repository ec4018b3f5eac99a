"""Principal components of each layer's states, learnt from the train prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_NOTHING = 1e-10  # of a layer's variance: a direction with less is rounding

Float32s = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerPCA:
    """Of L layers the leading components, each layer scaled so that its kept variance on train is 1 / L.

    Attributes:
        means: (L, d) float32.
        components: (L, k, d) float32, already scaled; rows of 0 where a layer has fewer.
    """

    means: Float32s
    components: Float32s

    @classmethod
    def of(cls, states: NDArray[Any], most: int) -> LayerPCA:
        """Learn from states (n, L, d) the ``most`` leading components of each layer, exactly, in float64."""
        from scipy.linalg import eigh

        n, layers, width = states.shape
        kept = min(most, n, width)
        means, components = np.zeros((layers, width)), np.zeros((layers, kept, width))
        for layer in range(layers):
            x = states[:, layer].astype(np.float64)
            means[layer] = x.mean(axis=0)
            x -= means[layer]
            values, vectors = eigh(x.T @ x / n, subset_by_index=[width - kept, width - 1])
            values, vectors = values[::-1], vectors[:, ::-1]
            real = values > _NOTHING * max(np.square(x).sum() / n, np.finfo(np.float32).tiny)
            if real.any():
                signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(kept)])
                found = (vectors * signs).T / np.sqrt(values[real].sum() * layers)
                components[layer, real] = found[real]
        return cls(means.astype(np.float32), components.astype(np.float32))

    def __call__(self, states: NDArray[Any]) -> Float32s:
        """Scores of states (n, L, d), layer after layer, (n, L * k)."""
        centred = states - self.means
        scores: Float32s = np.einsum("nld,lkd->nlk", centred, self.components, optimize=True)
        return scores.reshape(len(states), -1)

    def state(self) -> dict[str, Any]:
        """As tensors."""
        return {"means": torch.from_numpy(self.means.copy()), "components": torch.from_numpy(self.components.copy())}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> LayerPCA:
        """From ``state``. Raises KeyError, AttributeError or ValueError where it is none."""
        means, components = (np.asarray(state[key].numpy(), dtype=np.float32) for key in ("means", "components"))
        if components.ndim != 3 or means.shape != (components.shape[0], components.shape[2]):
            raise ValueError("means and components of other layers")
        return cls(means, components)
