"""What was asked, out of what was sent: without chat template, description and few-shot examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import takewhile
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

_CHAT = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
_CHAT.globals["strftime_now"] = lambda _: ""  # some put the day before the first turn
_PLAIN = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
_TURNS = ("[turn-one]", "[turn-two]", "[turn-three]")
BLANK = "_"


def is_chat(sent: str) -> bool:
    """Whether what was sent is a list of messages as JSON."""
    return _messages(sent) is not None


def last_user_part(sent: str, template: str | None, tokens: Mapping[str, str]) -> str | None:
    """The last thing that the user says in a chat as it was sent.

    Args:
        sent: a list of messages as JSON, or what a chat template made of one, or plain text.
        template: the template that was used; None for none.
        tokens: what the template may call: ``bos_token`` and ``eos_token``.

    Returns:
        None where the template does not tell.
    """
    if (messages := _messages(sent)) is not None:
        said = [_content(m.get("content")) for m in messages if m.get("role") == "user"]
        return said[-1] if said else None
    if not template:
        return sent
    marks = _marks(template, tuple(sorted(tokens.items())))
    if marks is None:
        return None
    before, after = marks
    start = sent.rfind(before)
    if start < 0:
        return None
    said_and_more = sent[start + len(before) :]
    end = said_and_more.rfind(after) if after else len(said_and_more)
    return said_and_more[:end] if end >= 0 else None


def _messages(sent: str) -> list[dict[str, Any]] | None:
    if not sent.startswith("[{"):
        return None
    try:
        messages = json.loads(sent)
    except (ValueError, RecursionError):
        return None
    return messages if all(isinstance(m, dict) and "role" in m for m in messages) else None


def _content(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


@cache
def _marks(template: str, tokens: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """What the template puts before and after what a user says, whether or not somebody spoke before."""
    one, two, three = _TURNS
    talk = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), _TURNS, strict=True)]
    try:
        compiled = _CHAT.from_string(template)
        first = compiled.render(messages=talk[:1], add_generation_prompt=True, **dict(tokens))
        later = compiled.render(messages=talk, add_generation_prompt=False, **dict(tokens))
    except Exception:  # a template is a program of somebody's
        return None
    if one not in first or any(text not in later for text in _TURNS):
        return None
    openings = first.split(one)[0], later.split(two)[-1].split(three)[0]
    closings = first.split(one)[-1], later.split(one)[-1].split(two)[0]  # up to the answer
    before = _shared([text[::-1] for text in openings])[::-1]
    after = _shared(closings)
    return (before, after) if before.strip() else None


def rendered(template: object, doc: Mapping[str, Any]) -> str | None:
    """A task's question of a document, as its config says; None where that is a program."""
    if not isinstance(template, str):
        return None
    if template in doc:
        return doc[template] if isinstance(doc[template], str) else None
    try:
        return str(_compiled(template).render(dict(doc)))
    except Exception:  # a template is a program of somebody's
        return None


@cache
def _compiled(template: str) -> Any:
    return _PLAIN.from_string(template)


def at_end(question: str | None, said: str, prefix: str | None) -> str | None:
    """The question, where it is what was said last but for the beginning of the answer."""
    asked = (question or "").strip()
    _, found, rest = said.rpartition(asked) if asked else ("", "", "")
    return asked if found and rest.strip() in ("", (prefix or "").strip()) else None


def without_examples(said: str, description: object, shots: int, delimiter: object) -> str | None:
    """The question at the end of few-shot examples.

    Returns:
        None where it cannot be told where the question begins.
    """
    if isinstance(description, str) and description.strip():
        said = said.removeprefix(description)
    if shots == 0:
        return said
    parts = said.split(delimiter) if isinstance(delimiter, str) and delimiter else []
    return parts[-1] if len(parts) == shots + 1 else None


def with_blank(contexts: Sequence[str], continuation: str) -> str:
    """A sentence whose choices fill its middle: what all choices share, with a blank where they differ.

    One context alone is what it is.
    """
    if len(contexts) == 1:
        return contexts[0]
    shared = _shared(contexts)
    return f"{shared[: shared.rfind(' ') + 1]}{BLANK} {continuation.strip()}"


def _shared(texts: Sequence[str]) -> str:
    """How all of them begin."""
    return "".join(signs[0] for signs in takewhile(lambda signs: len(set(signs)) == 1, zip(*texts, strict=False)))
