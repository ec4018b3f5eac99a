"""Static embeddings: a vector for each token, looked up and averaged. Neither torch nor a network's layers are run."""

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
    from model2vec import StaticModel

_AT_ONCE = 32  # texts of like lengths, whose tokens' vectors lie in memory together


class StaticBackbone(Backbone):
    """Mean of a prompt's tokens' vectors, by model2vec.

    All of a prompt is read, however long it is. A token that the tokenizer does not know counts for nothing, and a
    prompt of no known token is the zero vector.

    Args:
        model: hub id, or a folder, with ``model.safetensors`` and ``tokenizer.json``.
        sha256: of the first; checked where given.
        tokenizer_sha256: of the second; checked where given.
        revision: of the hub's repository.
        package: import name of an installable package that carries the files.
        active_parameters: read for a token: what routing a prompt costs in FLOPs. It changes no embedding.
    """

    def __init__(
        self,
        model: str,
        sha256: str | None = None,
        tokenizer_sha256: str | None = None,
        revision: str | None = None,
        package: str | None = None,
        active_parameters: float | None = None,
    ) -> None:
        self.weights = Weights(model, "model.safetensors", sha256, package, revision)
        self.tokenizer = Weights(model, "tokenizer.json", tokenizer_sha256, package, revision)
        self.active_parameters = active_parameters
        self._weights_dir: str | None = None
        self._model: StaticModel | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def fingerprint(self) -> str:
        """Hashes of the vectors and of their tokenizer; finds the files without a hash."""
        vectors, tokenizer = (
            found.sha256 or sha256_file(find_weights(found, self._weights_dir) / found.file)
            for found in (self.weights, self.tokenizer)
        )
        return f"{self.kind()} {vectors} tokenizer={tokenizer}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Look up, (n, d). Raises ErpError where model2vec or a file is missing, or is of something else."""
        if self._model is None:
            self._model = self._load()
        if not prompts:
            return np.zeros((0, self._model.dim), dtype=np.float32)
        texts = [plain_text(prompt) for prompt in prompts]
        try:
            vectors = self._model.encode(texts, max_length=None, batch_size=_AT_ONCE, use_multiprocessing=False)
        except IndexError:
            raise ErpError(
                f"backbone.model = {self.weights.model}: its tokenizer knows tokens that have no vector; put the "
                f"released {self.weights.file} and {self.tokenizer.file} there"
            ) from None
        return np.asarray(vectors, dtype=np.float32)

    def _load(self) -> StaticModel:
        try:
            from model2vec import StaticModel
        except ModuleNotFoundError as error:
            raise ErpError(
                f"backbone.model = {self.weights.model}: needs the package {error.name}; pip install 'erp[static]'"
            ) from None
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        file = find_weights(self.weights, self._weights_dir) / self.weights.file
        words = find_weights(self.tokenizer, self._weights_dir) / self.tokenizer.file
        try:
            tensors = load_file(file)
            # In 32 bits whatever they are stored in. The others are there where tokens share vectors.
            vectors = tensors["embeddings"].astype(np.float32)
            return StaticModel(
                vectors, Tokenizer.from_file(str(words)), weights=tensors.get("weights"),
                token_mapping=tensors.get("mapping"),
            )  # fmt: skip
        except Exception as error:  # the two libraries' errors have no class in common
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise ErpError(
                f"{file}: is no static model with its {words.name} ({said[:120]}); put the released files of "
                f"{self.weights.model} there"
            ) from None
