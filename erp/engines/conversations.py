"""From a conversation to the token ids that a model reads, and from a member to the folder it lies in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from erp.config import Member
from erp.engines.base import Message
from erp.errors import ErpError
from erp.weights import Weights, find_weights

ENDLESS = 2**31  # tokens of a model that names no longest context


def conversation_ids(tokenizer: Any, messages: Sequence[Message], member: Member) -> list[int]:
    """The conversation in the member's chat template, the model's turn opened, as token ids.

    A template writes the special tokens itself. Where it does not begin with the BOS that the tokenizer puts before
    plain text, as templates written for training scripts do not, it is put there: there is always exactly one.

    Raises:
        ErpError: there is no template, or it refuses the conversation (a system message, say).
    """
    from jinja2 import TemplateError

    key = f"{member.name}.chat_template"
    if member.chat_template is None and not tokenizer.chat_template:
        raise ErpError(f"{key} = null: {member.weights} has none of its own; give Jinja text, or an instruct model")
    try:
        text = tokenizer.apply_chat_template(
            list(messages), chat_template=member.chat_template, tokenize=False, add_generation_prompt=True
        )
    except (TemplateError, ValueError) as error:
        raise ErpError(
            f"{key}: cannot render the conversation ({repr(error)[:160]}); "
            f"leave out the system message or the shots, or give another chat_template"
        ) from None
    text = text.encode("utf-8", "replace").decode("utf-8")  # half an emoji, as JSON may carry it, reads ? instead
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:1] != [bos] and tokenizer("a")["input_ids"][0] == bos:
        ids = [bos, *ids]
    return ids


def longest_response(member: Member, context: int, length: int) -> int:
    """Tokens that a response may have behind a conversation of so many.

    Raises:
        ErpError: neither the member nor the model's context sets a limit.
    """
    asked = member.decoding.max_tokens
    if asked is None and context == ENDLESS:
        raise ErpError(
            f"pool.members.{member.name}.decoding.max_tokens = null: {member.weights} names no longest context; give a "
            f"number"
        )
    return context - length if asked is None else min(asked, context - length)


def model_folder(member: Member, weights_dir: str | None) -> Path:
    """Where the member's model lies; ``sha256`` is of ``file``, or of ``model.safetensors``.

    Raises:
        ErpError: it is nowhere, or the file is another one.
    """
    file = member.file or ("model.safetensors" if member.sha256 else "config.json")
    try:
        return find_weights(
            Weights(member.weights, file=file, sha256=member.sha256, revision=member.revision), weights_dir
        )
    except FileNotFoundError:  # the hub has the model, in several files
        raise ErpError(
            f"pool.members.{member.name}.sha256: {member.weights} has no {file}; say which file it is of (file: ...)"
        ) from None


def first_tokens(tokenizer: Any, yes: Sequence[str], no: Sequence[str]) -> tuple[list[int], list[int]]:
    """The first token of every word, without repeats."""

    def first(words: Sequence[str]) -> list[int]:
        ids = [tokenizer(word, add_special_tokens=False)["input_ids"][:1] for word in words]
        return sorted({token for one in ids for token in one})

    ours, theirs = first(yes), first(no)
    if not ours or not theirs or set(ours) & set(theirs):
        raise ErpError(
            f"yes = {list(yes)}, no = {list(no)}: begin with the same token, or with none, of this model's tokenizer; "
            f"give words that differ in their first token"
        )
    return ours, theirs


def common_prefix(sequences: Sequence[list[int]]) -> list[int]:
    """The longest common beginning that leaves a token of every sequence."""
    first, last = min(sequences, default=[]), max(sequences, default=[])  # what these two share, all share
    room = min(map(len, sequences), default=1) - 1
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), room)
    return first[: min(same, room)]
