"""Any sentence-transformers or transformers encoder as a backbone, as it was released or fine-tuned."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, plain_text
from erp.backbones.windows import Long, Pieces, Window, whole, window_of
from erp.errors import ErpError
from erp.files import sha256_file
from erp.threads import threads_for
from erp.weights import Weights, find_weights

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from erp.backbones.encoder import Encoder


class SentenceTransformerBackbone(Backbone):
    """Sentence embeddings of an encoder, in 32 bits whatever its weights are stored in.

    A folder without sentence-transformers' own files is read by transformers, and the states of its tokens averaged,
    unless ``pooling`` says otherwise.

    Args:
        model: hub id, or a folder.
        sha256: of its weight file; checked where given.
        package: import name of an installable package that carries the weights.
        revision: of the hub's repository.
        prefix: put before every prompt, for encoders trained with an instruction. It counts towards ``max_tokens``.
        max_tokens: how many it reads at once; None for the encoder's own limit.
        long: what is read of a prompt with more: its ``head``, its ``tail``, or all of it in pieces, each with the
            prefix, whose vectors are averaged by their tokens (``mean``) before the result is brought to length one.
        batch_size: prompts encoded at once.
        active_parameters: of the encoder: what routing a prompt costs in FLOPs. It changes no embedding.
        finetune: train the encoder along with the router, which has to have a loss.
        encoder_learning_rate: of its top layer, then.
        layer_decay: what that rate is multiplied by from layer to layer, down to the embeddings; 1 for one rate.
        file: its weight file, of releases older than safetensors ``pytorch_model.bin``.
        pooling: what is made of the states of its tokens: the first one's (``cls``) or their ``mean``; None: as
            released.

    Raises:
        ErpError: on a batch size below 1, a learning rate that is none, or a decay outside (0, 1].
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
        finetune: bool = False,
        encoder_learning_rate: float = 2e-5,
        layer_decay: float = 0.9,
        long: Long = "head",
        file: str = "model.safetensors",
        pooling: Literal["cls", "mean"] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ErpError(f"backbone.batch_size = {batch_size}: give 1 or more")
        if not 0 < encoder_learning_rate < float("inf"):
            raise ErpError(f"backbone.encoder_learning_rate = {encoder_learning_rate}: give a number above 0")
        if not 0 < layer_decay <= 1:
            raise ErpError(f"backbone.layer_decay = {layer_decay}: give a number above 0 and up to 1")
        self.weights = Weights(model, file, sha256, package, revision)
        self.prefix = prefix
        self.max_tokens = max_tokens
        self.batch_size = batch_size
        self.active_parameters = active_parameters
        self.finetune = finetune
        self.encoder_learning_rate = encoder_learning_rate
        self.layer_decay = layer_decay
        self.long: Long = long
        self.pooling = pooling
        self._window: Window | None = None
        self._weights_dir: str | None = None
        self._model: SentenceTransformer | None = None
        self._encoder: Encoder | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def fingerprint(self) -> str:
        """The weight file's hash and what is done to a prompt; finds (or downloads) the file if no hash was given.

        Once the encoder was handed out, to be trained or loaded, also the hash of its weights as they are now.
        """
        sha256 = self.weights.sha256
        if sha256 is None:
            sha256 = sha256_file(find_weights(self.weights, self._weights_dir) / self.weights.file)
        released = f"{self.kind()} {sha256} prefix={self.prefix!r} max_tokens={self.max_tokens}"
        if self.long != "head":
            released += f" long={self.long}"
        if self.pooling is not None:
            released += f" pooling={self.pooling}"
        return released if self._encoder is None else f"{released} weights={self._encoder.digest()}"

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Encode, (n, d)."""
        pieces = self._pieces(prompts)
        model = self._loaded()
        with threads_for(len(pieces.texts)):
            vectors = model.encode(pieces.texts, batch_size=self.batch_size, show_progress_bar=False)
        return pieces.joined(np.asarray(vectors, dtype=np.float32))

    def window(self) -> int | None:
        """Tokens that the encoder reads at once, the prefix among them."""
        reader = self.reader()
        return None if reader is None else reader.size

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each prompt that are cut off, (n,)."""
        reader = self.reader()
        if reader is None or self.long == "mean":
            return np.zeros(len(prompts), dtype=np.int64)
        return reader.unread([plain_text(prompt) for prompt in prompts])

    def reader(self) -> Window | None:
        """Tokenizer and window; None for an encoder without a limit. Loads the encoder at the first call."""
        if self._window is None:
            model = self._loaded()
            size, tokenizer = model.max_seq_length, getattr(model.tokenizer, "backend_tokenizer", None)
            if size is not None and size < float("inf") and tokenizer is not None:
                self._window = Window(tokenizer, int(size), self.prefix)
        return self._window

    def reader_on_disk(self) -> Window | None:
        """The same without loading the encoder, and without looking for it elsewhere than on this machine."""
        folder = find_weights(self.weights, self._weights_dir, download=False)
        return window_of(folder, self.max_tokens, self.prefix)

    def encoder(self) -> Encoder:
        """The encoder, which ``embed`` shares. Raises ErpError where its layers are not found."""
        from erp.backbones.encoder import Encoder, SentenceVectors

        if self._encoder is None:
            model = self._loaded()
            self._encoder = Encoder(
                SentenceVectors(model), model.preprocess, self._layers(model), self.encoder_learning_rate,
                self.layer_decay, self.batch_size, self._pieces,
            )  # fmt: skip
        return self._encoder

    def _layers(self, model: SentenceTransformer) -> list[list[nn.Parameter]]:
        from erp.backbones.encoder import layers_of

        if self.layer_decay == 1:
            return [[parameter for parameter in model.parameters() if parameter.requires_grad]]
        depth = getattr(getattr(model.transformers_model, "config", None), "num_hidden_layers", 0)
        if layers := layers_of(model, depth):
            return layers
        raise ErpError(
            f"backbone.layer_decay = {self.layer_decay}: the layers of {self.weights.model} are not found, and "
            f"cannot have a rate each; give 1 for one rate"
        )

    def _pieces(self, prompts: Sequence[str]) -> Pieces:
        """What the encoder reads of the prompts. Raises ErpError where its tokens cannot be told, and have to be."""
        if self.long == "head":
            return whole([plain_text(self.prefix + prompt) for prompt in prompts])
        if (reader := self.reader()) is None:
            raise ErpError(
                f"backbone.long = {self.long}: {self.weights.model} tells no window of tokens; give head, or max_tokens"
            )
        return reader.pieces([plain_text(prompt) for prompt in prompts], self.long)

    def _loaded(self) -> SentenceTransformer:
        if self._model is None:
            self._model = self._load()
        return self._model

    def _load(self) -> SentenceTransformer:
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its "Loading weights" bar would stand beside ours
        folder = find_weights(self.weights, self._weights_dir)
        self._require_sentencepiece(folder)
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
        if self.pooling is not None:
            self._pool(encoder, self.pooling)
        return encoder

    def _require_sentencepiece(self, folder: Path) -> None:
        """Refuse a tokenizer that lies there as sentencepiece's model alone where nothing reads it. Raises ErpError."""
        if (folder / "tokenizer.json").exists() or not any(folder.glob("*.model")):
            return
        if importlib.util.find_spec("sentencepiece") is None:
            raise ErpError(
                f"backbone.model = {self.weights.model}: its tokenizer needs the package sentencepiece; "
                "pip install 'erp[mdeberta]'"
            )

    def _pool(self, encoder: SentenceTransformer, pooling: Literal["cls", "mean"]) -> None:
        from sentence_transformers.sentence_transformer.modules import Pooling

        at = next((at for at, part in enumerate(encoder) if isinstance(part, Pooling)), None)
        if at is None:
            raise ErpError(
                f"backbone.pooling = {pooling}: {self.weights.model} makes its vectors without pooling over tokens; "
                "give null"
            )
        encoder[at] = Pooling(encoder[at].embedding_dimension, pooling_mode=pooling)
