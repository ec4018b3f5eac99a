"""What was asked, where a prompt may be a conversation; and a response that is an API's answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from erp.importers.fields import Misread, shown
from erp.table.asked import as_text


def parsed(value: object) -> Any:
    """What a text holds as JSON where it is an object or a list; anything else as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def asked(value: object, called: str) -> str:
    """The text, or of a conversation its last user turn; both may be written as JSON.

    Args:
        value: a text, a list of turns, or an object that holds them as ``messages``, ``input`` or ``prompt``.
        called: what errors call it.

    Raises:
        Misread: nothing was asked, or none of it is a text.
    """
    found = parsed(value)
    if isinstance(found, Mapping):
        found = next((found[key] for key in ("messages", "input", "prompt") if found.get(key)), None)
    if isinstance(found, list) and not (found and all(isinstance(turn, Mapping) for turn in found)):
        found = value if isinstance(value, str) else found  # a text that only looks like JSON
    try:
        text = as_text(found, "last_user")
    except ValueError as error:
        raise Misread(f"{called} {error}", shown(value)) from None
    if text is None or not text.strip():
        raise Misread(f"{called} holds no text", f"{called} = {shown(value)}")
    return text


def answered(value: object) -> tuple[str | None, str | None]:
    """The text of a response, and why it ended; of an API's answer, its first choice. None where there is none."""
    found = parsed(value)
    reason = None
    if isinstance(found, Mapping):
        choices = found.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            found, reason = choices[0], choices[0].get("finish_reason")
            found = found["message"] if isinstance(found.get("message"), Mapping) else found
        content = found.get("content", found.get("text"))
        found = value if content is None and isinstance(value, str) else content
    elif isinstance(value, str):
        found = value
    return (found if isinstance(found, str) and found else None), (reason if isinstance(reason, str) else None)
