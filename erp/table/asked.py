"""What a row asks: a text out of a prompt or a conversation, by one rule; its turns; a label."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from erp.files import whole_text

PromptFrom = Literal["last_user", "first_user", "conversation"]
DEFAULT_RULE: PromptFrom = "last_user"
Turn = dict[str, str]  # role and content
SPEAKERS = ("system", "user", "assistant")
_ROLES = {"human": "user", "gpt": "assistant"}  # what ShareGPT's {from, value} calls them


def prompt_of(row: Mapping[str, Any], rule: PromptFrom, column: str | None = None) -> str | None:
    """The text that a row asks: that of ``asked_in`` by the rule.

    Raises:
        ValueError: it is neither a text nor a conversation; what to do is in the message.
    """
    return as_text(asked_in(row, column), rule)


def asked_in(row: Mapping[str, Any], column: str | None = None) -> Any:
    """What a row asks as it stands there: its ``column``, or where none is named its ``prompt``, else its ``messages``.

    Raises:
        ValueError: the text of ``messages`` is no JSON.
    """
    if column is None:
        column = "messages" if nothing(row.get("prompt")) and "messages" in row else "prompt"
    value = row.get(column)
    if column == "messages" and isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)  # a csv has no other way to hold a list
        except ValueError as error:
            raise ValueError(f"messages is not JSON ({error}); give a list of {{role, content}}") from None
    return value


def as_text(value: object, rule: PromptFrom) -> str | None:
    """A text as it is, a conversation by the rule, nothing as None.

    ``last_user`` and ``first_user`` are the content of that turn. ``conversation`` is every turn that has a text, as
    ``role: text``, with an empty line between two. Parts of one content are joined by a line break.

    Raises:
        ValueError: it is neither, or has no user turn with a text.
    """
    if nothing(value):
        return None
    if isinstance(value, str):
        return whole_text(value)
    turns = _turns(value)
    asked = [text for role, text in turns if role == "user"]
    if not asked:
        raise ValueError("the conversation has no turn of the role user")
    chosen = asked[0 if rule == "first_user" else -1]
    if rule == "conversation":
        chosen = "\n\n".join(f"{role}: {text}" for role, text in turns if text.strip()) if any(asked) else ""
    if not chosen.strip():
        raise ValueError(f"the {'first' if rule == 'first_user' else 'last'} user turn has no text")
    return whole_text(chosen)


def turns_of(value: object) -> tuple[Turn, ...] | None:
    """A conversation as it is sent to be answered, without system turns that say nothing; None for a text, or nothing.

    Raises:
        ValueError: it is neither; a role is not one of `SPEAKERS`, a turn has no text, or the last is not the user's.
    """
    if nothing(value) or isinstance(value, str):
        return None
    found = []
    for number, (role, text) in enumerate(_turns(value), 1):
        if role not in SPEAKERS:
            raise ValueError(f"message {number} is of the role {role}; known are {', '.join(SPEAKERS)}")
        if text.strip():
            found.append({"role": role, "content": whole_text(text)})
        elif role != "system":
            raise ValueError(f"message {number} has no text")
    if not found or found[-1]["role"] != "user":
        raise ValueError("the conversation does not end in a turn of the role user, which is to be answered")
    return tuple(found)


def label_of(value: object) -> str | None:
    """A text or a whole number as text; None where there is nothing. Raises ValueError for anything else."""
    if nothing(value):
        return None
    if isinstance(value, float) and value.is_integer():  # whole numbers that a null among them made floats of
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"is {_kind(value)}, not a text")
    return whole_text(str(value)) if str(value).strip() else None


def _turns(value: Any) -> list[tuple[str, str]]:
    """Roles and texts of a conversation."""
    if hasattr(value, "tolist"):  # parquet's lists come as arrays
        value = value.tolist()
    if not isinstance(value, list | tuple) or not all(isinstance(turn, Mapping) for turn in value):
        raise ValueError(f"is {_kind(value)}, not a text or messages {{role, content}}")
    return [_turn(number, turn) for number, turn in enumerate(value, 1)]


def _turn(number: int, turn: Mapping[str, Any]) -> tuple[str, str]:
    """Role and text of one turn."""
    role: object = turn.get("role")
    content: Any = turn.get("content")
    if role is None and "from" in turn:
        role, content = _ROLES.get(str(turn["from"]), turn["from"]), turn.get("value")
    if not isinstance(role, str):
        raise ValueError(f"message {number} has no role; give {{role, content}}")
    if hasattr(content, "tolist"):
        content = content.tolist()
    parts = [content] if isinstance(content, str) else content or []
    if not isinstance(parts, list | tuple):
        raise ValueError(
            f"the content of message {number} is {_kind(parts)}; give a text, or parts {{type: text, text}}"
        )
    return role, "\n".join(_part(number, part) for part in parts)


def _part(number: int, part: object) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) else None
    if not isinstance(text, str):
        kind = part.get("type", "no type") if isinstance(part, Mapping) else _kind(part)
        raise ValueError(f"message {number} has a part that is no text ({kind}); only texts are read")
    return text


def nothing(value: object) -> bool:
    """Whether a cell is empty: null, or the NaN that pandas puts there."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
