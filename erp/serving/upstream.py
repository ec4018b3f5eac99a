"""The members' servers: a request goes to one after another, until one begins to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice

import httpx2

from erp.config.serve import Endpoint
from erp.config.serve import Gateway as Config
from erp.engines.chat_address import address_faults, key_in
from erp.engines.chat_answers import retry_after_s
from erp.errors import ErpError
from erp.serving.breaker import Breakers
from erp.serving.refusal import Refusal

CONNECT_S = 10.0
ANOTHER = frozenset({401, 403, 404, 408, 409, 425, 429})
"""Statuses below 500 at which another member is asked: the fault is this member's, or its key's, not the request's."""
_UNCOUNTED = frozenset({404, 409})
"""Those that a client could bring about as often as it likes, ``/v1/responses`` of a server without it for instance."""
_LONGEST_REST_S = 300.0


class Failed(Exception):  # noqa: N818  # another member is asked
    """A member did not begin to answer, in words; ``after_s`` is when it wants to be asked again."""

    def __init__(self, reason: str, after_s: float = 0.0, status: int | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.status = status


class BrokenError(Exception):
    """An answer that had begun ended before its end."""


@dataclass
class Begun:
    """An answer whose first byte is there.

    Attributes:
        member: whose.
        status, headers: as the member's server says.
        rest: the bytes, the first ones too.
        waited: members that failed before, and why.
    """

    member: str
    status: int
    headers: httpx2.Headers
    rest: AsyncIterator[bytes]
    waited: Sequence[tuple[str, str]] = ()

    @property
    def streams(self) -> bool:
        """Whether it comes as events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")


class Upstreams:
    """All members' servers, a pool of connections for each. Nothing but the config says where a request goes.

    Args:
        config: the endpoints.
        breakers: who is left alone.
        noted: is told of every failure: the member, and why.

    Raises:
        ErpError: an address that is none, a key that is not set.
    """

    def __init__(self, config: Config, breakers: Breakers, noted: Callable[[str, str], None]) -> None:
        self.config = config
        self.breakers = breakers
        self._noted = noted
        self._resting: dict[str, float] = {}
        self._clients: dict[str, httpx2.AsyncClient] = {}
        faults: list[str] = []
        for i, endpoint in enumerate(config.members):
            node = f"gateway.members.{i}"
            try:
                faults += (wrong := address_faults(node, endpoint.base_url))
                if not wrong:
                    key = key_in(node, endpoint.api_key_env)
                    self._clients[endpoint.name] = client(endpoint.base_url, key, endpoint.concurrency)
            except ErpError as error:
                faults += error.faults
        if faults:
            raise ErpError(*faults)
        self.endpoints = {endpoint.name: endpoint for endpoint in config.members}

    async def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients.values():
            await client.aclose()

    def rests(self, member: str) -> bool:
        """Whether a member is left alone now: its breaker is open, or it asked for a pause."""
        return self.breakers.open(member) or time.monotonic() < self._resting.get(member, 0.0)

    async def begin(
        self, stack: AsyncExitStack, order: Iterable[str], path: str, body: Callable[[Endpoint], bytes], accept: str
    ) -> Begun:
        """Ask members in this order until one begins to answer.

        Args:
            stack: closes the answer.
            order: members; the next is taken once the one before did not answer.
            path: behind ``base_url``.
            body: what a member is sent.
            accept: of the client.

        Raises:
            Refusal: none did.
        """
        failures: list[tuple[str, Failed]] = []
        for member in islice((name for name in order if not self.rests(name)), self.config.retries + 1):
            if failures:
                await asyncio.sleep(self.config.backoff_s * 2 ** (len(failures) - 1))
            self.breakers.asked(member)
            try:
                begun = await self._ask(stack, member, path, body(self.endpoints[member]), accept)
            except Failed as failure:
                failures.append((member, failure))
                self._noted(member, str(failure))
                if failure.status not in _UNCOUNTED:
                    self.breakers.failed(member)
                if failure.after_s:
                    self._resting[member] = time.monotonic() + min(failure.after_s, _LONGEST_REST_S)
            else:
                self.breakers.answered(member)
                begun.waited = [(name, str(failure)) for name, failure in failures]
                return begun
        raise _refusal(failures)

    async def _ask(self, stack: AsyncExitStack, member: str, path: str, body: bytes, accept: str) -> Begun:
        endpoint, client = self.endpoints[member], self._clients[member]
        headers = {b"content-type": b"application/json", b"accept": accept.encode("latin-1")}  # whatever letters it has
        try:
            async with asyncio.timeout(endpoint.first_byte_s), AsyncExitStack() as opened:
                response = await client.send(client.build_request("POST", path, content=body, headers=headers),
                                             stream=True)  # fmt: skip
                opened.push_async_callback(response.aclose)
                status = response.status_code
                if status >= 500 or status in ANOTHER or 300 <= status < 400:
                    raise Failed(f"status {status}", retry_after_s(response.headers.get("retry-after", "")), status)
                chunks = response.aiter_raw()
                first = await anext(chunks, b"")
                if not first and status < 300:
                    raise Failed("an empty answer")
                stack.push_async_exit(opened.pop_all())
        except TimeoutError:
            raise Failed(f"no first byte within {endpoint.first_byte_s:g} s") from None
        except httpx2.HTTPError as error:
            raise Failed(type(error).__name__) from None
        return Begun(member, status, response.headers, _chunks(first, chunks, endpoint.between_bytes_s))


async def _chunks(first: bytes, rest: AsyncIterator[bytes], pause_s: float) -> AsyncIterator[bytes]:
    """The bytes as they come. Raises BrokenError."""
    chunk = first
    while chunk:
        yield chunk
        try:
            async with asyncio.timeout(pause_s):
                chunk = await anext(rest, b"")
        except TimeoutError:
            raise BrokenError(f"no further byte within {pause_s:g} s") from None
        except httpx2.HTTPError as error:
            raise BrokenError(type(error).__name__) from None


def client(base_url: str, key: str, concurrency: int) -> httpx2.AsyncClient:
    """A pool of connections to one server. Without a key none is sent."""
    headers = {"user-agent": "erp", "accept-encoding": "identity"}  # usage is read as the bytes go by
    if key:
        headers["authorization"] = f"Bearer {key}"
    return httpx2.AsyncClient(
        base_url=base_url.rstrip("/"),
        headers=headers,
        timeout=httpx2.Timeout(None, connect=CONNECT_S),  # the longest waits are the endpoint's own
        limits=httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        follow_redirects=False,
        trust_env=False,  # no proxy that the environment names gets to see prompts and keys
    )


def _refusal(failures: Sequence[tuple[str, Failed]]) -> Refusal:
    """What a client is told where nobody answers."""
    if not failures:
        return Refusal(503, "members_resting", "every member that could answer failed lately; try again", 5.0)
    told = "; ".join(f"{member}: {failure}" for member, failure in failures)
    if all(failure.status == 429 for _, failure in failures):
        return Refusal(
            429, "rate_limited", f"every member is busy: {told}", max(1.0, min(f.after_s for _, f in failures))
        )
    return Refusal(502, "no_answer", f"no member began to answer: {told}")
