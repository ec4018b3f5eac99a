"""The vLLM engine against a stand-in that has the documented interface of vllm.LLM and vllm.SamplingParams."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from erp.build import build
from erp.compose import conf_folder
from erp.config import Member
from erp.engines.base import Engine, Failure, NextToken, Request, Response
from erp.engines.vllm import VllmEngine
from erp.errors import ErpError
from erp.files import sha256_file
from tests.engines.calls import sampled
from tests.engines.tiny import TEMPLATE, tiny_llama, tiny_tokenizer

CONTEXT = 64


@dataclass
class SamplingParams:
    """The fields that are used, with vLLM's own defaults and refusals."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    max_tokens: int | None = 16

    def __post_init__(self):
        if self.temperature > 2:
            raise ValueError(f"temperature must be in [0, 2], got {self.temperature}.")
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")


class LLM:
    """Answers a conversation with its last words and the sample's seed."""

    alive: list["LLM"] = []  # noqa: RUF012

    def __init__(
        self, model, *, trust_remote_code=False, tensor_parallel_size=1, dtype="auto", quantization=None,
        gpu_memory_utilization=0.9, max_model_len=None, seed=0, **kwargs,
    ):  # fmt: skip
        self.seed = seed
        assert not kwargs
        if quantization == "unheard of":
            raise ValueError("Unknown quantization method: unheard of")
        self.options = {"model": model, "tensor_parallel_size": tensor_parallel_size, "dtype": dtype}
        self.options |= {"quantization": quantization, "gpu_memory_utilization": gpu_memory_utilization}
        self.options |= {"max_model_len": max_model_len, "trust_remote_code": trust_remote_code}
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=max_model_len or CONTEXT))
        self.calls = []
        self.template = None if model.endswith("base") else TEMPLATE
        LLM.alive.append(self)

    def get_tokenizer(self):
        return tiny_tokenizer(self.template)

    def chat(self, messages, sampling_params=None, use_tqdm=True, lora_request=None, chat_template=None):
        assert isinstance(messages[0], list)
        assert len(sampling_params) == len(messages)
        assert not use_tqdm
        self.calls.append((messages, sampling_params, chat_template))
        outputs = []
        for turns, params in zip(messages, sampling_params, strict=True):
            ids = tiny_tokenizer().apply_chat_template(turns, chat_template=chat_template, add_generation_prompt=True)
            ids = ids["input_ids"]
            if len(ids) >= self.llm_engine.model_config.max_model_len:
                raise ValueError("The decoder prompt is longer than the maximum model length")
            samples = [
                SimpleNamespace(
                    index=j, text=f"{turns[-1]['content'][-4:]} {(params.seed or 0) + j}", token_ids=[5] * (j + 1),
                    finish_reason="length" if j else "stop",
                )
                for j in range(params.n)
            ]  # fmt: skip
            outputs.append(SimpleNamespace(prompt_token_ids=ids, outputs=samples[::-1]))
        return outputs


@pytest.fixture(autouse=True)
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(LLM, "alive", [])
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


def member(folder, **decoding):
    return Member(name="tiny", model=str(folder), decoding=decoding)


def requests(prompts=("good day", "what now"), seed=10):
    return [Request(({"role": "user", "content": prompt},), seed * (i + 1)) for i, prompt in enumerate(prompts)]


def test_every_request_is_sampled_with_its_own_seed_and_samples_come_in_order(folder):
    answers = dict(sampled(VllmEngine(), requests(), member(folder), 3))
    tokens = [
        len(tiny_tokenizer().apply_chat_template(list(r.messages), add_generation_prompt=True)["input_ids"])
        for r in requests()
    ]
    assert answers == {
        0: [Response(f" day {10 + j}", tokens[0], j + 1, "length" if j else "stop") for j in range(3)],
        1: [Response(f" now {20 + j}", tokens[1], j + 1, "length" if j else "stop") for j in range(3)],
    }


def test_seeds_may_be_left_out(folder):
    engine = VllmEngine(seeded=False)
    assert len(list(sampled(engine, requests(), member(folder), 2))) == 2
    ((_, params, _),) = LLM.alive[-1].calls
    assert [each.seed for each in params] == [None, None]
    list(sampled(VllmEngine(seeded=False), requests(), member(folder), 2))
    assert len({llm.seed for llm in LLM.alive} | {0}) == 3  # one of its own for every start
    list(sampled(VllmEngine(), requests(), member(folder), 2))
    assert LLM.alive[-1].seed == 0


def test_null_is_vllms_own_default(folder):
    engine = VllmEngine()
    list(sampled(engine, requests(), member(folder, temperature=None, top_p=None, max_tokens=None), 4))
    ((_, params, _),) = LLM.alive[-1].calls
    assert params[0] == SamplingParams(n=4, seed=10, max_tokens=None, top_k=-1)


def test_the_members_decoding_is_handed_over_and_nothing_else(folder):
    decoding = {"temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 99, "stop": ["\nUser:"]}
    engine = VllmEngine()
    list(sampled(engine, requests(), member(folder, **decoding), 4))
    list(sampled(engine, requests(), member(folder), 4))
    (_, full, template), (_, bare, _) = LLM.alive[0].calls
    assert full == [SamplingParams(n=4, seed=10, **decoding), SamplingParams(n=4, seed=20, **decoding)]
    assert template is None
    assert {params.top_k for params in bare} <= {0, -1}  # every token may come
    assert bare[0] == SamplingParams(n=4, seed=10, top_k=bare[0].top_k, max_tokens=1024)


def test_a_conversation_without_room_fails_alone(folder):
    asked = requests(["good day", "long " * CONTEXT, "what now"])
    answers = dict(sampled(VllmEngine(), asked, member(folder), 2))
    assert isinstance(answers[1], Failure)
    assert f"{folder} has room for {CONTEXT}" in answers[1].error
    assert [len(answers[i]) for i in (0, 2)] == [2, 2]
    assert dict(sampled(VllmEngine(max_model_len=8), asked, member(folder), 2))[0].error.endswith("has room for 8")


def test_requests_are_handed_over_in_batches_and_yielded_between(folder):
    stream = sampled(VllmEngine(batch_size=2), requests(["a", "b", "c", "d", "e"]), member(folder), 1)
    assert [next(stream)[0] for _ in range(2)] == [0, 1]
    (llm,) = LLM.alive
    assert [len(messages) for messages, *_ in llm.calls] == [2]
    assert [position for position, _ in stream] == [2, 3, 4]
    assert [len(messages) for messages, *_ in llm.calls] == [2, 2, 1]


def test_a_template_of_the_members_own(folder, tmp_path):
    base = tiny_llama(tmp_path / "base", chat_template=None)
    with pytest.raises(ErpError, match=r"tiny\.chat_template = null"):
        list(sampled(VllmEngine(), requests(), member(base), 1))
    own = member(base).model_copy(update={"chat_template": TEMPLATE})
    assert len(list(sampled(VllmEngine(), requests(), own, 1))) == 2
    assert LLM.alive[-1].calls[0][2] == TEMPLATE


def test_the_engine_is_made_with_the_options_and_one_is_held(folder, tmp_path):
    tiny_llama(tmp_path / "other")
    options = {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8, "max_model_len": 50, "dtype": "bfloat16"}
    options |= {"quantization": "fp8", "trust_remote_code": False}
    engine = VllmEngine(**options)
    engine.look_in(str(tmp_path))
    other = Member(name="other", model="hub/other")
    for who in (member(folder), member(folder, temperature=0), other):
        list(sampled(engine, requests(), who, 1))
    engine.close()
    list(sampled(engine, requests(), other, 1))
    assert [llm.options for llm in LLM.alive] == [
        {"model": str(place), **options} for place in (folder, tmp_path / "other", tmp_path / "other")
    ]


def test_a_copy_is_spread_over_the_gpus_that_its_member_asks_for(folder):
    for resources in ({"num_gpus": 4}, {}):
        list(sampled(VllmEngine(), requests(), member(folder).model_copy(update={"resources": resources}), 1))
    assert [llm.options["tensor_parallel_size"] for llm in LLM.alive] == [4, 1]


def test_what_vllm_refuses_is_told_in_a_line(folder):
    with pytest.raises(ErpError, match=r"pool\.members\.tiny\.decoding: vLLM refuses it \(temperature must be in"):
        list(sampled(VllmEngine(), requests(), member(folder, temperature=3), 1))
    assert LLM.alive == []
    with pytest.raises(ErpError, match=r"vLLM cannot load .*Unknown quantization method"):
        list(sampled(VllmEngine(quantization="unheard of"), requests(), member(folder), 1))


def test_other_weights_than_the_released_are_refused(folder):
    right = member(folder).model_copy(update={"sha256": sha256_file(folder / "model.safetensors")})
    assert len(list(sampled(VllmEngine(), requests(), right, 1))) == 2
    with pytest.raises(ErpError, match="has sha256"):
        list(sampled(VllmEngine(), requests(), right.model_copy(update={"sha256": "0" * 64}), 1))


def test_without_the_package_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ErpError, match=r"engine = vllm: needs the package vllm; pip install 'erp\[vllm\]'"):
        list(sampled(VllmEngine(), requests(), member(folder), 1))


def test_the_option_file_builds_and_wrong_options_are_refused():
    node = yaml.safe_load((conf_folder() / "engine" / "vllm.yaml").read_text())
    assert not isinstance(build(node, Engine, key="engine"), NextToken)
    with pytest.raises(ErpError, match=r"engine\.batch_size = 0"):
        build({**node, "batch_size": 0}, Engine, key="engine")
    with pytest.raises(ErpError, match=r"engine\.dtype"):
        build({**node, "dtype": "int8"}, Engine, key="engine")
