"""Prompts as somebody gives them to a trained router: their texts, or a line of what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from erp.errors import ErpError, shorten
from erp.table.asked import PromptFrom, as_text


def texts_of(prompts: Sequence[Any], rule: PromptFrom) -> list[str]:
    """The prompts' texts. Raises ErpError on one bare text or conversation, and on items that are neither."""
    if isinstance(prompts, str | Mapping) or not isinstance(prompts, Iterable):
        raise ErpError(f"prompts = {shown(prompts)}: is no list of texts; give [prompt, ...]")
    texts: list[str] = []
    wrong: list[str] = []
    for i, prompt in enumerate(prompts):
        try:
            text = as_text(prompt, rule)
        except ValueError:
            text = None
        if text is None:
            wrong.append(f"{i} ({shown(prompt)})")
        else:
            texts.append(text)
    if wrong:
        raise ErpError(f"prompts: no text at position {shorten(wrong)}; give a str for every prompt, or its messages")
    return texts


def shown(value: object) -> str:
    """A value in an error line: on one line, and not all of it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."
