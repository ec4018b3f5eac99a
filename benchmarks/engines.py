"""``python -m benchmarks.engines <weights folder>``: tokens per second of each engine beside a plain loop.

The same 135M model (its GGUF file, and the same file unpacked to fp32 for transformers), the same prompts, K samples of
each. The plain loop is what one would write first: ``generate`` for one prompt and one sample at a time. Writes
its part of ``benchmarks/ENGINES.md``.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line sets it, before torch is imported

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import yaml

from benchmarks.__main__ import machine
from benchmarks.calls import write_part
from erp.compose import conf_folder
from erp.config import Member, Pool
from erp.engines.base import Engine, Failure, Request, Response
from erp.engines.llamacpp import LlamaCpp
from erp.engines.openai import OpenAIEngine
from erp.engines.transformers import TransformersEngine
from erp.weights import Weights, find_file

PROMPTS, K, TOKENS, ROUNDS = 4, 8, 32, 2


def member(weights: str) -> Member:
    """The smallest member of the pool that ships, without its worked examples, sampling freely."""
    pool = yaml.safe_load((conf_folder() / "pool" / "mini.yaml").read_text())
    pool.pop("defaults")
    first = Pool.model_validate(pool).members[0]
    decoding = first.decoding.model_copy(update={"max_tokens": TOKENS, "temperature": 1.0})
    return first.model_copy(update={"shots": [], "decoding": decoding, "system": None, "name": weights})


def requests(of: Member, count: int) -> list[Request]:
    """Prompts that want a long answer."""
    told = [of.messages(f"Tell a story about a fox and {n} geese.") for n in range(count)]
    return [Request(messages, 1000 * n, tuple(range(K))) for n, messages in enumerate(told)]


def unpacked(of: Member, weights_dir: str, folder: Path) -> Path:
    """The GGUF file as transformers has it, in fp32."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    file = find_file(Weights(of.weights, of.file, of.sha256), weights_dir)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)  # the model's own says it is quantised
    plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    return folder


def plain_loop(folder: Path, of: Member) -> Callable[[int], int]:
    """One prompt and one sample at a time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def run(count: int) -> int:
        tokens = 0
        for request in requests(of, count):
            text = tokenizer.apply_chat_template(list(request.messages), tokenize=False, add_generation_prompt=True)
            inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
            for _ in range(K):
                written = model.generate(**inputs, do_sample=True, top_p=0.9, top_k=40, max_new_tokens=TOKENS)
                tokens += written.shape[1] - inputs["input_ids"].shape[1]
        return tokens

    return run


def of_engine(engine: Engine, of: Member) -> Callable[[int], int]:
    """All of it through an engine."""

    def run(count: int) -> int:
        return sum(_tokens(answer) for _, _, answer in engine.generate(requests(of, count), of))

    return run


def _tokens(answer: Response | Failure) -> int:
    if isinstance(answer, Failure):
        sys.exit(answer.error)
    return answer.completion_tokens or 0


def rates(subjects: dict[str, Callable[[int], int]]) -> Iterable[tuple[str, float]]:
    """Median tokens per second of each, taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(ROUNDS + 1):
        for name, run in subjects.items():
            start = time.perf_counter()
            tokens = run(PROMPTS if turn else 1)
            if turn:  # the first loads the model
                found[name].append(tokens / (time.perf_counter() - start))
    return [(name, statistics.median(values)) for name, values in found.items()]


def main(weights_dir: str) -> None:
    """Measure, print, write."""
    gguf = member("gguf")
    llama, served = LlamaCpp(slots=16, context=512), LlamaCpp(slots=16, context=512)
    for engine in (llama, served):
        engine.look_in(weights_dir)
    served._load(gguf)  # its server answers like any other
    address = f"{served._server.listening_address}/v1"
    with tempfile.TemporaryDirectory() as folder:
        unpacked(gguf, weights_dir, Path(folder))
        hf = gguf.model_copy(update={"model": folder, "file": None, "sha256": None})
        rows = list(
            rates(
                {
                    "plain loop, transformers fp32": plain_loop(Path(folder), hf),
                    "transformers fp32, batch of 64": of_engine(TransformersEngine(batch_size=64, device="cpu"), hf),
                    "llamacpp, 16 slots, 4 bits": of_engine(llama, gguf),
                    "openai, llama.cpp's server, 4 bits": of_engine(
                        OpenAIEngine(address, None, concurrency=16, n_supported=False), gguf
                    ),
                }
            )
        )
    base = rows[0][1]
    lines = ["| engine | tokens/s | against the plain loop |", "|---|---|---|"]
    lines += [f"| {name} | {rate:,.0f} | {rate / base:.1f}x |" for name, rate in rows]
    about = f"{PROMPTS} prompts x {K} samples of at most {TOKENS} tokens, SmolLM2-135M; mean of {ROUNDS} runs in turn"
    text = [
        f"`python -m benchmarks.engines <weights folder>`; {about}.",
        "",
        *machine()[:2],
        "",
        *lines,
    ]
    print("\n".join(lines))
    write_part("## Tokens per second", text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.engines <folder with the GGUF file of conf/pool/mini.yaml>")
    main(sys.argv[1])
