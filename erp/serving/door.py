"""The door of the gateway: who may come in, and how much is read of what they bring."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import Receive, Scope, Send

from erp.serving.refusal import Refusal, unfit

_READING_S = 30.0
"""How long a client may take to send a body."""


@dataclass(frozen=True)
class Call:
    """One request at the door.

    Attributes:
        path, method: as asked.
        headers: by lower-case name; of several of one name the last.
        receive: the rest of it.
        send: where the answer goes.
        client: who asks: SHA-256 of the token, or nothing where none is needed.
    """

    path: str
    method: str
    headers: Mapping[str, str]
    receive: Receive
    send: Send
    client: str


class Door:
    """Lets requests in.

    Args:
        tokens: SHA-256 of the bearer tokens that are known; none lets everybody in.
        most: bytes of a body.
    """

    def __init__(self, tokens: Sequence[str], most: int) -> None:
        self.tokens = [token.encode() for token in tokens]
        self.most = most

    def call(self, scope: Scope, receive: Receive, send: Send, open_to_all: bool) -> Call:
        """The request. Raises Refusal where its token is not known."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        client = "" if open_to_all or not self.tokens else self._known(headers.get("authorization", ""))
        return Call(scope["path"], scope["method"], headers, receive, send, client)

    def _known(self, given: str) -> str:
        kind, _, token = given.partition(" ")
        found = hashlib.sha256(token.strip().encode("latin-1")).hexdigest()
        # All are compared, so that the time says nothing of which.
        known = [hmac.compare_digest(found.encode(), token) for token in self.tokens]
        if kind.lower() != "bearer" or not any(known):
            raise Refusal(401, "invalid_api_key", "the bearer token is missing or not known to this gateway")
        return found

    async def body(self, call: Call) -> tuple[str, dict[str, Any]]:
        """The body, and the JSON object that it is. Raises Refusal where it is none, too large or too slow."""
        raw = await self._read(call)
        try:
            text = raw.decode(json.detect_encoding(raw), "surrogatepass")
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise unfit("the body is not JSON; give an object") from None
        if not isinstance(found, dict):
            raise unfit("the body is no JSON object; give one")
        return text, found

    async def _read(self, call: Call) -> bytes:
        too_large = Refusal(413, "too_large", f"the body is larger than {self.most:,} bytes; send less")
        length = call.headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:20]) > self.most:
            raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(_READING_S):
                while True:
                    message = await call.receive()
                    if message["type"] != "http.request":
                        raise unfit("the client went away")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.most:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Refusal(408, "too_slow", f"the body did not come within {_READING_S:g} seconds") from None
