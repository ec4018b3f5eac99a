"""What servers answer: chat completions, error messages, and when to come back."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from erp.files import whole_text
from erp.values import whole_number


@dataclass(frozen=True)
class Choice:
    """One of a completion's choices; ``tokens`` are counted where logprobs were asked for and given."""

    text: str
    finish_reason: str | None
    tokens: int | None


@dataclass(frozen=True)
class Completion:
    """What came back, choices in their order.

    Attributes:
        prompt_tokens: of the call, chat template included.
        completion_tokens: of all choices together on some servers (OpenAI, vLLM), of one on others (llama.cpp).
    """

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None


def read_completion(content: bytes) -> Completion:
    """A response's body as a Completion. Raises ValueError where it holds none."""
    try:
        body = json.loads(content)
        choices = sorted(body["choices"], key=lambda choice: choice.get("index") or 0)
        read = tuple(Choice(_text(c["message"]), _reason(c), _logged_tokens(c)) for c in choices)
        usage = body.get("usage") or {}
        completion = Completion(read, _count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no chat completion: {error}") from None
    if not completion.choices:
        raise ValueError("no chat completion: no choices")
    return completion


@dataclass(frozen=True)
class Endpoint:
    """What is called at an address.

    Attributes:
        path: after the address.
        read: an answer's body -> what it says; raises ValueError where it is none of this endpoint's answers.
        what: such an answer is called in messages.
        base: what addresses of such servers end with.
    """

    path: str
    read: Callable[[bytes], Any]
    what: str
    base: str = ""


CHAT = Endpoint("/chat/completions", read_completion, "chat completion", base="/v1")


def _text(message: Mapping[str, Any]) -> str:
    """What was said to the user: null (a tool call, thoughts that took all tokens) is nothing."""
    content = message.get("content") or ""
    if isinstance(content, list):  # parts of a message, thoughts among them
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    return whole_text(content)


def _reason(choice: Mapping[str, Any]) -> str | None:
    reason = choice.get("finish_reason")
    return whole_text(reason) if isinstance(reason, str) else None


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    return whole_number(usage.get(name))


def _logged_tokens(choice: Mapping[str, Any]) -> int | None:
    tokens = (choice.get("logprobs") or {}).get("content")
    return None if tokens is None else len(tokens)


def message_in(content: bytes) -> str:
    """What a body that is no completion says, on one line: its error message, else all of it."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    while isinstance(body, Mapping):
        body = next((body[name] for name in ("error", "message", "detail") if body.get(name)), None)
    return " ".join((body if isinstance(body, str) else content.decode("utf-8", "replace")).split())


def retry_after_s(value: str) -> float:
    """Seconds to wait by a ``Retry-After`` header, a number or a date; 0 where it says nothing."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
