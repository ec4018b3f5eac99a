"""What is looked at before anything is paid for: whether every member's server is there, and has the member's model."""

from __future__ import annotations

import socket
import time

import pytest

from erp.engines import chat_session
from tests.engines.chat_server import ChatServer, Reply, completion, error

OPENAI = ["engine=openai", "engine.api_key_env=null", "engine.backoff_s=0.01", "engine.concurrency=4", "k=1"]


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


def echo(body, number):
    return completion(f"{body['messages'][-1]['content']} {body['seed']}")


def models(*names, owned_by="vllm", **more):
    return Reply({"object": "list", "data": [{"id": name, "owned_by": owned_by, **more} for name in names]})


def behind(server, *more):
    return (*OPENAI, f"engine.base_url={server.url}", *more)


def test_the_last_member_s_server_is_missed_before_the_first_is_asked(collect):
    with socket.socket() as taken:  # bound, not listening
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        members = f"[{{name: small}}, {{name: large, engine: {{base_url: '{nowhere}'}}}}]"
        start = time.monotonic()
        with ChatServer(echo, models("small")) as server:
            code, _, err = collect(*behind(server), members=members)
            assert not server.calls
    assert time.monotonic() - start < 10
    assert code == 2
    assert err == (
        f"erp collect: engine.base_url = {nowhere}: nobody answers there (no connection: Connection refused); start "
        "the server, or correct the address\n"
    )


def test_a_refused_key_is_told_before_anything_is_asked(collect, monkeypatch):
    monkeypatch.setenv("ERP_TEST_API_KEY", "sk-secret")
    with ChatServer(echo, error(401, "who are you, sk-secret?")) as server:
        code, _, err = collect(*behind(server, "engine.api_key_env=ERP_TEST_API_KEY"))
        assert not server.calls
    assert code == 2
    (line,) = err.splitlines()
    assert "answers 401 (who are you, ***?); export a key that this address accepts" in line


def test_a_server_that_answers_to_any_name_is_one_member(collect, tmp_path):
    """llama.cpp's with one model: two members with two models behind it would be one model twice."""
    with ChatServer(echo, models("smollm2", owned_by="llamacpp", aliases=["smol"])) as server:
        code, _, err = collect(*behind(server), members="[{name: small}, {name: large}]")
        assert code == 2
        assert err == (
            f"erp collect: pool.members: small, large would all be answered by smollm2, the one model of {server.url}, "
            "which answers to any name; give each its own server (engine: {base_url: ...} beside its name), or the "
            "same model\n"
        )
        assert not server.calls
        two_styles = "[{name: small, model: smol}, {name: brief, model: smol, system: Be brief.}]"
        code, out, err = collect(*behind(server), members=two_styles)  # what was refused holds nothing up
        assert code == 0, err
        assert "any name" not in out
        code, out, err = collect(*behind(server, "name=alone"), members="[{name: small}]")
        assert code == 0, err
        assert f"note: small: is answered by smollm2, the one model of {server.url}, which answers to any name" in out


def test_a_model_that_is_not_listed_is_told_and_asked(collect):
    """Hosts take names that they do not list."""
    names = [f"org/model-{i}" for i in range(50)] + ["meta-llama/Llama-3.1-8B-Instruct"]
    with ChatServer(echo, models(*names)) as server:
        code, out, err = collect(*behind(server), members="[{name: llama, model: meta-llama/Llama-3.1-8b-instruct}]")
    assert code == 0, err
    assert (
        f"warning: llama: {server.url} lists no model meta-llama/Llama-3.1-8b-instruct; it has "
        "meta-llama/Llama-3.1-8B-Instruct\n"
    ) in out


@pytest.mark.parametrize(
    "listed",
    [Reply("", 404), Reply("<html>"), Reply({"data": []}), Reply({"data": [{"name": "small"}]}), error(500, "no")],
    ids=["none", "a page", "empty", "another form", "broken"],
)
def test_a_server_that_does_not_say_is_asked(collect, listed):
    with ChatServer(echo, listed) as server:
        code, out, err = collect(*behind(server))
        assert server.listed == 1
    assert code == 0, err
    assert "warning" not in out


def test_a_list_is_not_waited_for(collect, monkeypatch):
    monkeypatch.setattr(chat_session, "MODELS_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        members = f"[{{name: small, engine: {{base_url: '{address}', timeout_s: 0.1, retries: 0}}}}]"
        start = time.monotonic()
        code, _, err = collect(*OPENAI, "retries=0", members=members)
    assert time.monotonic() - start < 5
    assert code == 2
    assert "no answer within 0.1 s" in err


def test_nobody_is_asked_where_nothing_is_left(collect):
    with ChatServer(echo, models("small", "org/big")) as server:
        assert collect(*behind(server))[0] == 0
    assert collect(*behind(server))[0] == 0  # the server is gone
