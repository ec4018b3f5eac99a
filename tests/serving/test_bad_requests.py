"""A thousand bad requests: none ends in a 5xx of ours, memory stays flat, and the next good one is answered."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from pathlib import Path

import httpx2

from erp.serving import connection
from tests.serving.conftest import app_of
from tests.serving.servers import Member, Served, completion, reply

PATHS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/route",
    "/feedback",
    "/v1/models",
    "/",
    "/%00",
    "/v1/../route",
    "//x",
)
GOOD = {"model": "erp/auto", "messages": [{"role": "user", "content": "prove the triangle theorem"}]}
ODD = [
    None,
    True,
    3,
    -1,
    1e308,
    "",
    "x",
    "\ud800",
    "\x00",
    [],
    {},
    [[]],
    [{}],
    [None],
    {"role": "user"},
    "x" * 5000,
    {"a": [1]},
]
KEYS = [
    *(
        "model",
        "messages",
        "prompt",
        "prompts",
        "input",
        "stream",
        "stream_options",
        "tools",
        "response_format",
        "text",
    ),
    *(
        "max_tokens",
        "x-erp-lambda",
        "x-erp-policy",
        "x-erp-members",
        "x-erp-session",
        "id",
        "reward",
        "role",
        "content",
    ),
]


def memory() -> int:
    """Resident bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def body(chance: random.Random) -> bytes:
    """Something that is no good request, or nearly one."""
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    if kind == 1:
        return json.dumps(GOOD).encode()[: chance.randrange(80)]
    if kind == 2:
        return (b"[", b'{"a":')[chance.randrange(2)] * chance.choice([10, 3000, 60_000])
    found = {key: chance.choice(ODD) for key in chance.sample(KEYS, chance.randrange(1, 6))}
    if kind == 3:
        return json.dumps(found).encode()
    turns = [
        {"role": chance.choice(["user", "system", "tool", 3, None]), "content": chance.choice(ODD)} for _ in range(3)
    ]
    return json.dumps({**GOOD, "messages": turns, **(found if kind == 4 else {})}).encode()


def raw(chance: random.Random) -> bytes:
    """Bytes that are hardly HTTP."""
    return chance.choice(
        [b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /route HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
         b"POST /route HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{}", chance.randbytes(300),
         b"GET /healthz HTTP/1.1\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
         b"POST /route HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"]
    )  # fmt: skip


def test_a_thousand_bad_requests(gateway):
    chance = random.Random(0)
    with Member(reply(completion())) as member:
        made = gateway(
            body_mb=0.1,
            policies=["lambda"],
            tokens=["2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"],
        )
        nodes = [node.model_copy(update={"base_url": member.url}) for node in made.config.members]
        made.config = made.config.model_copy(update={"members": nodes})
        made.endpoints = {node.name: node for node in nodes}
        with Served(app_of(made)) as served, httpx2.Client(base_url=served.url, timeout=20) as client:
            good = {"authorization": "Bearer secret"}
            statuses, begun = set(), 0
            for i in range(1000):
                if i == 200:
                    begun = memory()
                if i % 10 == 0:
                    with socket.create_connection(served.address) as link:
                        link.sendall(raw(chance))
                        link.settimeout(0.01)
                        with contextlib.suppress(TimeoutError, ConnectionError):
                            link.recv(100)
                    continue
                token = chance.choice([good, good, good, {}, {"authorization": "Bearer \xff".encode("latin-1")}])
                odd = {"x-erp-lambda": chance.choice(["1e400", "-1", "-", "0"]), "accept": "x" * chance.randrange(99)}
                answer = client.request(
                    chance.choice(["POST", "POST", "POST", "GET", "PUT", "OPTIONS"]), chance.choice(PATHS),
                    content=body(chance) if i % 50 else b"x" * 200_000, headers={**token, **odd},
                )  # fmt: skip
                statuses.add(answer.status_code)
                assert answer.status_code < 500, (answer.text, answer.request.content)
                assert answer.status_code == 200 or set(answer.json()) == {"error"}
            assert {200, 400, 401, 404, 405, 413} <= statuses
            assert memory() - begun < 20e6
            began = time.perf_counter()
            assert client.post("/v1/chat/completions", json=GOOD, headers=good).json() == completion()
            assert time.perf_counter() - began < 2


def test_who_takes_too_long_over_a_head_is_hung_up_on(gateway, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.25)

    def is_hung_up_on(link):
        began = time.perf_counter()
        while time.perf_counter() - began < 5:
            with contextlib.suppress(TimeoutError):
                try:
                    if not link.recv(1000):
                        return time.perf_counter() - began < 3
                except ConnectionError:
                    return True
            with contextlib.suppress(OSError):
                link.sendall(b"x")
        return False

    whole = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with Served(app_of(gateway()), http=connection.Connection) as served:
        for before in (b"", b"GET /healthz HTTP/1.1\r\nx: ", whole + b"GET /healthz HTTP/1.1\r\nx: "):
            with socket.create_connection(served.address) as link:
                link.settimeout(0.1)
                link.sendall(before)
                assert is_hung_up_on(link)
        with socket.create_connection(served.address) as link:  # but not one whose head is there
            link.sendall(b"POST /route HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{")
            time.sleep(0.4)
            link.sendall(b"}")
            assert link.recv(1000).startswith(b"HTTP/1.1 400")
