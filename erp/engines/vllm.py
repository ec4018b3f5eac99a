"""vLLM's offline ``LLM`` class as an engine.

Written against the interface that vLLM documents since 0.10 and tested against a stand-in of it: what is not tested
here is vLLM itself.
"""

from __future__ import annotations

import gc
import importlib
import secrets
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from erp.config import Member
from erp.engines.base import Answer, Engine, Failure, Request, Response, consecutive
from erp.engines.conversations import conversation_ids, model_folder
from erp.errors import ErpError


class VllmEngine(Engine):
    """Sampling with vLLM: many sequences at once, on one GPU or several.

    Sample j of a request is drawn with ``seed + j``, as vLLM counts up for its n samples; floating point still depends
    on the batch. The sampling that a release recommends (``generation_config.json``) is left aside, its end-of-turn
    tokens are kept.

    Args:
        tensor_parallel_size: GPUs that hold one copy of the weights; None for the member's ``resources.num_gpus``.
        gpu_memory_utilization: share of each GPU's memory that vLLM may take.
        max_model_len: tokens of a conversation and its response; None for the model's own context.
        dtype: of the weights; ``auto`` as they are stored (float32 becomes 16 bits).
        quantization: vLLM's name of a method; None for what the weights say.
        batch_size: requests handed over at once; they come back together.
        seeded: whether each sample has a seed of its own, which slows vLLM's sampler down; without, vLLM has one that
            is new whenever weights are loaded (its own default is always the same: samples would repeat).
        trust_remote_code: run code that comes with the weights.
    """

    pace = frozenset(["tensor_parallel_size", "gpu_memory_utilization", "max_model_len", "batch_size"])

    def __init__(
        self,
        tensor_parallel_size: int | None = None,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        quantization: str | None = None,
        batch_size: int = 256,
        seeded: bool = True,
        trust_remote_code: bool = False,
    ) -> None:
        if batch_size < 1:
            raise ErpError(f"engine.batch_size = {batch_size}: give 1 or more")
        self.batch_size, self.seeded = batch_size, seeded
        self.tensor_parallel_size = tensor_parallel_size
        self.options = {
            "gpu_memory_utilization": gpu_memory_utilization,
            "max_model_len": max_model_len,
            "dtype": dtype,
            "quantization": quantization,
            "trust_remote_code": trust_remote_code,
        }
        self._weights_dir: str | None = None
        self._loaded: tuple[tuple[object, ...], Any] | None = None

    def look_in(self, weights_dir: str | None) -> None:
        """Say where weights already on disk may lie."""
        self._weights_dir = weights_dir

    def close(self) -> None:
        """Let vLLM end its worker processes, which gives the GPUs back."""
        if self._loaded is not None:
            self._loaded = None
            gc.collect()

    def generate(self, requests: Iterable[Request], member: Member) -> Iterator[Answer]:
        """Sample responses to each request, ``batch_size`` handed over at once; see the base class."""
        _sampling_params(member, 0, 1)  # refused before anything is loaded
        llm = self._open(member)
        room = llm.llm_engine.model_config.max_model_len
        positions = enumerate(requests)
        while batch := list(islice(positions, self.batch_size)):
            fitting = []
            for position, request in batch:
                length = len(conversation_ids(llm.get_tokenizer(), request.messages, member))
                if length < room:
                    runs = consecutive(request.samples, len(request.samples))  # vLLM counts seeds up itself
                    fitting += [(position, request, run) for run in runs]
                    continue  # vLLM would refuse the whole batch for one that does not fit
                why = f"a conversation of {length} tokens; {member.weights} has room for {room}"
                yield from ((position, j, Failure(why, final=True)) for j in request.samples)
            outputs = llm.chat(
                [list(request.messages) for _, request, _ in fitting],
                [
                    _sampling_params(member, request.seed + run[0] if self.seeded else None, len(run))
                    for _, request, run in fitting
                ],
                use_tqdm=False,
                chat_template=member.chat_template,
            ) if fitting else []  # fmt: skip
            for (position, _, run), output in zip(fitting, outputs, strict=True):
                yield from ((position, j, answer) for j, answer in zip(run, _responses(output), strict=True))

    def _seed(self) -> dict[str, int]:
        return {} if self.seeded else {"seed": secrets.randbits(31)}

    def _open(self, member: Member) -> Any:
        """The member's model; the one before it makes room."""
        gpus = self.tensor_parallel_size or max(1, round(member.resources.get("num_gpus", 1)))
        key = (member.weights, member.revision, member.file, member.sha256, gpus)
        if self._loaded is None or self._loaded[0] != key:
            self.close()
            folder = model_folder(member, self._weights_dir)
            try:
                llm = _vllm().LLM(model=str(folder), tensor_parallel_size=gpus, **self.options, **self._seed())
            except (OSError, ValueError, RuntimeError) as error:
                raise ErpError(
                    f"{folder}: vLLM cannot load {member.weights} ({repr(error)[:200]}); see its log above"
                ) from None
            self._loaded = key, llm
        return self._loaded[1]


def _vllm() -> Any:
    try:
        return importlib.import_module("vllm")
    except ModuleNotFoundError as error:
        raise ErpError(f"engine = vllm: needs the package {error.name}; pip install 'erp[vllm]'") from None


def _sampling_params(member: Member, seed: int | None, n: int) -> Any:
    decoding = member.decoding
    given = {name: value for name in ("temperature", "top_p") if (value := getattr(decoding, name)) is not None}
    try:
        return _vllm().SamplingParams(
            n=n,
            seed=seed,
            **given,
            top_k=decoding.top_k or -1,
            min_p=decoding.min_p or 0.0,
            max_tokens=decoding.max_tokens,
            stop=decoding.stop,
        )
    except ValueError as error:
        raise ErpError(f"pool.members.{member.name}.decoding: vLLM refuses it ({error}); change it") from None


def _responses(output: Any) -> list[Response]:
    prompt_tokens = len(output.prompt_token_ids)
    return [
        Response(sample.text, prompt_tokens, len(sample.token_ids), sample.finish_reason)
        for sample in sorted(output.outputs, key=lambda sample: sample.index)
    ]
