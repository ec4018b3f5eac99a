"""Hidden states of a GGUF file, through llama.cpp in process (``xllamacpp``)."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError

_TEMPLATE_ROOM = 512  # tokens that a chat template may put around a prompt
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is in this process


class GGUFStates:
    """llama.cpp in its embeddings mode; the arguments are those of ``LLMHiddenBackbone``.

    It pools the states after the model's final norm.

    Raises:
        ErpError: llama.cpp is not installed, or does not load the file.
    """

    def __init__(
        self,
        path: Path,
        pooling: Literal["mean", "last"],
        template: Literal["chat"] | None,
        max_tokens: int,
        batch_size: int,
        device: Literal["auto", "cpu", "cuda"],
    ) -> None:
        try:
            import xllamacpp
        except ModuleNotFoundError:
            raise ErpError(f"{path.name}: needs the package xllamacpp; pip install 'erp[llamacpp]'") from None
        self.path, self.template, self.max_tokens, self.batch_size = path, template, max_tokens, batch_size
        pool, kind = xllamacpp.llama_pooling_type, xllamacpp.ggml_type
        room = max_tokens + _TEMPLATE_ROOM
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.embedding = True
        params.pooling_type = pool.LLAMA_POOLING_TYPE_MEAN if pooling == "mean" else pool.LLAMA_POOLING_TYPE_LAST
        params.n_parallel = batch_size
        params.n_ctx = batch_size * room
        # A prompt has to be read in one piece: of one that is not, the mean would be that of its last piece. It is not
        # where a batch is shorter than it, nor where each sequence has memory of its own, as batches are then cut to
        # the shortest.
        params.n_batch = params.n_ubatch = room
        params.kv_unified = True
        # In 32 bits throughout, an embedding does not depend on what shares its batch, up to floating point.
        params.cache_type_k = params.cache_type_v = kind.GGML_TYPE_F32
        params.flash_attn_type = type(params.flash_attn_type).LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.cpuparams.n_threads = os.cpu_count() or 1
        params.n_gpu_layers = 0 if device == "cpu" else -1
        params.verbosity = -1
        params.endpoint_slots = False
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            raise ErpError(
                f"{path}: llama.cpp does not load it ({error}); check that it is a GGUF file, and that "
                f"backbone.batch_size = {batch_size} x {room} tokens fit in memory"
            ) from None

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text by itself."""
        return list(self._post("/tokenize", {"content": text})["tokens"])

    def text(self, ids: Sequence[int]) -> str:
        """What token ids read."""
        return str(self._post("/detokenize", {"tokens": list(ids)})["content"])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Pooled hidden states, (n, d); zero for a text of no token. Texts of like length share a request."""
        ids = [self._ids(text) for text in texts]
        order = sorted((row for row in range(len(ids)) if ids[row]), key=lambda row: len(ids[row]))
        found: dict[int, list[float]] = {}
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            found |= zip(rows, self._pooled([ids[row] for row in rows]), strict=True)
        if not found:  # how long a vector is, only a vector tells
            return np.zeros((len(ids), len(self._pooled([self._with_special("a")])[0])), dtype=np.float32)
        nothing = [0.0] * len(next(iter(found.values())))
        return np.array([found.get(row, nothing) for row in range(len(ids))], dtype=np.float32)

    def _ids(self, prompt: str) -> list[int]:
        if self.template == "chat":
            prompt = self._post("/apply-template", {"messages": [{"role": "user", "content": prompt}]})["prompt"]
        return self._with_special(prompt)

    def _with_special(self, text: str) -> list[int]:
        """Token ids, with the special ones that the model puts around a text."""
        return list(self._post("/tokenize", {"content": text, "add_special": True})["tokens"])

    def _pooled(self, ids: list[list[int]]) -> list[list[float]]:
        answer = self._post("/embeddings", {"content": ids, "embd_normalize": -1})
        return [one["embedding"][0] for one in sorted(answer, key=lambda one: int(one["index"]))]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _DIRECT.open(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            reason = " ".join(error.read().decode(errors="replace").split())[:200]
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        raise ErpError(
            f"{self.path}: llama.cpp gave no {path.strip('/')} ({reason}); "
            f"try a smaller backbone.max_tokens, or another backbone.template"
        )
