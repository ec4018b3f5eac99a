"""An engine with short waits, a member and requests, for tests that call a server."""

from __future__ import annotations

from dataclasses import replace

from erp.config import Decoding, Member
from erp.engines.base import Failure, Request
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


def sampled(asked, requests, member, k):
    """(position, K responses in order or the first Failure) of each request, as it is finished."""
    stream = asked.generate([replace(r, samples=tuple(range(k))) for r in requests], member)
    return _whole(stream, k)


def _whole(stream, k):
    came = {}
    for position, sample, answer in stream:
        of_it = came.setdefault(position, {})
        of_it[sample] = answer
        if len(of_it) == k:
            in_order = [of_it[j] for j in range(k)]
            yield position, next((a for a in in_order if isinstance(a, Failure)), in_order)


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
        results = list(sampled(engine(server, **options), [request("hi", seed)], member, k))
    assert [index for index, _ in results] == [0]
    return results[0][1], server
