"""Hugging Face transformers as an engine: any causal LM; a sample is the same whatever it is batched with."""

from __future__ import annotations

import copy
import gc
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from erp.config import Decoding, Member
from erp.engines.base import Answer, Engine, Failure, Message, Request, Response
from erp.engines.conversations import (
    ENDLESS,
    common_prefix,
    conversation_ids,
    first_tokens,
    longest_response,
    model_folder,
)
from erp.engines.decoding import Draws, Ends
from erp.errors import ErpError, shorten

R = TypeVar("R")
SORTED = 256  # requests looked at together, so that conversations of like length share a batch


class TransformersEngine(Engine):
    """Sampling, and next-token log-odds, with a model that is loaded here.

    Only the member's decoding decides how tokens are drawn: what a release's ``generation_config.json`` recommends
    (top_k, repetition_penalty, ...) is left aside, except for its end-of-turn tokens. Every sample has random numbers
    of its own, so it does not depend on the batch it is drawn in, up to floating point.

    Args:
        dtype: of the weights; ``auto`` as they are stored.
        device: ``auto`` is CUDA where there is one.
        batch_size: sequences at once, requests times samples. Halved where memory runs out.
        attention: transformers' name of an attention implementation; None for its own choice.
        trust_remote_code: run code that comes with the weights.
    """

    pace = frozenset(["device", "batch_size"])

    def __init__(
        self,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        device: Literal["auto", "cpu", "cuda"] = "auto",
        batch_size: int = 16,
        attention: str | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ErpError(f"engine.batch_size = {batch_size}: give 1 or more")
        self.dtype = dtype
        self.device = device
        self.batch_size = batch_size
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self._weights_dir: str | None = None
        self._loaded: _Loaded | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def close(self) -> None:
        """Free the model's memory."""
        if self._loaded is not None:
            self._loaded = None
            gc.collect()
            torch.cuda.empty_cache()

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """Sample responses to each request, of some at a time short conversations first; see the base class."""
        model = self._open(member)
        positions = enumerate(requests)
        while some := list(islice(positions, SORTED)):
            rows = []
            for position, request in some:
                ids = conversation_ids(model.tokenizer, request.messages, member)
                limit = longest_response(member, model.context, len(ids))
                if limit < 1:
                    yield from ((position, j, model.too_long(ids)) for j in request.samples)
                    continue
                rows += [_Row(position, ids, limit, request.seed + j, j) for j in request.samples]
            for row, answer in _in_batches(rows, self.batch_size, lambda batch: _sample(model, batch, member.decoding)):
                yield row.position, row.sample, answer

    def log_odds(
        self, prefix: tuple[Message, ...], endings: Sequence[str], member: Member, yes: Sequence[str], no: Sequence[str]
    ) -> list[float | Failure]:
        """Log-odds of ``yes`` against ``no`` as the next turn's first token; see ``NextToken``."""
        model = self._open(member)
        words = first_tokens(model.tokenizer, yes, no)
        *before, last = prefix
        conversations = [(*before, {**last, "content": last["content"] + ending}) for ending in endings]
        prompts = [conversation_ids(model.tokenizer, messages, member) for messages in conversations]
        odds: list[float | Failure] = [model.too_long(ids) for ids in prompts]  # those that fit are scored below
        fitting = [position for position, ids in enumerate(prompts) if len(ids) <= model.context]
        # the memory of a recurrent model (Mamba) cannot be handed to a whole batch: it reads everything every time
        recurrent = getattr(model.model, "_is_stateful", False)
        shared = [] if recurrent else common_prefix([prompts[position] for position in fitting])
        memory = cache(lambda: model.read(shared))  # at the first batch, where running out of memory is dealt with
        rows = [_Row(position, prompts[position][len(shared) :]) for position in fitting]
        for row, value in _in_batches(
            rows, self.batch_size, lambda batch: _next_token_odds(model, batch, len(shared), memory(), words)
        ):
            odds[row.position] = value
        return odds

    def _open(self, member: Member) -> _Loaded:
        """The member's model; the one before it makes room."""
        key = (member.weights, member.revision, member.file, member.sha256)
        if self._loaded is None or self._loaded.key != key:
            self.close()
            self._loaded = self._load(member, key)
        return self._loaded

    def _load(self, member: Member, key: tuple[str | None, ...]) -> _Loaded:
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
        from transformers.utils import logging

        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        if device == "cuda" and not torch.cuda.is_available():
            raise ErpError("engine.device = cuda: PyTorch sees no CUDA device; give cpu or auto")
        folder = model_folder(member, self._weights_dir)
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # its "Loading weights" bar would stand beside ours
        options = {"trust_remote_code": self.trust_remote_code, "local_files_only": True}
        how = {"dtype": self.dtype, "attn_implementation": self.attention, "output_loading_info": True}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **options)
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, **how, **options)
            model = loaded[0].to(device).eval()
        except torch.OutOfMemoryError:
            raise ErpError(
                f"{folder}: does not fit into the GPU's memory with engine.dtype = {self.dtype}; give 16 bits, "
                f"engine.device=cpu, or choose an engine that spreads it over GPUs or quantizes it"
            ) from None
        except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
            raise _unusable(member, folder, repr(error)[:200]) from None
        if missing := loaded[1]["missing_keys"]:  # transformers would fill them with random numbers
            raise _unusable(member, folder, f"its weights lack {shorten(sorted(missing), 3)}")
        ends = model.generation_config.eos_token_id
        ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.eos_token_id} - {None}
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or ENDLESS
        return _Loaded(key, model, tokenizer, context, torch.tensor(sorted(ends), dtype=torch.long, device=device))


@dataclass(frozen=True)
class _Loaded:
    """A model that is loaded; ``ends`` are the tokens that end a turn."""

    key: tuple[str | None, ...]
    model: Any
    tokenizer: Any
    context: int
    ends: torch.Tensor

    def too_long(self, ids: list[int]) -> Failure:
        return Failure(f"a conversation of {len(ids)} tokens; {self.key[0]} has room for {self.context}", final=True)

    def padded(self, ids: Sequence[list[int]], side: Literal["left", "right"]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and attention mask, (sequences, longest). What stands in the padding is never looked at."""
        width = max(map(len, ids))
        gaps = [[0] * (width - len(row)) for row in ids]
        before = side == "left"
        tokens = [gap + row if before else row + gap for gap, row in zip(gaps, ids, strict=True)]
        ones = [[1] * len(row) for row in ids]
        mask = [gap + one if before else one + gap for gap, one in zip(gaps, ones, strict=True)]
        return torch.tensor(tokens, device=self.ends.device), torch.tensor(mask, device=self.ends.device)

    @torch.inference_mode()
    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor, memory: Any, places: list[int]
    ) -> tuple[torch.Tensor, Any]:
        """Logits at these places, (sequences, places, vocabulary), and the model's memory (key-value cache) after it.

        The vocabulary of every place would be gigabytes; a model that cannot be told so computes it all the same.
        """
        known = inspect.signature(self.model.forward).parameters
        cache = "cache" if "cache" in known else "past_key_values"  # its name until transformers 5.2x
        some = {"logits_to_keep": torch.tensor(places, device=tokens.device)} if "logits_to_keep" in known else {}
        output = self.model(tokens, attention_mask=mask, use_cache=True, **{cache: memory}, **some)
        return output.logits if some else output.logits[:, places], getattr(output, cache)

    def read(self, ids: list[int]) -> Any:
        """The model's memory of a text; None of an empty one."""
        return self.forward(*self.padded([ids], "left"), None, [0])[1] if ids else None


@dataclass(frozen=True)
class _Row:
    """One sequence: whose it is, its token ids, how many tokens it may get and the seed it draws them with."""

    position: int
    ids: list[int]
    limit: int = 0
    seed: int = 0
    sample: int = 0


def _in_batches(
    rows: list[_Row], size: int, run: Callable[[list[_Row]], list[R]]
) -> Iterator[tuple[_Row, R | Failure]]:
    """Run over rows of similar length and equal limit together; batches are halved when CUDA is out of memory."""
    rows = sorted(rows, key=lambda row: len(row.ids))  # limits then fall, and equal ones stand together
    while rows:
        batch = [row for row in rows[:size] if row.limit == rows[0].limit]
        results: list[R] | list[Failure] | None = None
        with suppress(torch.OutOfMemoryError):  # out of this block, the traceback has let go of the tensors
            results = run(batch)
        if results is None:
            torch.cuda.empty_cache()
            if len(batch) > 1:
                size = len(batch) // 2
                continue
            results = [Failure(f"out of memory with one sequence of {len(batch[0].ids)} tokens")]
        yield from zip(batch, results, strict=True)
        rows = rows[len(batch) :]


@torch.inference_mode()
def _sample(model: _Loaded, rows: list[_Row], decoding: Decoding) -> list[Response]:
    tokens, mask = model.padded([row.ids for row in rows], "left")
    width = tokens.shape[1]
    ends = Ends(model.tokenizer, model.ends, len(rows), width, decoding.stop)
    draws = [] if decoding.temperature == 0 else [Draws(decoding, [row.seed for row in rows], tokens.device)]
    sequences = model.model.generate(
        tokens,
        attention_mask=mask,
        do_sample=False,  # the most likely token, after Draws has added its noise
        max_new_tokens=rows[0].limit,
        logits_processor=draws,
        stopping_criteria=[ends],
    )
    responses = []
    for row, said, length, by_token in zip(
        rows, sequences[:, width:].tolist(), ends.length.tolist(), ends.by_token.tolist(), strict=True
    ):
        said = said[: length or row.limit]
        text = model.tokenizer.decode(
            said[:-1] if by_token else said, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        cuts = [at for stop in decoding.stop if (at := text.find(stop)) >= 0]
        text = text[: min(cuts)] if cuts else text
        responses.append(Response(text, len(row.ids), len(said), "stop" if length else "length"))
    return responses


@torch.inference_mode()
def _next_token_odds(
    model: _Loaded, rows: list[_Row], shared: int, memory: Any, words: tuple[list[int], list[int]]
) -> list[float]:
    """``memory`` is of one sequence of ``shared`` tokens that stands before every row; the rows are padded right."""
    tokens, mask = model.padded([row.ids for row in rows], "right")
    mask = torch.cat([mask.new_ones(len(rows), shared), mask], dim=1)
    if memory is not None:
        memory = copy.deepcopy(memory)  # a forward pass writes into it
        memory.batch_repeat_interleave(len(rows))
    last = [len(row.ids) - 1 for row in rows]
    places = sorted(set(last))
    logits, _ = model.forward(tokens, mask, memory, places)
    ours = logits[range(len(rows)), [places.index(place) for place in last]].float()
    yes, no = words
    odds: list[float] = (ours[:, yes].logsumexp(1) - ours[:, no].logsumexp(1)).tolist()  # the softmax's sum cancels
    return odds


def _unusable(member: Member, folder: Path, why: str) -> ErpError:
    return ErpError(f"{folder}: cannot be loaded as a causal LM ({why}); put all files of {member.weights} there")
