"""Any sentence-transformers encoder as a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, plain_text
from erp.errors import ErpError
from erp.files import sha256_file
from erp.weights import Weights, find_weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class SentenceTransformerBackbone(Backbone):
    """Sentence embeddings of an encoder, in 32 bits whatever its weights are stored in.

    Args:
        model: hub id, or a folder.
        sha256: of its ``model.safetensors``; checked where given.
        package: import name of an installable package that carries the weights.
        revision: of the hub's repository.
        prefix: put before every prompt, for encoders trained with an instruction. It counts towards ``max_tokens``.
        max_tokens: longer prompts are cut; None for the encoder's own limit.
        batch_size: prompts encoded at once.
        active_parameters: of the encoder: what routing a prompt costs in FLOPs. It changes no embedding.
    """

    def __init__(
        self,
        model: str,
        sha256: str | None = None,
        package: str | None = None,
        revision: str | None = None,
        prefix: str = "",
        max_tokens: int | None = None,
        batch_size: int = 64,
        active_parameters: float | None = None,
    ) -> None:
        if batch_size < 1:
            raise ErpError(f"backbone.batch_size = {batch_size}: give 1 or more")
        self.weights = Weights(model, sha256=sha256, package=package, revision=revision)
        self.prefix = prefix
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.active_parameters = active_parameters
        self._weights_dir: str | None = None
        self._encoder: SentenceTransformer | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def fingerprint(self) -> str:
        """The weight file's hash and what is done to a prompt; finds (or downloads) the file if no hash was given."""
        sha256 = self.weights.sha256
        if sha256 is None:
            sha256 = sha256_file(find_weights(self.weights, self._weights_dir) / self.weights.file)
        return f"{self.kind()} {sha256} prefix={self.prefix!r} max_tokens={self.max_tokens}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Encode, (n, d)."""
        if self._encoder is None:
            self._encoder = self._load()
        texts = [plain_text(self.prefix + prompt) for prompt in prompts]
        vectors = self._encoder.encode(texts, batch_size=self.batch_size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def _load(self) -> SentenceTransformer:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its "Loading weights" bar would stand beside ours
        folder = find_weights(self.weights, self._weights_dir)
        try:
            # In 16 bits, as some are released, a vector would depend on what it is batched with.
            encoder = SentenceTransformer(str(folder), local_files_only=True, model_kwargs={"dtype": "float32"})
        except (OSError, ValueError, SafetensorError) as error:
            raise ErpError(
                f"{folder}: cannot be loaded as a sentence-transformers model ({str(error).splitlines()[0][:120]}); "
                f"put all files of {self.weights.model} there"
            ) from None
        if self.max_tokens is not None:
            encoder.max_seq_length = self.max_tokens
        return encoder
