"""An OpenAI-compatible server as an engine: what is asked, what is read, what is refused."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from erp.build import build
from erp.config import Decoding, Member, Shot
from erp.engines.base import Engine, Failure, Request, Response
from erp.engines.openai import OpenAIEngine
from erp.errors import ErpError
from tests.engines.calls import ENV, KEY, NOWHERE, TINY, echo, engine, one, prompt_in, request, sampled
from tests.engines.chat_server import ChatServer, completion, error


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    monkeypatch.setenv(ENV, KEY)
    monkeypatch.setenv("NO_PROXY", "*")


# ---- what is asked


def test_a_call_carries_model_conversation_decoding_and_key():
    member = Member(
        name="tiny",
        model="org/tiny",
        system="Be brief.",
        shots=[Shot(user="1+1?", assistant="2")],
        template="Q: {prompt}",
        decoding=Decoding(temperature=0.5, top_p=0.9, top_k=20, min_p=0.1, max_tokens=9, stop=["\n"]),
    )
    with ChatServer(echo) as server:
        (result,) = sampled(
            engine(server, extra_body={"repetition_penalty": 1.1}), [Request(member.messages("2+2?"), 41)], member, 1
        )
    ((_, path, headers, body),) = server.calls
    assert path == "/v1/chat/completions"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "org/tiny",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "Q: 2+2?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 20,
        "min_p": 0.1,
        "max_tokens": 9,
        "stop": ["\n"],
        "seed": 41,
        "repetition_penalty": 1.1,
    }
    assert result == (0, [Response("Q: 2+2? 41", 7, 3, "stop")])


def test_what_is_not_set_is_not_sent():
    member = Member(name="gpt")
    with ChatServer(echo) as server:
        bare = engine(server, api_key_env=None, seed_supported=False, max_tokens_field="max_completion_tokens")
        list(sampled(bare, [request("hi")], member, 1))
    ((_, _, headers, body),) = server.calls
    assert "authorization" not in headers
    assert body.keys() == {"model", "messages", "temperature", "top_p", "max_completion_tokens"}
    assert body["model"] == "gpt"


@pytest.mark.parametrize("left_out", [["top_p"], ["temperature"], ["temperature", "top_p"], ["max_tokens"]])
def test_a_null_field_is_left_out(left_out):
    """Some APIs refuse top_p beside temperature, or either of them whatever its value."""

    def strict(body, number):
        return error(400, "unsupported parameter") if body.keys() & set(left_out) else echo(body, number)

    with ChatServer(strict) as server:
        member = Member(name="gpt", decoding=Decoding(**dict.fromkeys(left_out)))
        ((_, answer),) = sampled(engine(server), [request("hi")], member, 1)
    ((_, _, _, body),) = server.calls
    assert {"temperature", "top_p", "max_tokens"} - body.keys() == set(left_out)
    assert answer[0].text.startswith("hi")


def test_a_key_that_was_named_and_is_not_there_is_refused(monkeypatch):
    monkeypatch.delenv(ENV)
    with ChatServer(echo) as server, pytest.raises(ErpError, match=f"api_key_env = {ENV}: is not set"):
        list(sampled(engine(server), [request("hi")], TINY, 1))
    assert not server.calls


def test_every_sample_has_its_own_seed_and_its_own_token_count():
    def words(body, number):
        return completion(" ".join(["word"] * body["seed"]))

    responses, server = one(words, k=3, seed=4)
    assert [response.completion_tokens for response in responses] == [4, 5, 6]
    assert [len(response.text.split()) for response in responses] == [4, 5, 6]
    assert sorted(body["seed"] for body in server.bodies) == [4, 5, 6]
    assert all("n" not in body for body in server.bodies)


# ---- n samples in one call


@pytest.mark.parametrize("n_supported", [True, "auto"])
def test_k_samples_in_one_call(n_supported):
    responses, server = one(echo, k=3, n_supported=n_supported)
    assert [response.text for response in responses] == ["hi 5", "hi 6", "hi 7"]
    assert [(body["n"], body["seed"]) for body in server.bodies] == [(3, 5)]
    assert [response.completion_tokens for response in responses] == [None] * 3  # 6 for all, or 6 for each?
    assert [response.prompt_tokens for response in responses] == [7] * 3


def test_logprobs_count_the_tokens_of_each_choice():
    def logged(body, number):
        assert body["logprobs"] is True
        answer = completion("a", "a b c")
        for choice, tokens in zip(answer["choices"], (2, 4), strict=True):
            choice["logprobs"] = {"content": [{"token": "x", "logprob": -1.0}] * tokens}
        return answer

    responses, _ = one(logged, k=2, n_supported="auto", logprobs=True)
    assert [response.completion_tokens for response in responses] == [2, 4]


def test_choices_are_put_in_the_order_of_their_index():
    shuffled = completion("first", "second", "third")
    shuffled["choices"].reverse()
    responses, _ = one(shuffled, k=3, n_supported=True)
    assert [response.text for response in responses] == ["first", "second", "third"]


def test_auto_asks_for_missing_choices_one_by_one_and_remembers():
    def first_only(body, number):
        return completion(f"{prompt_in(body)} {body['seed']}")

    with ChatServer(first_only) as server:
        auto = engine(server, n_supported="auto", concurrency=1)
        results = dict(sampled(auto, [request("a", 10), request("b", 20)], TINY, 3))
        again = dict(sampled(auto, [request("c", 30)], TINY, 2))
    assert [response.text for response in results[0]] == ["a 10", "a 11", "a 12"]
    assert [response.text for response in results[1]] == ["b 20", "b 21", "b 22"]
    assert [response.text for response in again[0]] == ["c 30", "c 31"]
    assert [response.completion_tokens for response in results[0]] == [2, 2, 2]
    assert [body.get("n") for body in server.bodies] == [3] + [None] * 7


def test_auto_finds_out_that_n_is_refused():
    def refuses(body, number):
        return error(400, "Only one completion choice is allowed") if "n" in body else echo(body, number)

    with ChatServer(refuses) as server:
        results = dict(sampled(engine(server, n_supported="auto"), [request(str(i), i) for i in range(6)], TINY, 3))
    assert {i: [r.text for r in responses] for i, responses in results.items()} == {
        i: [f"{i} {i + j}" for j in range(3)] for i in range(6)
    }


def test_auto_tells_a_prompt_that_is_refused_from_an_n_that_is():
    """A context overflow says nothing about n: the prompt fails, the others are asked for K at once as before."""

    def overflows(body, number):
        return error(400, "maximum context length is 8") if prompt_in(body) == "long" else echo(body, number)

    with ChatServer(overflows) as server:
        auto = engine(server, n_supported="auto", concurrency=1)
        first = dict(sampled(auto, [request("long"), request("short")], TINY, 2))
        second = dict(sampled(auto, [request("long")], TINY, 2))
    assert first[0] == Failure("400: maximum context length is 8", final=True) == second[0]
    assert [r.text for r in first[1]] == ["short 0", "short 1"]
    assert [body.get("n") for body in server.bodies] == [2, None, 2, 2]


def test_samples_with_gaps_are_no_copies_of_those_between():
    """A server that counts one seed up would draw the missing sample 2 as sample 1, which is there."""
    with ChatServer(echo) as server:
        asked = engine(server, n_supported="auto")
        came = list(asked.generate([replace(request("hi", 5), samples=(0, 2, 3, 7))], TINY))
    assert {j: answer.text for _, j, answer in came} == {j: f"hi {5 + j}" for j in (0, 2, 3, 7)}
    assert len(server.calls) == 3


@pytest.mark.parametrize("reason", [{"type": "stop"}, ["stop"], 3])
def test_a_reason_that_is_no_text_is_none(reason):
    (response,), _ = one(completion("yes", finish_reason=reason))
    assert response.finish_reason is None


def test_a_server_said_to_know_n_has_to_give_all_choices():
    failure, _ = one(completion("only"), k=2, n_supported=True)
    assert failure == Failure("1 of 2 choices came; set engine.n_supported=auto")


# ---- what is read


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "reasoning_content": "hm"}, ""),
        ({"reasoning_content": "hm"}, ""),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "so"}]}, "so"),
        ({"content": "cut \ud83d"}, "cut ?"),
    ],
    ids=["null", "absent", "parts", "half an emoji"],
)
def test_what_counts_as_said(message, text):
    (response,), _ = one({"choices": [{"index": 0, "message": message}], "usage": None})
    assert response == Response(text, None, None, None)


def test_half_an_emoji_can_be_asked():
    with ChatServer(echo) as server:
        ((_, (response,)),) = sampled(engine(server), [request("\ud83d")], TINY, 1)
    assert response.text == "? 0"


# ---- options


def test_the_config_file_holds_the_defaults():
    node = yaml.safe_load((Path(__file__).parents[2] / "conf" / "engine" / "openai.yaml").read_text())
    given, default = build(node, Engine, key="engine"), OpenAIEngine()
    for options in (vars(given), vars(default)):
        options["_api"] = vars(options["_api"])
    assert vars(given) == vars(default)


def test_without_the_http_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ErpError, match=r"engine: needs the package aiohttp; pip install 'erp\[openai\]'"):
        list(sampled(engine(NOWHERE), [request("a")], TINY, 1))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"base_url": "localhost:8000"}, r"engine\.base_url = localhost:8000: is no address"),
        ({"concurrency": 0}, r"engine\.concurrency = 0: give 1 or more"),
        ({"timeout_s": 0}, r"engine\.timeout_s = 0"),
        ({"retries": -1}, r"engine\.retries = -1"),
        ({"backoff_s": 2, "backoff_max_s": 1}, r"engine\.backoff_s = 2"),
        ({"n_supported": "maybe"}, r"engine\.n_supported"),
        ({"extra_body": {"temperature": 0, "stream": True}}, r"engine\.extra_body: stream, temperature"),
        ({"extra_body": {"x": float("nan")}}, r"engine\.extra_body: is no JSON"),
        ({"api_key": KEY}, r"engine\.api_key"),
    ],
)
def test_bad_options_are_refused_by_name(options, line):
    with pytest.raises(ErpError, match=line):
        build({"_target_": "erp.engines.openai.OpenAIEngine", **options}, Engine, key="engine")


def test_decoding_given_twice_is_refused():
    member = Member(name="tiny", decoding=Decoding(top_k=5))
    with pytest.raises(ErpError, match=r"extra_body: top_k is set in the decoding of tiny too"):
        sampled(engine(NOWHERE, extra_body={"top_k": -1}), [request("a")], member, 1)


def test_a_chat_template_is_refused_unless_it_is_sent():
    member = Member(name="tiny", chat_template="{{ messages }}")
    with pytest.raises(ErpError, match="tiny has a chat_template"):
        sampled(engine(NOWHERE), [request("a")], member, 1)
    (response,), server = one(echo, member=member, extra_body={"chat_template": "{{ messages }}"})
    assert response.text == "hi 5"
    assert server.bodies[0]["chat_template"] == "{{ messages }}"
