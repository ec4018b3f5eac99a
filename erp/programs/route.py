"""``erp route``: prompts in, the chosen member of each out, streamed."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from erp.config import RouteConfig, validate
from erp.errors import ErpError
from erp.files import jsonable, whole_text
from erp.programs.launch import launch
from erp.training.trained import TrainedRouter, load

READ_AT_ONCE = 1 << 20  # bytes; a pipe holds less, usually 64 KiB


@dataclass(frozen=True)
class Request:
    """One prompt to route, with the line it came from."""

    line: int
    prompt: str
    category: str | None = None


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("route", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: RouteConfig = validate("route", container)
    trained = load(config.run, config.trust, config.weights_dir)
    batches = _batches(config.input, config.batch_size)
    answers = route(trained, batches, config.lambda_)
    answered = 0
    for answer in tqdm(answers, desc="routing", unit="prompt", disable=not sys.stderr.isatty()):
        line = json.dumps(jsonable(answer), ensure_ascii=False) if config.output == "json" else as_text(answer)
        print(line, flush=True)
        answered += 1
    if not answered:
        raise ErpError("input: there is no prompt; give one a line on stdin, or input=<file>.jsonl")


def route(
    trained: TrainedRouter, batches: Iterable[Sequence[Request]], lambda_: float | None
) -> Iterator[dict[str, Any]]:
    """One answer per request, in order: the chosen member, and every member's predicted reward and cost.

    Raises:
        ErpError: a request has no category, and the router reads it.
    """
    told = trained.told
    for batch in batches:
        without = next((r.line for r in batch if r.category is None), None)
        if trained.reads_category and without is not None:
            raise ErpError(
                f"input: line {without} has no category, and this router reads it; give input=<file>.jsonl with a "
                f"`category` on every line (any other word where it is unknown)"
            )
        found = trained.decide([r.prompt for r in batch], [r.category for r in batch], lambda_)
        for request, row, costs, m in zip(batch, found.scores, found.costs, found.chosen, strict=True):
            yield {
                "line": request.line,
                "prompt": request.prompt,
                "member": trained.members[m],
                told: float(row[m]),
                "predicted_cost": float(costs[m]),
                "cost_unit": trained.card.cost_unit,
                "members": {
                    name: {told: float(row[i]), "predicted_cost": float(costs[i])}
                    for i, name in enumerate(trained.members)
                },
            }


def as_text(answer: dict[str, Any]) -> str:
    """One line for a reader: tab-separated, the choice first, then every member."""
    others = "  ".join(
        f"{name} {m.get('predicted_reward', m.get('score')):.4f} ({m['predicted_cost']:.4g})"
        for name, m in answer["members"].items()
    )
    return "\t".join(
        [str(answer["line"]), answer["member"], f"{answer.get('predicted_reward', answer.get('score')):.4f}",
         f"{answer['predicted_cost']:.4g} {answer['cost_unit']}", others]
    )  # fmt: skip


def _batches(file: str | None, size: int) -> Iterator[list[Request]]:
    if file is None:
        if sys.stdin is None:
            raise ErpError("input: stdin is closed; give a prompt a line there, or input=<file>.jsonl")
        yield from read_arriving(cast(BufferedIOBase, sys.stdin.buffer), size)
        return
    requests = read_jsonl(Path(file))
    while batch := list(itertools.islice(requests, size)):
        yield batch


def read_arriving(stream: BufferedIOBase, size: int) -> Iterator[list[Request]]:
    """A prompt a line, in batches of what has arrived, ``size`` at most: a slow writer's prompt is answered at once.

    While a batch is answered the system's pipe fills, so that a fast writer gets full batches. Blank lines are passed
    over, and keep their number.

    Raises:
        ErpError: a line is not UTF-8.
    """
    number, rest, more = 0, b"", True
    while more:
        arrived = stream.read1(READ_AT_ONCE)  # waits until there is something, but not for more
        more = bool(arrived)
        *lines, rest = (rest + (arrived or b"\n")).split(b"\n")  # the last line may end without a newline
        requests = []
        for number, line in enumerate(lines, number + 1):  # noqa: B020 - goes on counting
            if text := _decoded(line, number, "stdin").strip():
                requests.append(Request(number, text))
        for start in range(0, len(requests), size):
            yield requests[start : start + size]


def read_jsonl(path: Path) -> Iterator[Request]:
    """Objects with ``prompt`` and optional ``category``, one a line. Raises ErpError naming the line at fault."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise ErpError(f"input = {path}: cannot be read ({error.strerror}); give a .jsonl file") from None
    with stream:
        for number, raw in enumerate(stream, 1):
            line = _decoded(raw, number, str(path))
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise ErpError(f"input = {path}: line {number} is not JSON ({reason}); one object a line") from None
            prompt = value.get("prompt") if isinstance(value, dict) else None
            if not isinstance(prompt, str) or not prompt.strip():
                raise ErpError(f'input = {path}: line {number} has no text under "prompt"; give {{"prompt": "..."}}')
            category = value.get("category")
            yield Request(number, whole_text(prompt), None if category is None else whole_text(str(category)))


def _decoded(line: bytes, number: int, source: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ErpError(
            f"input = {source}: line {number} is not UTF-8 ({error.reason}); give text in that encoding"
        ) from None
