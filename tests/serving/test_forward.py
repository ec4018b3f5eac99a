"""Forwarding: answers as a direct call gives them, another member where one fails, and nothing after the first byte."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time

import httpx2
import pytest

from erp import import_table
from erp.config.serve import Budget, Capable
from erp.costs.prices import Price
from erp.serving.gateway import Served as Bundle
from erp.serving.logged import drawn_from
from erp.serving.spend import Spend
from erp.serving.state import State
from erp.table.read import read_table
from tests.serving.conftest import CHAT, PROMPT, TALK
from tests.serving.servers import chunk, completion, event, parts, reply

STREAM = [event(chunk("hel")), event(chunk("lo")), event(b"[DONE]")]
USED = event({**chunk(""), "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})


def test_an_answer_is_the_member_s_own_bytes(setting, trained):
    odd = b'{ "choices" :[],\n "model":"m", "n": 1.0, "big": 123456789012345678901234567890 }'
    here = setting(reply(odd, x_request_id="up-1", set_cookie="a=b"))
    answer = here.chat()
    assert answer.content == odd
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["x-request-id"] == "up-1"
    assert "set-cookie" not in answer.headers
    told = {name: value for name, value in answer.headers.items() if name.startswith("x-erp-")}
    assert (told["x-erp-schema"], told["x-erp-member"], told["x-erp-path"]) == ("1", here.order[0], "routed")
    assert float(told["x-erp-predicted-reward"]) == pytest.approx(trained.scores([PROMPT])[here.order[0]][0], rel=1e-5)
    assert float(told["x-erp-overhead-ms"]) >= 0
    assert told["x-erp-id"].startswith("erp-")


def test_what_a_member_is_sent_is_what_the_client_wrote(setting):
    """A picture too; one at an address is the member's to fetch, and nobody else is asked."""
    here = setting(endpoint={"capable": Capable(images=True)})
    address = f"{here.members[here.order[2]].url}/a.png".replace("/", r"\/")
    values = [
        '{"role":"user",  "content":[{"type":"text","text":"caf\\u00e9 \\ud83d\\ude00 é"},'
        f'{{"image_url":{{"detail" :"low","url":"{address}"}},"type":"image_url"}}]}}',
        '[{"type":"function","function":{"name":"f","parameters":{"x":1.0,"y":1e5,"z":12345678901234567890}}}]',
    ]
    raw = (
        f'{{"temperature" : 1.0,\n"messages":[ {values[0]} ], "x-erp-session":"s", "tools": {values[1]},'
        '"model":"erp/auto","n":2,"logprobs":true,"seed":12345678901234567890,"extra":{"b":[],"a":null}}'
    )
    assert here.client.post("/v1/chat/completions", content=raw.encode()).status_code == 200
    (sent,) = [asked for name in here.order for asked in here.members[name].asked]
    for text in (values[0], values[1], '"temperature":1.0', '"seed":12345678901234567890',
                 '"extra":{"b":[],"a":null}'):  # fmt: skip
        assert text.encode() in sent.raw
    assert sent.path == "/v1/chat/completions"
    expected = json.loads(raw)
    del expected["x-erp-session"]
    name = next(name for name in here.order if here.members[name].asked)
    assert sent.body == {**expected, "model": name}
    assert list(sent.body) == [key for key in json.loads(raw) if key != "x-erp-session"]


def test_a_member_gets_its_own_beginning_and_defaults(setting):
    endpoint = {
        "model": "tiny", "system": "You are terse.", "defaults": {"temperature": 0.2, "max_tokens": 5},
        "shots": [{"user": "1+1?", "assistant": "2"}],
    }  # fmt: skip
    here = setting(endpoint={})
    node = here.gateway.config.members[0].model_validate({"name": "x", "base_url": "http://x/v1", **endpoint})
    for name in here.order:
        here.served._app.upstreams.endpoints[name] = node.model_copy(update={"name": name, "first_byte_s": 5.0})
    system = {"role": "system", "content": "Answer in French."}
    here.chat({**CHAT, "messages": [system, *TALK], "temperature": 1.0})
    sent = here.members[here.order[0]].asked[0].body
    shots = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]
    assert sent["messages"] == [{"role": "system", "content": "You are terse."}, system, *shots, *TALK]
    assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("tiny", 1.0, 5)
    here.chat({"model": "erp/auto", "input": PROMPT}, path="/v1/responses")
    sent = here.members[here.order[0]].asked[1]
    assert (sent.path, sent.body["input"]) == (
        "/v1/responses", [{"role": "system", "content": "You are terse."}, *shots, *TALK],
    )  # fmt: skip
    assert (sent.body["max_output_tokens"], "max_tokens" in sent.body) == (5, False)
    here.chat({**CHAT, "max_completion_tokens": 9})
    sent = here.members[here.order[0]].asked[2].body
    assert (sent["max_completion_tokens"], "max_tokens" in sent) == (9, False)  # two bounds are refused by servers


def test_a_stream_passes_event_by_event_as_it_comes(setting):
    here = setting(parts(*STREAM, pause_s=0.2))
    came = []
    with here.client.stream("POST", "/v1/chat/completions", content=json.dumps({**CHAT, "stream": True})) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        came.extend((time.perf_counter(), part) for part in answer.iter_raw())
    assert b"".join(part for _, part in came) == b"".join(STREAM)
    assert came[-1][0] - came[0][0] > 0.3
    assert "stream_options" not in here.members[here.order[0]].asked[0].body  # nobody counts


@pytest.mark.parametrize("cut", [1, 7, 64, 10_000])
def test_usage_is_asked_for_where_it_is_counted_and_taken_out_again(setting, tmp_path, cut):
    whole = b"".join([*STREAM[:2], USED, STREAM[2]])
    pieces = [whole[i : i + cut] for i in range(0, len(whole), cut)]
    here = setting(parts(*pieces), log={"folder": str(tmp_path / "log"), "prompts": True})
    body = {**CHAT, "stream": True, "stream_options": {"other": 1}}
    assert here.chat(body).content == b"".join(STREAM)
    assert here.members[here.order[0]].asked[0].body["stream_options"] == {"other": 1, "include_usage": True}
    asked_for = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    assert here.chat(asked_for).content == whole
    for record in here.kept(tmp_path / "log", 2):
        assert (record["prompt_tokens"], record["completion_tokens"], record["model"]) == (7, 3, "upstream-model")


@pytest.mark.parametrize("cut", [1, 5, 1_000_000])
def test_a_stream_that_is_broken_passes_as_it_is_though_its_usage_is_looked_for(setting, tmp_path, cut):
    whole = b"".join(
        [b'data: {"choices": \n\n', b": a comment\n\n", b"event: x\r\ndata: \xff\xfe\r\n\r\n", b"\n\n\n", b"data\n\n",
         event(b"[" * 5000), event({"usage": 3, "choices": []}), event({"choices": [], "usage": None}), b"data: half"]
    )  # fmt: skip
    here = setting(
        parts(*[whole[i : i + cut] for i in range(0, len(whole), cut)]), log={"folder": str(tmp_path / "log")}
    )
    assert here.chat({**CHAT, "stream": True}).content == whole
    huge = event(b"x" * 9_000_000)  # more than is held
    here.members[here.order[0]].script = parts(huge[:5_000_000], huge[5_000_000:], STREAM[2])
    if cut > 5:
        assert here.chat({**CHAT, "stream": True}).content == huge + STREAM[2]


async def hangs(_, writer):
    await asyncio.sleep(5)


async def hangs_up(_, writer):
    writer.close()


async def no_http(_, writer):
    writer.write(b"SSH-2.0-OpenSSH\r\n\r\n")


async def endless_head(_, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: " + b"y" * 1000 + b"\r\n")
        await writer.drain()


BEFORE = {
    "429": reply({}, 429, retry_after="60"), "500": reply({}, 500), "503": reply({}, 503), "401": reply({}, 401),
    "404": reply({}, 404), "302": reply({}, 302, location="http://127.0.0.1:9/"), "empty": reply(b""),
    "hangs in the head": hangs, "hangs in the body": parts(5.0), "hangs up": hangs_up, "no http": no_http,
    "endless head": endless_head,
}  # fmt: skip


@pytest.mark.parametrize("fault", BEFORE)
@pytest.mark.parametrize("stream", [False, True])
def test_who_fails_before_the_first_byte_is_followed_by_the_next(setting, fault, stream):
    here = setting(BEFORE[fault])
    answer = here.chat({**CHAT, "stream": stream})
    assert answer.json() == completion(here.order[1])
    assert (answer.headers["x-erp-member"], answer.headers["x-erp-path"]) == (here.order[1], "fallback")
    assert here.asked == [1, 1, 0]


def test_nobody_answers_in_words_without_the_servers_own(setting):
    here = setting(reply({"error": "secret"}, 500), hangs_up, reply({}, 503), retries=1)
    answer = here.chat()
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "no_answer"
    assert here.order[0] in answer.json()["error"]["message"]
    assert "secret" not in answer.text
    assert here.asked == [1, 1, 0]  # one more, and no third
    busy = setting(*[reply({}, 429, retry_after="30")] * 3).chat()
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "30")


def test_a_fault_of_the_request_is_the_client_s_to_see(setting):
    said = {"error": {"message": "too long", "type": "invalid_request_error", "param": None, "code": None}}
    here = setting(reply(said, 400))
    answer = here.chat()
    assert (answer.status_code, answer.json()) == (400, said)
    assert here.asked == [1, 0, 0]


def test_a_member_that_failed_often_or_asked_for_a_pause_is_left_alone(setting):
    here = setting(reply({}, 500), breaker_failures=2, breaker_s=60)
    for expected in ([1, 1, 0], [2, 2, 0], [2, 3, 0]):
        assert here.chat().headers["x-erp-member"] == here.order[1]
        assert here.asked == expected
    assert here.client.get("/readyz").json() == {"status": "ready", "members": 3, "resting": 1}
    here.members[here.order[0]].script = reply(completion())
    named = here.chat({**CHAT, "model": here.order[0]})
    assert (named.status_code, named.json()["error"]["code"]) == (503, "members_resting")
    paused = setting(reply({}, 429, retry_after="60"))
    for expected in ([1, 1, 0], [1, 2, 0]):
        paused.chat()
        assert paused.asked == expected


AFTER = {
    "breaks off": parts(STREAM[0], end=False), "pauses": parts(STREAM[0], 5.0),
}  # fmt: skip


@pytest.mark.parametrize("fault", AFTER)
def test_after_the_first_byte_nobody_else_is_asked_and_the_answer_does_not_look_whole(setting, fault):
    here = setting(AFTER[fault])
    came = b""
    with pytest.raises(httpx2.RemoteProtocolError):  # noqa: SIM117, PT012
        with here.client.stream("POST", "/v1/chat/completions", content=json.dumps({**CHAT, "stream": True})) as answer:
            for part in answer.iter_raw():
                came += part
    assert came == STREAM[0]
    assert here.asked == [1, 0, 0]
    assert here.chat({**CHAT, "model": here.order[1]}).status_code == 200
    assert "erp_upstream_broken_total" in here.client.get("/metrics").text


def test_a_client_that_goes_away_takes_the_member_s_call_along(setting):
    here = setting(parts(STREAM[0], *[STREAM[1]] * 100, pause_s=0.1))
    with here.client.stream("POST", "/v1/chat/completions", content=json.dumps({**CHAT, "stream": True})) as answer:
        next(answer.iter_raw())
    assert here.members[here.order[0]].asked[0].gone.wait(2)
    waiting = setting(hangs, endpoint={"first_byte_s": 10.0})
    with pytest.raises(httpx2.ReadTimeout):
        waiting.client.post("/v1/chat/completions", content=json.dumps(CHAT), timeout=0.3)
    assert waiting.members[waiting.order[0]].asked[0].gone.wait(2)
    assert waiting.asked == [1, 0, 0]


def spent_on(here):
    """USD that the gateway counts, at 10 USD per million tokens read and 1,000 written."""
    state = State()
    prices = {name: Price(name, 10.0, 1000.0) for name in here.order}
    spend = Spend(Budget(usd_per_day=1e9), 0.0, prices, state)
    here.gateway.served = Bundle(here.gateway.served.predictor, spend)
    counted = 0.0

    def next_() -> float:  # is counted once the answer has been passed on
        nonlocal counted
        until, before = time.monotonic() + 5, counted
        while (counted := state.spent(time.time())[1]) == before and time.monotonic() < until:
            time.sleep(0.01)
        return counted - before

    return next_


def test_an_answer_that_says_nothing_of_its_usage_is_paid_by_its_length(setting):
    read = math.ceil(len(PROMPT) / 4) * 1e-5
    here = setting(reply(completion()))
    cost = spent_on(here)
    here.chat()
    assert cost() == pytest.approx(7e-5 + 3e-3), "as it says"
    here.members[here.order[0]].script = reply(b"x" * 401)
    here.chat()
    assert cost() == pytest.approx(read + 101e-3)
    # a client that leaves before the usage is there gets nothing for nothing
    here.members[here.order[0]].script = parts(*STREAM[:2] * 20, pause_s=0.05)
    with here.client.stream("POST", "/v1/chat/completions", content=json.dumps({**CHAT, "stream": True})) as answer:
        for _, _ in zip(range(3), answer.iter_raw(), strict=False):
            pass
    assert read + 1e-3 <= cost() <= read + 30e-3


def test_a_request_takes_no_longer_than_it_may(setting):
    here = setting(hangs, endpoint={"first_byte_s": 10.0}, request_s=0.5)
    answer = here.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "too_slow")
    drips = setting(parts(*[STREAM[0]] * 100, pause_s=0.1), request_s=0.5)
    began = time.perf_counter()
    with pytest.raises(httpx2.RemoteProtocolError):
        drips.chat({**CHAT, "stream": True})
    assert time.perf_counter() - began < 3


def test_what_an_answer_used_is_read_in_either_form(setting, tmp_path):
    usage = {"input_tokens": 5, "output_tokens": 2}
    done = {"type": "response.completed", "response": {"model": "upstream-model", "usage": usage}}
    scripts = [
        parts(event({"type": "response.created"}), event(done)),
        reply({"model": "upstream-model", "usage": usage}),
    ]
    here = setting(log={"folder": str(tmp_path)})
    for script in scripts:
        here.members[here.order[0]].script = script
        assert here.chat({"model": "erp/auto", "input": PROMPT, "stream": True}, "/v1/responses").status_code == 200
    for record in here.kept(tmp_path, 2):
        assert (record["prompt_tokens"], record["completion_tokens"], record["model"]) == (5, 2, "upstream-model")


def test_what_a_client_can_bring_about_leaves_no_member_alone(setting):
    here = setting(*[reply({"error": {}}, 404)] * 3, breaker_failures=1)
    assert here.chat({"model": "erp/auto", "input": PROMPT}, "/v1/responses").status_code == 502
    for name in here.order:
        here.members[name].script = reply(completion(name))
    answer = here.chat(accept="text/\u00e9vent".encode("latin-1"))
    assert answer.headers["x-erp-path"] == "routed"
    assert here.members[here.order[0]].asked[-1].headers["accept"] == "text/\u00e9vent"


def test_headers_that_are_no_text_pass(setting):
    answer = setting(reply(completion(), x_request_id="\u2713")).chat()
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "\u2713")


def test_wrong_json_and_a_huge_body_pass_as_they_are(setting):
    for content in (b'{"choices": ', b"<html>", b"x" * 20_000_000):
        assert setting(reply(content)).chat().content == content


def test_a_conversation_stays_with_who_answered_it(setting):
    here = setting(reply({}, 500))
    assert here.chat().headers["x-erp-member"] == here.order[1]
    here.members[here.order[0]].script = reply(completion())
    went_on = [*TALK, {"role": "assistant", "content": "hello"}, {"role": "user", "content": PROMPT}]
    answer = here.chat({**CHAT, "messages": went_on})
    assert (answer.headers["x-erp-member"], answer.headers["x-erp-path"]) == (here.order[1], "pinned")
    recent = here.client.get("/recent").json()
    assert [(one["member"], one["path"], one["status"]) for one in recent["decisions"]] == [
        (here.order[1], "pinned", 200), (here.order[1], "fallback", 200),
    ]  # fmt: skip
    assert recent["shares"] == {name: 2 * (name == here.order[1]) for name in recent["shares"]}


def test_keys_go_to_their_member_alone(setting, tmp_path, monkeypatch):
    monkeypatch.setenv("MEMBER_KEY", "sk-member")
    here = setting(endpoint={"api_key_env": "MEMBER_KEY"}, log={"folder": str(tmp_path), "prompts": True})
    answer = here.chat(authorization="Bearer sk-client", x_erp_session="mine", cookie="a=b")
    (sent,) = here.members[here.order[0]].asked
    assert sent.headers["authorization"] == "Bearer sk-member"
    assert not {"cookie", "x-erp-session"} & set(sent.headers)
    fed = here.client.post("/feedback", json={"id": answer.headers["x-erp-id"], "reward": 0.5})
    assert fed.json() == {"status": "ok"}
    kept = here.kept(tmp_path, 2)
    assert [record["kind"] for record in kept] == ["decision", "feedback"]
    assert (kept[0]["prompt"], kept[0]["answered"], kept[0]["status"]) == (PROMPT, here.order[0], 200)
    assert kept[0]["id"] == kept[1]["id"] == answer.headers["x-erp-id"]
    assert "sk-" not in json.dumps(kept)
    for wrong in ({}, {"id": "x"}, {"id": "x", "reward": True}, {"id": "", "reward": 1}, {"id": "x", "reward": 1e300}):
        assert here.client.post("/feedback", json=wrong).status_code == 400


def test_a_log_becomes_a_table_and_judges_another_policy(setting, trained, tmp_path):
    rng = random.Random(0)
    log = {"folder": str(tmp_path / "log"), "prompts": True}
    here = setting(explore=0.5, draw=rng.random, log=log)
    by_name = {}
    for i in range(60):
        answer = here.chat({**CHAT, "messages": [{"role": "user", "content": f"{PROMPT} {rng.random()}"}]})
        member, reward = answer.headers["x-erp-member"], i % 3 / 2
        by_name.setdefault(member, []).append(reward)
        body = json.dumps({"id": answer.headers["x-erp-id"], "reward": reward})
        assert here.client.post("/feedback", content=body).status_code == 200
    table = read_table(
        str(import_table("gateway", tmp_path / "log", out=str(tmp_path / "table"), progress=False).folder)
    )
    rows = table.samples.assign(name=[table.members[m] for m in table.samples["member"]])
    assert {name: sorted(some["reward"]) for name, some in rows.groupby("name")} == {
        name: sorted(rewards) for name, rewards in by_name.items()
    }
    drawn = drawn_from(str(tmp_path / "log"), trained.members)
    assert len(drawn.requests) == 60
    assert set(drawn.requests["propensity"].round(6)) == {round(0.5 + 0.5 / 3, 6), round(0.5 / 3, 6)}
    assert all(set(order) == set(trained.members) for order in drawn.requests["order"])
