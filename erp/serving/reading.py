"""What an answer says of itself, read while its bytes go by: usage, and who answered."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from erp.engines.chat_answers import read_completion
from erp.files import whole_text
from erp.values import CHARACTERS_PER_TOKEN

_EVENT_ENDS = re.compile(rb"\r?\n\r?\n")
_MOST = 4_000_000
"""Bytes of an answer, or of one event, that are held; a larger one passes unread."""


class Reading:
    """Reads an answer as it passes.

    Args:
        events: whether it is a stream of events, or one JSON.
        strip: take out the event that says what was used: the client did not ask for it.

    Attributes:
        usage: what it says it used; empty where it does not say.
        model: who answered, as it says.
    """

    def __init__(self, events: bool, strip: bool) -> None:
        self.usage: Mapping[str, Any] = {}
        self.model: str | None = None
        self._events, self._strip = events, strip and events
        self._held = b""
        self._unread = False
        self._bytes = self._count = 0

    @property
    def tokens(self) -> int:
        """Of the answer so far, by its length: an event of a stream is about one."""
        return self._count if self._events else math.ceil(self._bytes / CHARACTERS_PER_TOKEN)

    def feed(self, chunk: bytes) -> bytes:
        """Take a part of the answer; gives what is to be passed on."""
        self._bytes += len(chunk)
        if self._unread:
            return chunk
        unseen = max(0, len(self._held) - 3)  # before it no event ends; a large one comes in many parts
        self._held += chunk
        passed = [] if self._strip else [chunk]
        if self._events:
            while (end := _EVENT_ENDS.search(self._held, unseen)) is not None:
                event, self._held = self._held[: end.end()], self._held[end.end() :]
                unseen = 0
                self._count += 1
                only_usage = self._read(_data_of(event))
                if self._strip and not only_usage:
                    passed.append(event)
        if len(self._held) > _MOST:
            self._unread = True
            passed += [self._held] if self._strip else []
            self._held = b""
        return b"".join(passed)

    def end(self) -> bytes:
        """The answer is over; gives what was still held back."""
        rest, self._held = self._held, b""
        if not self._events:
            self._read(rest)
        return rest if self._strip else b""

    def _read(self, data: bytes) -> bool:
        """Read one JSON; gives whether it says nothing but what was used."""
        if self.model is not None and b'"usage"' not in data:
            return False
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return False
        if isinstance(found, Mapping) and isinstance(found.get("response"), Mapping):  # events of /v1/responses
            found = found["response"]
        if not isinstance(found, Mapping):
            return False
        if isinstance(found.get("model"), str):
            self.model = found["model"]
        if not isinstance(found.get("usage"), Mapping):
            return False
        self.usage = found["usage"]
        return found.get("choices") == []


def text_of(content: bytes, events: bool) -> str:
    """What a chat completion says, be it whole or a stream of events. Raises ValueError where it is none."""
    if not events:
        return read_completion(content).choices[0].text
    said: list[str] = []
    try:
        for data in map(_data_of, _EVENT_ENDS.split(content)):
            if data not in (b"", b"[DONE]"):
                said += [choice["delta"].get("content") or "" for choice in json.loads(data)["choices"]]
        return whole_text("".join(said))
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no chat completion: {error}") from None


def _data_of(event: bytes) -> bytes:
    """The data of a server-sent event."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
