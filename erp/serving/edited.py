"""A body as a member gets it: what the member asks for is changed, and every other value stays as it was written."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from erp.config.serve import Endpoint
from erp.serving.asked import LIMITS, Kind
from erp.serving.wishes import KEYS

_SPACE = re.compile(r"[ \t\n\r]*")
_decoded = json.JSONDecoder().raw_decode
_TURNS = {"chat": "messages", "responses": "input"}
_LEADING = ("system", "developer")


def values_of(text: str) -> dict[str, str]:
    """The text of every value of a JSON object, by key; of a key that stands there twice the last, as parsers do."""
    found: dict[str, str] = {}
    at = _past(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = _decoded(text, at)
        start = _past(text, _past(text, at) + 1)
        _, end = _decoded(text, start)
        found[key] = text[start:end]
        at = _next(text, end)
    return found


def items_of(text: str) -> list[str]:
    """The text of every item of a JSON list."""
    found: list[str] = []
    at = _past(text, text.index("[") + 1)
    while text[at] != "]":
        _, end = _decoded(text, at)
        found.append(text[at:end])
        at = _next(text, end)
    return found


def edited(values: Mapping[str, str], endpoint: Endpoint, kind: Kind, usage: bool) -> bytes:
    """What is sent to a member.

    Args:
        values: of the client's body.
        endpoint: the member's.
        kind: which of the two forms it is.
        usage: whether a stream is asked to say what it used.
    """
    found = {key: value for key, value in values.items() if key not in KEYS}
    found["model"] = json.dumps(endpoint.model or endpoint.name)
    bounded = not found.keys().isdisjoint(LIMITS)  # by either name; servers refuse two
    for key, value in endpoint.defaults.items():
        if key not in LIMITS:
            found.setdefault(key, json.dumps(value))
        elif not bounded:
            found[key if kind == "chat" else LIMITS[-1]] = json.dumps(value)
    turns = _TURNS[kind]
    if turns in found:
        found[turns] = _begun(found[turns], endpoint)
    if usage:
        options = json.loads(found.get("stream_options", "null"))
        options = options if isinstance(options, dict) else {}
        found["stream_options"] = json.dumps({**options, "include_usage": True})
    text = ",".join(f"{json.dumps(key)}:{value}" for key, value in found.items())
    return f"{{{text}}}".encode("utf-8", "surrogatepass")


def _begun(turns: str, endpoint: Endpoint) -> str:
    """A conversation behind the member's own beginning: its system message before all, its examples before the talk."""
    if endpoint.system is None and not endpoint.shots:
        return turns
    if turns.startswith('"'):  # an input that is a text
        turns = f'[{{"role":"user","content":{turns}}}]'
    items = items_of(turns)
    leading = next((i for i, item in enumerate(items) if json.loads(item).get("role") not in _LEADING), len(items))
    system = [] if endpoint.system is None else [_turn("system", endpoint.system)]
    shots = [turn for s in endpoint.shots for turn in (_turn("user", s.user), _turn("assistant", s.assistant))]
    return f"[{','.join([*system, *items[:leading], *shots, *items[leading:]])}]"


def _turn(role: str, content: Any) -> str:
    return json.dumps({"role": role, "content": content})


def _past(text: str, at: int) -> int:
    """The place behind white space."""
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _next(text: str, at: int) -> int:
    """The place of the next item, or of the closing bracket."""
    at = _past(text, at)
    return _past(text, at + 1) if text[at] == "," else at
