"""The official `openai` client against the gateway: in front of llama.cpp's servers, and beside a direct call."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
from contextlib import contextmanager

import pytest
from PIL import Image

from tests.serving.conftest import app_of
from tests.serving.servers import Member, Served, chunk, completion, event, parts, reply

openai = pytest.importorskip("openai")

PROMPT = "prove the triangle theorem"
TALK = [{"role": "user", "content": PROMPT}]
VARIES = {"id", "created", "timings"}  # of llama.cpp's answers: two direct calls differ in them too
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"x": {}}}}}]


def picture(colour):
    """A question with a small picture, as a data URL."""
    file = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    content = [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}]


REQUESTS = {
    "plain": {"messages": TALK},
    "numbers": {"messages": TALK, "temperature": 0.7, "n": 2, "seed": 7, "logprobs": True, "top_logprobs": 3},
    "tools": {"messages": TALK, "tools": TOOLS, "tool_choice": "auto"},
    "a tool's answer": {"messages": [
        *TALK,
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ], "tools": TOOLS},
    "a picture": {"messages": picture("red")},
    "a schema": {"messages": TALK, "response_format": {"type": "json_schema",
                                                       "json_schema": {"name": "n", "schema": {"type": "object"}}}},
}  # fmt: skip


def client(url, **options):
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0, **options)


@pytest.fixture
def at(gateway, trained):
    """``with at(url of each member) as url``: the gateway's address."""

    @contextmanager
    def of(urls, **options):
        made = gateway(**options)
        nodes = [
            node.model_copy(update={"base_url": url, "capable": node.capable.model_copy(update={"images": True})})
            for node, url in zip(made.config.members, urls, strict=True)
        ]
        made.config = made.config.model_copy(update={"members": nodes})
        made.endpoints = {node.name: node for node in nodes}
        with Served(app_of(made)) as served:
            yield f"{served.url}/v1"

    return of


@pytest.mark.parametrize("request_of", REQUESTS)
def test_a_member_gets_what_the_client_would_have_sent_it_and_the_client_what_it_would_have_got(at, request_of):
    with Member(reply(completion())) as member, at([member.url] * 3) as url:
        direct = client(member.url).chat.completions.create(model="m", **REQUESTS[request_of])
        routed = client(url).chat.completions.create(model="erp/auto", **REQUESTS[request_of])
    assert routed == direct
    first, second = member.asked
    assert second.body == {**first.body, "model": second.body["model"]}


def test_streams_sync_and_async(at):
    script = parts(
        *[event(chunk(text)) for text in ("prime ", "numbers", " \U0001f600")], event(b"[DONE]"), pause_s=0.01
    )
    with Member(script) as member, at([member.url] * 3) as url:
        ask = {"messages": TALK, "stream": True}
        direct = list(client(member.url).chat.completions.create(model="m", **ask))
        assert list(client(url).chat.completions.create(model="erp/auto", **ask)) == direct

        async def later():
            async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as one:
                streams = [await one.chat.completions.create(model="erp/auto", **ask) for _ in range(5)]
                return [[part async for part in stream] for stream in streams]

        assert asyncio.run(later()) == [direct] * 5


def test_errors_are_the_client_s_own_kinds(at):
    with (
        Member(reply({"error": {"message": "too long", "code": "context"}}, 400)) as member,
        at([member.url] * 3, body_mb=1.0) as url,
    ):
        with pytest.raises(openai.APIStatusError, match="larger than 1,000,000 bytes"):  # said before it is read
            client(url).chat.completions.create(model="erp/auto", messages=[{"role": "user", "content": "x" * 8**8}])
        with pytest.raises(openai.BadRequestError, match="too long"):
            client(url).chat.completions.create(model="erp/auto", messages=TALK)
        with pytest.raises(openai.NotFoundError, match="there is none of this name"):
            client(url).chat.completions.create(model="gpt-99", messages=TALK)
        with pytest.raises(openai.BadRequestError, match="x-erp-lambda"):
            client(url).chat.completions.create(model="erp/auto", messages=TALK, extra_body={"x-erp-lambda": 1})
        member.script = reply({}, 503)
        with pytest.raises(openai.InternalServerError, match="no member began to answer"):
            client(url).chat.completions.create(model="erp/auto", messages=TALK)
    with at(["http://127.0.0.1:9/v1"] * 3, tokens=["0" * 64]) as url, pytest.raises(openai.AuthenticationError):
        client(url).models.list()


def test_models_and_headers(at, trained):
    with Member(reply(completion())) as member, at([member.url] * 3) as url:
        assert [model.id for model in client(url).models.list()] == ["erp/auto", *trained.members]
        raw = client(url).chat.completions.with_raw_response.create(
            model="erp/auto", messages=TALK, extra_body={"x-erp-session": "s"}, extra_headers={"x-erp-policy": "run"}
        )
        assert raw.headers["x-erp-member"] == trained.route([PROMPT])["member"][0]
        assert raw.parse().model == "upstream-model"
        answer = client(url).responses.with_raw_response.create(model="erp/auto", input=PROMPT)
        assert answer.headers["x-erp-path"] == "routed"
        assert member.asked[-1].path == "/v1/responses"


@pytest.fixture(scope="module")
def llamas(tmp_path_factory):
    """The addresses of two llama.cpp servers with different tiny models, each with an eye of its own."""
    xllamacpp = pytest.importorskip("xllamacpp")
    pytest.importorskip("gguf")
    from tests.engines.tiny_gguf import write_tiny_gguf, write_tiny_projector

    folder, servers = tmp_path_factory.mktemp("weights"), []
    for seed in (0, 1):
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(write_tiny_gguf(folder / f"tiny{seed}.gguf", seed))
        parameters.mmproj.path = str(write_tiny_projector(folder / f"eye{seed}.gguf", seed))
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads, parameters.verbosity = 512, 1, 1, -1
        servers.append(xllamacpp.Server(parameters))
    yield [f"{server.listening_address}/v1" for server in servers]
    servers.clear()


def steady(answer):
    """An answer without what differs between two direct calls."""
    found = json.loads(answer.to_json())
    return {key: value for key, value in found.items() if key not in VARIES}


def test_two_llamas_answer_through_the_gateway_as_they_answer_alone(at, trained, llamas):
    options = {"messages": TALK, "max_tokens": 12, "temperature": 0, "extra_body": {"cache_prompt": False}}
    names = trained.members
    with at([*llamas, llamas[0]]) as url:
        texts = []
        for name, direct in zip(names[:2], llamas, strict=True):
            alone = client(direct).chat.completions.create(model=name, **options)
            assert steady(client(url).chat.completions.create(model=name, **options)) == steady(alone)
            ask = {"model": name, "stream": True, "stream_options": {"include_usage": True}, **options}
            streamed = [
                [steady(part) for part in client(base).chat.completions.create(**ask)] for base in (direct, url)
            ]
            assert streamed[0] == streamed[1]
            assert len(streamed[0]) > 5
            texts.append(alone.choices[0].message.content)
        assert texts[0] != texts[1]
        routed = client(url).chat.completions.create(model="erp/auto", **options)
        best = names.index(trained.route([PROMPT])["member"][0])
        assert routed.choices[0].message.content == [*texts, texts[0]][best]


def test_a_llama_is_given_tools_and_asked_for_logprobs_as_alone(at, trained, llamas):
    """Also by the asynchronous client; what the server refuses is refused in its own words."""
    options = {"model": trained.members[0], "messages": TALK, "max_tokens": 8, "temperature": 0}
    cases = {"tools": {"tools": TOOLS}, "logprobs": {"logprobs": True, "top_logprobs": 2}, "refused": {"n": 2}}

    async def asked(base):
        found = {}
        async with openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as one:
            for name, case in cases.items():
                body = {"cache_prompt": False}
                try:
                    found[name] = steady(await one.chat.completions.create(**options, **case, extra_body=body))
                except openai.BadRequestError as error:
                    found[name] = error.body
        return found

    with at([*llamas, llamas[0]]) as url:
        direct = asyncio.run(asked(llamas[0]))
        assert asyncio.run(asked(url)) == direct
    assert direct["logprobs"]["choices"][0]["logprobs"]["content"]
    assert "n" in direct["refused"]["message"]


def raw(base, **ask):
    """The bytes of an answer, but for the values that differ between two direct calls."""
    ask = {"max_tokens": 12, "temperature": 0, "extra_body": {"cache_prompt": False}, **ask}
    with client(base).chat.completions.with_streaming_response.create(**ask) as answer:
        return re.sub(rb'"(id|created|timings)":("[^"]*"|\d+|{[^}]*})', rb'"\1":0', answer.read())


def prompt_tokens(answer):
    """What an answer says it read."""
    return int(re.findall(rb'"prompt_tokens":(\d+)', answer)[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_a_llama_is_shown_a_picture_as_alone(at, trained, llamas, stream):
    """By name and routed, byte by byte. The picture is read: it takes tokens, and another one is answered otherwise."""
    from tests.engines.tiny_gguf import PATCHES

    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answers = {}
    with at([*llamas, llamas[0]]) as url:
        for name, direct in zip(trained.members, [*llamas, llamas[0]], strict=True):
            for colour in ("red", "blue"):
                ask = {"model": name, "messages": picture(colour), **more}
                answers[name, colour] = raw(direct, **ask)
                assert raw(url, **ask) == answers[name, colour]
            blind = raw(direct, model=name, messages=TALK, **more)
            assert prompt_tokens(answers[name, "red"]) == prompt_tokens(blind) + PATCHES
        routed = raw(url, model="erp/auto", messages=picture("red"), **more)
    best = trained.route([PROMPT])["member"][0]
    assert routed == answers[best, "red"]
    assert len({said(answer) for answer in answers.values()}) == 4  # the third is the first one's model


def said(answer):
    """The bytes without the model's name, which is the one that was asked for."""
    return re.sub(rb'"model":"[^"]*"', b"", answer)
