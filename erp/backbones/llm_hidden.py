"""A causal LM's own hidden state as a prompt's embedding: from transformers, or from a GGUF file through llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, plain_text
from erp.backbones.windows import Long, Pieces, Window, kept_texts, window_of
from erp.errors import ErpError
from erp.files import sha256_file
from erp.weights import Weights, find_file, find_weights

_COMMIT = re.compile(r"[0-9a-f]{40}")
_INDEX = "config.json"  # what every model folder of transformers has, whatever its weight files are called


class States(Protocol):
    """A model that is loaded."""

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text by itself."""

    def text(self, ids: Sequence[int]) -> str:
        """What token ids read."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Pooled hidden states, (n, d), of texts that fit; zero for one of no token."""


class LLMHiddenBackbone(Backbone):
    """Hidden states of any causal LM, pooled over a prompt's tokens.

    A member of the pool may know best what it can do: its own states carry what it makes of a prompt (Kadavath et al.
    2022; Azaria and Mitchell 2023). Layers are counted as transformers does: 0 is what goes into the first block, and
    the last one comes after the model's final norm. All sums are in float32.

    Args:
        model: hub id, or a folder.
        layer: which layer's states: an integer, negative from the end, or a fraction of the depth, above 0 and up to 1.
        pooling: the mean over the prompt's tokens, or the last token, which alone has seen all of them.
        template: ``chat`` reads the prompt as a user's turn, the answer about to begin; None reads its bare text.
        max_tokens: of the prompt that are read at once, the template not counted.
        long: what is read of a longer one: its ``head``, its ``tail``, or all of it in pieces, each within the
            template, whose vectors are averaged by their tokens (``mean``).
        batch_size: prompts in one forward pass. It changes no embedding, up to floating point.
        file: weight file within the model; a .gguf one is read by llama.cpp, which gives the last layer only.
        sha256: of that file, or of ``model.safetensors``; checked where given.
        revision: of the hub's repository.
        dtype: of the weights in transformers. With 16 bits an embedding depends a little on its batch.
        device: ``auto`` is CUDA where there is one.
        active_parameters: of the model: what routing a prompt costs in FLOPs. It changes no embedding.
    """

    unpacks_gguf = False  # llama.cpp reads it

    def __init__(
        self,
        model: str,
        layer: int | float = -1,
        pooling: Literal["mean", "last"] = "mean",
        template: Literal["chat"] | None = None,
        max_tokens: int = 512,
        batch_size: int = 8,
        file: str | None = None,
        sha256: str | None = None,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        active_parameters: float | None = None,
        long: Long = "head",
    ) -> None:
        for name, value in (("max_tokens", max_tokens), ("batch_size", batch_size)):
            if value < 1:
                raise ErpError(f"backbone.{name} = {value}: give 1 or more")
        if isinstance(layer, float) and not 0 < layer <= 1:
            raise ErpError(f"backbone.layer = {layer}: give a fraction above 0 and up to 1, or a whole number")
        self.gguf = file is not None and file.lower().endswith(".gguf")
        if self.gguf and layer != -1:
            raise ErpError(
                f"backbone.layer = {layer}: llama.cpp gives the last layer of a GGUF file only; "
                f"give -1, or a model that transformers loads"
            )
        if self.gguf and dtype != "float32" and not self.unpacks_gguf:
            raise ErpError(f"backbone.dtype = {dtype}: a GGUF file has a type of its own; leave dtype out")
        self.weights = Weights(
            model, file=file or ("model.safetensors" if sha256 else _INDEX), sha256=sha256, revision=revision
        )
        self.layer, self.pooling, self.template, self.max_tokens = layer, pooling, template, max_tokens
        self.batch_size, self.dtype, self.device = batch_size, dtype, device
        self.active_parameters = active_parameters
        self.long: Long = long
        self._weights_dir: str | None = None
        self._states: States | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def fingerprint(self) -> str:
        """Which weights, and what is done to a prompt; finds (or downloads) them if no hash and no commit was given."""
        done = f"layer={self.layer} pooling={self.pooling} template={self.template} max_tokens={self.max_tokens}"
        if self.long != "head":
            done += f" long={self.long}"
        return f"{self.kind()} {self._identity()} dtype={self.dtype} {done}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Pooled hidden states, (n, d); zero for a prompt of no token. Loads the model at the first call."""
        states, pieces = self._loaded(), []
        for text in map(plain_text, prompts):
            pieces.append(kept_texts(text, states.tokens(text), self.max_tokens, self.long, states.text))
        read = Pieces.of(pieces)
        return read.joined(states.embed(read.texts))

    def window(self) -> int:
        """Tokens of a prompt that are read at once."""
        return self.max_tokens

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each prompt that are cut off, (n,)."""
        if self.long == "mean":
            return np.zeros(len(prompts), dtype=np.int64)
        sizes = [len(self._loaded().tokens(plain_text(prompt))) for prompt in prompts]
        return np.maximum(np.array(sizes, dtype=np.int64) - self.max_tokens, 0)

    def reader_on_disk(self) -> Window | None:
        """What the model reads of a prompt, without loading it. Raises ErpError where its files do not tell."""
        if self.gguf:
            raise ErpError(f"{self.weights.file}: does not say without being loaded how it cuts a text into tokens")
        folder = find_weights(self.weights, self._weights_dir, download=False)
        return window_of(folder, self.max_tokens, "", special=False)

    def _loaded(self) -> States:
        if self._states is None:
            self._states = self._load()
        return self._states

    def _load(self) -> States:
        if self.gguf:
            from erp.backbones.gguf_states import GGUFStates

            path = find_file(self.weights, self._weights_dir)
            return GGUFStates(path, self.pooling, self.template, self.max_tokens, self.batch_size, self.device)
        from erp.backbones.causal_lm_states import CausalLMStates

        return CausalLMStates(
            self._folder(), self.weights.model, self.layer, self.pooling, self.template, self.max_tokens,
            self.batch_size, self.dtype, self.device,
        )  # fmt: skip

    def _folder(self) -> Path:
        try:
            return find_weights(self.weights, self._weights_dir)
        except FileNotFoundError:  # the hub has the model, in several files
            raise ErpError(
                f"backbone.sha256: {self.weights.model} has no {self.weights.file}; say which file it is of (file: ...)"
            ) from None

    def _identity(self) -> str:
        """The weights' own hash, or the hub's commit, or the hash of what is found."""
        weights = self.weights
        if weights.sha256 is not None:
            return weights.sha256
        if weights.revision is not None and _COMMIT.fullmatch(weights.revision):
            return f"{weights.model}@{weights.revision}"
        if self.gguf:
            return sha256_file(find_file(weights, self._weights_dir))
        folder = self._folder()
        if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):  # of the hub's cache
            return f"{weights.model}@{folder.name}"
        files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
        return "+".join(sha256_file(file) for file in files)
