"""What a request asks, read off its body: the prompt as training saw prompts, and what it takes to answer it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from erp.config.serve import Endpoint, Need
from erp.table.asked import PromptFrom, as_text
from erp.values import estimated_tokens

Kind = Literal["chat", "responses"]
_DEFAULT_ANSWER = 1024  # tokens of an answer whose length nobody bounds: what the context is checked against
_IMAGES = ("image_url", "input_image", "image", "computer_screenshot")  # types of parts
_LONGEST_ANSWER = 10**9  # more than any; a number of thousands of digits could not be told


LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""Keys that bound an answer; the last is the one of ``/v1/responses``."""


class UnreadableError(ValueError):
    """A body that says nothing that could be answered: a 400 with these words."""


@dataclass(frozen=True)
class Asked:
    """A request as the decision sees it.

    Attributes:
        model: the ``model`` of the body.
        prompt: the text that is asked, by the rule that the run was trained with; None where the turn has no text, an
            image alone for instance: the best constant then answers.
        needs: what a member has to be able to do.
        prompt_tokens: of all that the client sends, by its length.
        limit: tokens of the longest answer that it asks for; None where it does not say.
        conversation: hash of how the conversation begins, by which it is known again.
        continues: whether an assistant has spoken in it already.
        stream: whether the answer is streamed.
        judgeable: whether what comes back is one text that can be judged: a chat completion, one, and no tools.
    """

    model: str
    prompt: str | None
    needs: frozenset[Need]
    prompt_tokens: int
    limit: int | None
    conversation: str
    continues: bool
    stream: bool
    judgeable: bool


def asked(body: Mapping[str, Any], kind: Kind, rule: PromptFrom) -> Asked:
    """Read a body of ``/v1/chat/completions`` or ``/v1/responses``.

    Raises:
        UnreadableError: no model, or no messages.
    """
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise UnreadableError("model: is missing; give erp/auto, or the name of a member")
    turns = _turns(body, kind)
    needs: set[Need] = set()
    if body.get("tools") or body.get("functions") or any(turn.get("role") == "tool" for turn in turns):
        needs.add("tools")
    if any(_is_image(part) for turn in turns for part in _parts(turn)):
        needs.add("images")
    if _wants_schema(body):
        needs.add("json_schema")
    said = sum(len(_text_of(part)) for turn in turns for part in _parts(turn))
    said += len(json.dumps(body["tools"])) if body.get("tools") else 0
    return Asked(
        model=model,
        prompt=_prompt(turns, rule),
        needs=frozenset(needs),
        prompt_tokens=estimated_tokens("x" * said),
        limit=_limit(body),
        conversation=_beginning(turns),
        continues=any(turn.get("role") == "assistant" for turn in turns),
        stream=body.get("stream") is True,
        judgeable=kind == "chat" and "tools" not in needs and body.get("n") in (None, 1),
    )


def sent_tokens(asked: Asked, endpoint: Endpoint) -> int:
    """Tokens that a member reads, by their length: its own system message and examples too."""
    shots = [text for shot in endpoint.shots for text in (shot.user, shot.assistant)]
    return asked.prompt_tokens + estimated_tokens("".join([endpoint.system or "", *shots]))


def lacks(asked: Asked, endpoint: Endpoint) -> list[str]:
    """What a member lacks for a request, in words; nothing where it can answer."""
    capable = endpoint.capable
    faults = [need.replace("_", " ") for need in sorted(asked.needs) if not getattr(capable, need)]
    if capable.context is not None:
        answer = asked.limit or _limit(endpoint.defaults) or _DEFAULT_ANSWER
        if (tokens := sent_tokens(asked, endpoint) + answer) > capable.context:
            faults.append(f"context of {capable.context} tokens, and about {tokens} are needed")
    return faults


def _limit(values: Mapping[str, Any]) -> int | None:
    """The longest answer that a body, or a member's defaults, ask for."""
    found = [n for n in map(values.get, LIMITS) if isinstance(n, int) and not isinstance(n, bool) and n > 0]
    return min(found[0], _LONGEST_ANSWER) if found else None


def _turns(body: Mapping[str, Any], kind: Kind) -> list[Mapping[str, Any]]:
    given = body.get("messages" if kind == "chat" else "input")
    if kind == "responses" and isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given or not all(isinstance(turn, Mapping) for turn in given):
        key = "messages" if kind == "chat" else "input"
        raise UnreadableError(f"{key}: is no list of messages; give [{{role, content}}, ...]")
    if kind == "responses":  # items of other types (reasoning, calls) are turns of nobody's
        return [turn if "role" in turn else {"role": "tool", "content": turn.get("output")} for turn in given]
    return list(given)


def _prompt(turns: Sequence[Mapping[str, Any]], rule: PromptFrom) -> str | None:
    """The text by the rule; images and calls have no words."""
    plain = [
        {"role": str(turn.get("role")), "content": "\n".join(filter(None, map(_text_of, _parts(turn))))}
        for turn in turns
        if turn.get("role") != "tool"
    ]
    try:
        return as_text(plain, rule)
    except ValueError:
        return None


def _parts(turn: Mapping[str, Any]) -> list[Any]:
    content = turn.get("content")
    return content if isinstance(content, list) else [] if content is None else [content]


def _text_of(part: Any) -> str:
    text = part if isinstance(part, str) else part.get("text") if isinstance(part, Mapping) else None
    return text if isinstance(text, str) else ""


def _is_image(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") in _IMAGES


def _wants_schema(body: Mapping[str, Any]) -> bool:
    form = body.get("response_format")
    text = body.get("text")
    if isinstance(text, Mapping):  # where /v1/responses has it
        form = text.get("format")
    return isinstance(form, Mapping) and form.get("type") == "json_schema"


def _beginning(turns: Sequence[Mapping[str, Any]]) -> str:
    """Hash of all up to the first user turn: what stays the same while a conversation goes on."""
    until = next((i for i, turn in enumerate(turns) if turn.get("role") == "user"), len(turns) - 1)
    said = json.dumps([[str(t.get("role")), t.get("content")] for t in turns[: until + 1]], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()
