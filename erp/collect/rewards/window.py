"""Fitting texts into a reward model's window: its chat template, where they are cut, and batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from erp.errors import ErpError
from erp.table.asked import Turn

# Llama 3.2's template writes today's date, and scores would change from day to day: this is its own fallback.
DATE = "26 Jul 2024"
RESPONSE_SHARE = 4  # a long prompt leaves the response at least 1/4 of the window
Row = Mapping[str, list[int]]  # what the tokenizer made of one pair: input_ids, token_type_ids where there are some


class Fitted(NamedTuple):
    """A pair as it fits into the window: its texts, what the tokenizer makes of them, and what was ``cut`` of them."""

    prompt: str
    response: str
    row: Row
    cut: tuple[str, ...] = ()


def render(tokenizer: Any, prompt: str, response: str, earlier: Sequence[Turn] = ()) -> str:
    """The two turns, and those before them, in the tokenizer's chat template; no system message but theirs.

    Raises:
        ErpError: there is no template, or it refuses the conversation (a system message, say).
    """
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        raise ErpError(
            f"reward_model.model = {tokenizer.name_or_path}: has no chat template; add its chat_template.jinja"
        )
    turns = [*earlier, {"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False, date_string=DATE)
    except TemplateError as error:
        raise ErpError(
            f"reward_model.model = {tokenizer.name_or_path}: its chat template refuses a conversation of the turns "
            f"{', '.join(turn['role'] for turn in turns[:6])} ({repr(error)[:160]}); score it with another reward model"
        ) from None
    return text


def opened(turns: Sequence[Turn], system: str | None) -> Sequence[Turn]:
    """Turns behind a system message, unless they have one of their own."""
    if system is None or (turns and turns[0]["role"] == "system"):
        return turns
    return [{"role": "system", "content": system}, *turns]


def without_oldest(turns: Sequence[Turn]) -> Sequence[Turn]:
    """Turns without the oldest of them, up to the next of the user's; what the system says in front goes last."""
    first = next((i for i, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    after = next((i for i, turn in enumerate(turns) if i > first and turn["role"] == "user"), len(turns))
    return [*turns[:first], *turns[after:]] if first < len(turns) else ()


def fit(
    prompt: str, response: str, length: Callable[[str, str], int], cuts: Callable[[str], list[int]], limit: int
) -> tuple[str, str]:
    """Cut the end of the response, and of a prompt that leaves it no room, until the two fit into a window.

    Texts are cut before they are put into a template, so that what the template writes after them stays.

    Args:
        prompt: its end is cut only where the response would have less than a quarter of the window.
        response: its end is cut first.
        length: tokens of (prompt, response), template included.
        cuts: characters after which a text may end, ascending, 0 and its whole length among them.
        limit: of ``length``.

    Raises:
        ErpError: the template alone is nearly as long as the window.
    """

    def longest(text: str, fits: Callable[[str], bool]) -> str:
        ends = cuts(text)
        low, high = 0, len(ends) - 1  # the text up to ends[low] fits, or nothing of it does
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(text[: ends[middle]]) else (low, middle - 1)
        return text[: ends[low]]

    frame, share = length("", ""), limit // RESPONSE_SHARE
    if frame + share > limit:
        raise ErpError(
            f"reward_model.max_tokens = {limit}: the model's template takes {frame} of them; give some hundred more"
        )
    least = longest(response, lambda part: length("", part) <= frame + share)
    if length(prompt, least) > limit:
        prompt = longest(prompt, lambda part: length(part, least) <= limit)
    return prompt, longest(response, lambda part: length(prompt, part) <= limit)


def cut_notes(counts: Mapping[str, int], scored: int | None, limit: int | None) -> list[str]:
    """How many responses, of how many ``scored``, and prompts were cut to fit into ``limit`` tokens, in words."""

    def share(cut: int, what: str) -> str:
        of = f"{cut:,} of {scored:,} {what} ({cut / scored:.1%})" if scored else f"{cut:,} {what}"
        return f"{of} were cut to fit into max_tokens = {limit}"

    said = {"truncated": "responses", "prompt_truncated": "responses' prompts"}
    return [share(counts[name], what) for name, what in said.items() if counts.get(name)]


def batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Positions of rows of like length, longest first, as many together as fit into ``tokens`` with their padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > tokens:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def padded(rows: Sequence[list[int]], filler: int) -> list[list[int]]:
    """Rows of one length, filled up on the right."""
    width = max(len(row) for row in rows)
    return [row + [filler] * (width - len(row)) for row in rows]


def collated(rows: Sequence[Mapping[str, list[int]]], filler: int) -> dict[str, list[list[int]]]:
    """What a network is fed of several rows: ids filled up with ``filler``, and the mask that hides it."""
    inputs = {name: padded([row[name] for row in rows], filler if name == "input_ids" else 0) for name in rows[0]}
    return {**inputs, "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0)}
