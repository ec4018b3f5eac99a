"""Hidden states of a causal LM that transformers loads."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from erp.config import Member
from erp.engines.conversations import conversation_ids
from erp.errors import ErpError, shorten

_READER = "backbone"  # whose chat template it is, in error lines


class CausalLMStates:
    """A causal LM without its head, and its tokenizer; the arguments are those of ``LLMHiddenBackbone``.

    Raises:
        ErpError: it cannot be loaded, has no such layer, no chat template where one is asked for, or less room than
            ``max_tokens``.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        layer: int | float,
        pooling: Literal["mean", "last"],
        template: Literal["chat"] | None,
        max_tokens: int,
        batch_size: int,
        dtype: str,
        device: Literal["auto", "cpu", "cuda"],
    ) -> None:
        self.member = Member(name=_READER, model=name)
        self.pooling, self.template, self.max_tokens, self.batch_size = pooling, template, max_tokens, batch_size
        self.device = on_device(device)
        model, self.tokenizer = loaded(folder, name, dtype, self.device)
        self.model = model.base_model
        config = self.model.config.get_text_config()
        self.layers: int = config.num_hidden_layers
        self.layer = layer_number(layer, self.layers, name)
        self.dimension: int = config.hidden_size
        room_for(max_tokens, config, name)
        if template == "chat" and not self.tokenizer.chat_template:
            raise ErpError(f"backbone.template = chat: {name} has no chat template; give null, or an instruct model")

    def tokens(self, text: str) -> list[int]:
        """Token ids of a text by itself."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """What token ids read."""
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Pooled hidden states, (n, d); zero for a text of no token. Texts of like length share a batch."""
        ids = [self._ids(text) for text in texts]
        vectors = np.zeros((len(ids), self.dimension), dtype=np.float32)
        order = sorted((row for row in range(len(ids)) if ids[row]), key=lambda row: len(ids[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            tokens, mask = padded([ids[row] for row in rows])
            vectors[rows] = pooled(self._hidden(tokens, mask), mask, self.pooling).numpy()
        return vectors

    def _ids(self, prompt: str) -> list[int]:
        if self.template == "chat":
            return conversation_ids(self.tokenizer, [{"role": "user", "content": prompt}], self.member)
        ids: list[int] = self.tokenizer(prompt)["input_ids"]
        return ids

    @torch.inference_mode()
    def _hidden(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """States of the layer, (sequences, longest, d) float32 on the CPU."""
        last = self.layer == self.layers  # then the states of all layers need not be kept at once
        output = self.model(
            tokens.to(self.device),
            attention_mask=mask.to(self.device),
            output_hidden_states=not last,
            use_cache=False,
        )
        states: Tensor = output.last_hidden_state if last else output.hidden_states[self.layer]
        return states.float().cpu()


def padded(ids: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, (sequences, longest), padded on the right whatever the tokenizer would do.

    What comes later never changes a causal model's earlier states: no model, and no kind of position, minds it.
    """
    width = max(map(len, ids))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
    return tokens, mask


def pooled(hidden: Tensor, mask: Tensor, pooling: Literal["mean", "last"]) -> Tensor:
    """One vector per sequence, (sequences, d), wherever its padding stands.

    Args:
        hidden: (sequences, length, d).
        mask: (sequences, length), 1 for a token and 0 for padding; a token or more in each row.
        pooling: mean over the tokens, or the last one.
    """
    if pooling == "mean":
        present = mask.bool().unsqueeze(-1)  # not a product with 0: what stands in the padding may be no number
        return torch.where(present, hidden, 0).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1]).expand_as(mask)
    last = torch.where(mask.bool(), places, -1).argmax(dim=1)
    return hidden[torch.arange(len(hidden)), last]


def layer_number(layer: int | float, layers: int, name: str) -> int:
    """Position among the ``layers`` + 1 hidden states, 0 the embeddings. Raises ErpError where there is none such."""
    if isinstance(layer, float):
        return max(1, round(layer * layers))
    if not -layers <= layer <= layers:
        raise ErpError(
            f"backbone.layer = {layer}: {name} has {layers} layers; "
            f"give {-layers} to {layers}, or a fraction of its depth"
        )
    return layer % (layers + 1)


def room_for(max_tokens: int, config: Any, name: str) -> None:
    """Raises ErpError where a model has fewer positions."""
    if (room := getattr(config, "max_position_embeddings", None)) is not None and max_tokens > room:
        raise ErpError(f"backbone.max_tokens = {max_tokens}: {name} has room for {room}; give that or fewer")


def on_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """PyTorch's name of the device that is wanted. Raises ErpError where there is none such."""
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        raise ErpError("backbone.device = cuda: PyTorch sees no CUDA device; give cpu or auto")
    return wanted if wanted != "auto" else ("cuda" if available else "cpu")


def loaded(folder: Path, name: str, dtype: str, device: str, gguf_file: str | None = None) -> tuple[Any, Any]:
    """The model, in evaluation mode, and its tokenizer; those of a GGUF file of the folder, where one is named.

    Raises:
        ErpError: they cannot be loaded.
    """
    if gguf_file and not all(map(find_spec, ("gguf", "accelerate"))):
        raise ErpError(
            f"{gguf_file}: transformers unpacks it, for the states of all layers, with gguf and accelerate; "
            f"pip install 'erp[gguf]', or give backbone=llm_hidden, which has the last layer's by llama.cpp"
        )
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its "Loading weights" bar would stand beside ours
    try:
        which: dict[str, Any] = {"local_files_only": True} | ({"gguf_file": gguf_file} if gguf_file else {})
        tokenizer = AutoTokenizer.from_pretrained(folder, **which)
        found: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, output_loading_info=True, **which)
        model = found[0].to(device).eval()
    except torch.OutOfMemoryError:
        raise ErpError(
            f"{folder}: does not fit into the GPU's memory with backbone.dtype = {dtype}; "
            f"give 16 bits, or backbone.device=cpu"
        ) from None
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, struct.error, SafetensorError) as error:
        raise _unusable(folder, name, " ".join(repr(error).split())[:200]) from None
    if missing := found[1]["missing_keys"]:  # transformers would fill them with random numbers
        raise _unusable(folder, name, f"its weights lack {shorten(sorted(missing), 3)}")
    return model, tokenizer


def _unusable(folder: Path, name: str, why: str) -> ErpError:
    return ErpError(f"{folder}: cannot be loaded as a causal LM ({why}); put all files of {name} there")
