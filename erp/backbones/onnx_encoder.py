"""An encoder in ONNX, run by ONNX Runtime: no torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone, normalised, plain_text
from erp.backbones.onnx_integers import in_integers
from erp.backbones.windows import Long, Pieces, Window, whole, window_of
from erp.errors import ErpError
from erp.files import sha256_file
from erp.weights import Weights, find_weights

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

_FEW = 4  # prompts that one thread reads about as soon as several are woken
_ARITHMETIC = "int8"  # of products with 8-bit weights; another gives other vectors
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxBackbone(Backbone):
    """Sentence embeddings of an encoder in ONNX: the mean of its tokens' last states, at length one.

    Weights that lie in 8 bits are multiplied in 8 bits, with what they meet quantised as it comes. Its scale is one for
    all that is read at once: in a batch, a vector would depend on its neighbours. So every prompt is read by itself,
    unpadded and on one thread, and its vector is a function of it alone. Several threads read several prompts.

    Args:
        model: a name, under which ``weights_dir`` may have a folder with ``model.onnx``, or the path of such a folder.
        sha256: of that file; checked where given.
        package: import name of an installable package that carries it.
        tokenizer: hub id of the released model, or a folder, with its ``tokenizer.json`` and how many tokens it reads.
        tokenizer_sha256: of that file; checked where given.
        tokenizer_package: import name of an installable package that carries the released model.
        max_tokens: how many it reads at once; None for the released model's own limit.
        long: what is read of a prompt with more: its ``head``, its ``tail``, or all of it in pieces (``mean``).
        threads: at most, for many prompts, and no more than there are cores. A few prompts are read by one.
        active_parameters: of the encoder: what routing a prompt costs in FLOPs. It changes no embedding.

    Raises:
        ErpError: on fewer than one thread.
    """

    def __init__(
        self,
        model: str,
        tokenizer: str,
        sha256: str | None = None,
        package: str | None = None,
        tokenizer_sha256: str | None = None,
        tokenizer_package: str | None = None,
        max_tokens: int | None = None,
        long: Long = "head",
        threads: int = 8,
        active_parameters: float | None = None,
    ) -> None:
        if threads < 1:
            raise ErpError(f"backbone.threads = {threads}: give 1 or more")
        self.weights = Weights(model, "model.onnx", sha256, package)
        self.tokenizer = Weights(tokenizer, "tokenizer.json", tokenizer_sha256, tokenizer_package)
        self.max_tokens = max_tokens
        self.long: Long = long
        self.threads = min(threads, os.cpu_count() or 1)
        self.active_parameters = active_parameters
        self._window: Window | None = None
        self._weights_dir: str | None = None
        self._loaded: tuple[Tokenizer, InferenceSession] | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def fingerprint(self) -> str:
        """Hashes of the encoder and its tokenizer, and what is read of a prompt; finds the files without a hash."""
        model, tokenizer = (
            found.sha256 or sha256_file(find_weights(found, self._weights_dir) / found.file)
            for found in (self.weights, self.tokenizer)
        )
        return (
            f"{self.kind()} {model} {_ARITHMETIC} tokenizer={tokenizer} max_tokens={self.max_tokens} long={self.long}"
        )

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Encode, (n, d). Raises ErpError where ONNX Runtime or a file is missing, or is not of an encoder."""
        if self._loaded is None:
            self._loaded = self._load()
        tokenizer, session = self._loaded
        width = session.get_outputs()[0].shape[-1]
        pieces = self._pieces(prompts)
        ids = [one.ids for one in tokenizer.encode_batch_fast(pieces.texts)] if pieces.texts else []
        vectors = np.empty((len(ids), width), dtype=np.float32)

        def read(row: int) -> None:
            vectors[row] = _mean_state(session, ids[row])

        if len(ids) < _FEW:
            for row in range(len(ids)):
                read(row)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(read, range(len(ids))))  # asked for, so that an error is raised here
        return pieces.joined(normalised(vectors))

    def window(self) -> int:
        """Tokens that the encoder reads at once."""
        return self.reader().size

    def unread(self, prompts: Sequence[str]) -> NDArray[np.int64]:
        """Tokens of each prompt that are cut off, (n,)."""
        if self.long == "mean":
            return np.zeros(len(prompts), dtype=np.int64)
        return self.reader().unread([plain_text(prompt) for prompt in prompts])

    def reader(self) -> Window:
        """Tokenizer and window."""
        if self._window is None:
            self._window = window_of(find_weights(self.tokenizer, self._weights_dir), self.max_tokens, "")
        return self._window

    def reader_on_disk(self) -> Window:
        """The same, without looking for it elsewhere than on this machine."""
        return window_of(find_weights(self.tokenizer, self._weights_dir, download=False), self.max_tokens, "")

    def _pieces(self, prompts: Sequence[str]) -> Pieces:
        texts = [plain_text(prompt) for prompt in prompts]
        return whole(texts) if self.long == "head" else self.reader().pieces(texts, self.long)

    def _load(self) -> tuple[Tokenizer, InferenceSession]:
        try:
            import onnx  # noqa: F401  # before anything is read
            from onnxruntime import InferenceSession, SessionOptions
        except ModuleNotFoundError as error:
            raise ErpError(
                f"backbone.model = {self.weights.model}: needs the package {error.name}; pip install 'erp[onnx]'"
            ) from None
        from tokenizers import Tokenizer

        file = find_weights(self.weights, self._weights_dir, download=False) / self.weights.file
        options = SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # within a prompt
        options.log_severity_level = 3
        # On CPUs without VNNI, sums of unsigned times signed bytes would overflow; this takes slower, exact ones.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            session = InferenceSession(in_integers(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the two libraries' errors have no class in common
            raise ErpError(f"{file}: cannot be loaded by ONNX Runtime ({str(error).splitlines()[0][:120]})") from None
        output = session.get_outputs()[0]
        if {one.name for one in session.get_inputs()} - {*_INPUTS} or len(output.shape) != 3:
            raise ErpError(f"{file}: is no text encoder with {', '.join(_INPUTS)} in and states of tokens out")
        folder = find_weights(self.tokenizer, self._weights_dir)
        tokenizer = Tokenizer.from_file(str(folder / self.tokenizer.file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.reader().size)
        return tokenizer, session


def _mean_state(session: InferenceSession, ids: list[int]) -> NDArray[np.float32]:
    """Mean over one text's tokens of their last states, (d,)."""
    tokens = np.array([ids], dtype=np.int64)
    values = dict(zip(_INPUTS, (tokens, np.ones_like(tokens), np.zeros_like(tokens)), strict=True))
    states = session.run(None, {one.name: values[one.name] for one in session.get_inputs()})[0]
    return np.asarray(states[0].mean(axis=0), dtype=np.float32)
