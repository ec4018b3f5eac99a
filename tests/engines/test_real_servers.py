"""The OpenAI engine and the judge against servers that others wrote: llama.cpp's and `transformers serve`."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from erp.collect.rewards.base import Pair
from erp.collect.rewards.judge import Judge
from erp.config import Decoding, Member
from erp.engines.base import Failure
from erp.errors import ErpError
from tests.engines.calls import ENV, TINY, engine, request, sampled


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv(ENV, "any")


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory):
    """The address of llama.cpp's server with a tiny model, two slots of 256 tokens."""
    xllamacpp = pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from tests.engines.tiny_gguf import write_tiny_gguf

    file = write_tiny_gguf(tmp_path_factory.mktemp("weights") / "tiny.gguf")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads, parameters.verbosity = 512, 2, 1, -1
    server = xllamacpp.Server(parameters)
    yield f"{server.listening_address}/v1"
    del server


def test_llamacpp(llamacpp):
    """Same seed, same sample, one by one or two at once; the token counts of both ways agree."""
    requests = [request("Name a fruit.", 3), request("word " * 2000, 4), request("Say hi.", 11)]
    options = {"timeout_s": 120, "concurrency": 2, "extra_body": {"top_k": 0, "min_p": 0, "cache_prompt": False}}
    # half a letter is no text: tokens that are bytes beyond ASCII are kept out, so that counts can be told from texts
    options["extra_body"]["logit_bias"] = [[byte, False] for byte in range(128, 256)]
    single = dict(sampled(engine(llamacpp, **options), requests, TINY, 2))
    at_once = dict(sampled(engine(llamacpp, n_supported="auto", logprobs=True, **options), requests, TINY, 2))
    assert isinstance(single[1], Failure)
    assert "exceeds the available context size" in single[1].error
    assert at_once[1] == single[1]
    for i in (0, 2):
        assert [r.completion_tokens for r in single[i]] == [r.completion_tokens for r in at_once[i]]
        assert all(0 < r.completion_tokens <= 16 and r.text for r in single[i])
        assert single[i][0].text != single[i][1].text
        assert [r.text for r in single[i]] == [r.text for r in at_once[i]]


def test_llamacpp_answers_to_any_name(llamacpp):
    """It says which model it has, and that it is llama.cpp."""
    asked, other = engine(llamacpp), TINY.model_copy(update={"name": "other", "model": "org/other"})
    (note,) = asked.ready([TINY])
    assert note.startswith("note: tiny: is answered by ")
    assert note.endswith(f"the one model of {llamacpp}, which answers to any name")
    with pytest.raises(ErpError, match="tiny, other would all be answered by "):
        asked.ready([TINY, other])


def test_llamacpp_with_fewer_slots_than_samples(llamacpp):
    """It refuses an n above its number of slots."""
    auto = engine(llamacpp, n_supported="auto", timeout_s=120)
    ((_, responses),) = sampled(auto, [request("Name a fruit.", 3)], TINY, 4)
    assert len(responses) == 4
    assert all(response.completion_tokens for response in responses)
    ((_, failure),) = sampled(engine(llamacpp, n_supported=True, timeout_s=120), [request("Hi.", 3)], TINY, 4)
    assert failure.error.startswith("400: ")


def test_llamacpp_as_a_judge(llamacpp):
    """A grammar has even a tiny model keep to the form; what it thinks of the response is its own affair."""
    judge = Judge(
        "smollm",
        base_url=llamacpp,
        rubric="Grade this: {response}",
        timeout_s=120,
        extra_body={"grammar": 'root ::= "Good. Score: " [1-9]'},
    )
    pairs = [Pair("p", "a good one"), Pair("p", "a bad one"), Pair("p", "word " * 2000)]
    *scores, failure = judge.score(pairs)
    assert all(score in range(1, 10) for score in scores)
    assert isinstance(failure, Failure)
    assert not judge.counts
    assert judge.score(pairs)[:2] == scores


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """The folder of a one-layer model that has learnt nothing, bytes for tokens."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytes_ = Tokenizer(models.BPE({t: i for i, t in enumerate(["</s>", *sorted(alphabet)])}, []))
    bytes_.pre_tokenizer, bytes_.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, eos_token="</s>", pad_token="</s>")
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}:"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=257, eos_token_id=0, pad_token_id=0, **shape)).save_pretrained(folder)
    return folder


@pytest.fixture
def transformers_serve(tiny_model):
    """The address of a `transformers serve` that has just been started."""
    for package in ("fastapi", "uvicorn", "openai", "accelerate"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"transformers[serving] is not installed ({package})")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [str(Path(sys.executable).with_name("transformers")), "serve", str(tiny_model)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen([*program, *options], env=environment, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}/v1"
    server.terminate()
    server.wait()


@pytest.mark.slow
def test_transformers_serve(transformers_serve, tiny_model):
    """The engine waits until it is up. It takes no n: the rest is asked for. Its seed is global: one at a time."""
    member = Member(name="tiny", model=str(tiny_model), decoding=Decoding(max_tokens=12))
    options = {"retries": 60, "backoff_s": 1.0, "backoff_max_s": 1.0, "timeout_s": 60, "concurrency": 1}
    options["extra_body"] = {"generation_config": '{"do_sample": true, "max_new_tokens": 12}'}
    requests = [request("abc", 1), request("abcdefg", 1)]
    single = dict(sampled(engine(transformers_serve, **options), requests, member, 3))
    auto = dict(sampled(engine(transformers_serve, n_supported="auto", **options), requests, member, 3))
    assert single == auto
    assert [{r.prompt_tokens for r in single[i]} for i in (0, 1)] == [{4}, {8}]  # bytes, and the template's colon
    assert len({r.text for r in single[0]}) == 3
    for response in single[0] + single[1]:
        assert response.completion_tokens == 12 or response.finish_reason == "stop"
