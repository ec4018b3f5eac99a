"""A text encoder as a module: prompts in, embeddings with gradients out, and a learning rate for every layer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from erp.backbones.windows import Pieces, whole

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


ALIKE = 8
"""Texts, of like length, that a CPU reads at once: all are padded to the longest, and where prompts differ one long one
among 32 makes four times the work of them. A GPU would rather pad than wait for many small steps."""


class Encoder(nn.Module):
    """Prompts to embeddings (B, d), L2-normalised as the cached ones are.

    Args:
        model: from ``tokenise``'s features of C texts to vectors (C, d).
        tokenise: texts to what the model reads, tensors among it on the CPU.
        layers: the parameters that are trained, in groups from the embeddings up.
        learning_rate: of the top group.
        layer_decay: what the rate is multiplied by at each step down (ULMFiT, 1801.06146, divides by 2.6): lower
            layers know of language what a few thousand rewards cannot teach again.
        batch_size: texts the model reads at once, at most, and whose states are kept for the gradient.
        pieces: what texts are read of B prompts, one or more of each; by default the prompts.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenise: Callable[[list[str]], Mapping[str, Any]],
        layers: Sequence[Sequence[nn.Parameter]],
        learning_rate: float,
        layer_decay: float,
        batch_size: int,
        pieces: Callable[[Sequence[str]], Pieces] = whole,
    ) -> None:
        super().__init__()
        self.model = model
        self._tokenise = tokenise
        self._layers = layers
        self._learning_rate, self._layer_decay = learning_rate, layer_decay
        self._batch_size = batch_size
        self._pieces = pieces

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings in the order of the prompts, (B, d) float32, on the model's device."""
        device = next(self.model.parameters()).device
        pieces = self._pieces(prompts)
        texts = pieces.texts
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # of like length: less padding
        size = min(self._batch_size, ALIKE) if device.type == "cpu" else self._batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        # Of more than a batch, each part is gone through again for its gradient: memory is that of a batch, at most.
        again = torch.is_grad_enabled() and len(texts) > self._batch_size
        vectors = []
        for part in parts:
            features = self._tokenise([texts[i] for i in part])
            there = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in features.items()}
            vectors.append(checkpoint(self.model, there, use_reentrant=False) if again else self.model(there))
        back = torch.tensor(order, device=device).argsort()
        found = torch.cat(vectors)[back]
        if not pieces.single:
            shares = torch.as_tensor(pieces.shares, dtype=found.dtype, device=device)[:, None]
            owner = torch.as_tensor(pieces.owner, device=device)
            found = found.new_zeros(len(prompts), found.shape[1]).index_add(0, owner, shares * found)
        return nn.functional.normalize(found, dim=1)

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser, from the embeddings up, each with its rate ``lr``."""
        top = len(self._layers) - 1
        return [
            {"params": list(layer), "lr": self._learning_rate * self._layer_decay ** (top - height)}
            for height, layer in enumerate(self._layers)
            if layer
        ]

    def digest(self) -> str:
        """Hash of the weights as they are now: other weights, other embeddings."""
        sha256 = hashlib.sha256()
        for name, value in self.model.state_dict().items():
            sha256.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            sha256.update(value.cpu().contiguous().numpy().tobytes())
        return sha256.hexdigest()


class SentenceVectors(nn.Module):
    """What a sentence-transformers model makes of its features, as one tensor."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Mapping[str, Any]) -> Tensor:
        """Vectors (B, d)."""
        vectors: Tensor = self.model(dict(features))["sentence_embedding"]  # it writes into what it is given
        return vectors


def layers_of(model: nn.Module, depth: int) -> list[list[nn.Parameter]] | None:
    """A transformer's parameters in depth + 1 groups: embeddings, then layer by layer; None where no stack is found.

    What stands above the stack (a last norm, a pooler, a projection) goes with the top layer.
    """
    stacks = (name for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth)
    stack = next(stacks, None)
    if stack is None:
        return None
    layers: list[list[nn.Parameter]] = [[] for _ in range(depth + 1)]
    for name, parameter in model.named_parameters():
        if name.startswith(f"{stack}."):
            height = 1 + int(name[len(stack) + 1 :].split(".")[0])
        else:
            height = 0 if "embed" in name else depth
        if parameter.requires_grad:
            layers[height].append(parameter)
    return layers
