"""An engine with short waits, a member and requests, for tests that call a server."""

from __future__ import annotations

from erp.config import Decoding, Member
from erp.engines.base import Request
from erp.engines.openai import OpenAIEngine
from tests.engines.chat_server import ChatServer, completion

KEY = "sk-secret-0123456789"
ENV = "ERP_TEST_API_KEY"
TINY = Member(name="tiny", model="org/tiny", decoding=Decoding(temperature=0.7, max_tokens=16))
NOWHERE = "http://127.0.0.1:9/v1"


def engine(server, **options):
    given = {"api_key_env": ENV, "timeout_s": 5.0, "retries": 3, "backoff_s": 0.001, "backoff_max_s": 0.01, **options}
    return OpenAIEngine(base_url=server if isinstance(server, str) else server.url, **given)


def request(prompt, seed=0):
    return Request(({"role": "user", "content": prompt},), seed)


def prompt_in(body):
    return body["messages"][-1]["content"]


def echo(body, number):
    """Says the prompt and the seed, as often as asked."""
    return completion(*[f"{prompt_in(body)} {body.get('seed', 0) + j}" for j in range(body.get("n", 1))])


def failing(times, reply, then=echo):
    """Fails so many times, then answers."""
    return lambda body, number: reply if number < times else then(body, number)


def one(reply, k=1, seed=5, member=TINY, **options):
    """The result of a single request, and the server that answered it."""
    with ChatServer(reply if callable(reply) else lambda body, number: reply) as server:
        results = list(engine(server, **options).generate([request("hi", seed)], member, k))
    assert [index for index, _ in results] == [0]
    return results[0][1], server
