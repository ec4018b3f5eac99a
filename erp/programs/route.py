"""``erp route``: prompts in, the chosen member of each out, streamed."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from erp.config import RouteConfig, validate
from erp.decisions.policy import LambdaPolicy, price_notes
from erp.errors import ErpError, one_line
from erp.files import jsonable
from erp.programs.launch import launch
from erp.report.text import reward_form
from erp.table.asked import DEFAULT_RULE, PromptFrom, label_of, prompt_of
from erp.table.readers.base import decoded
from erp.table.readers.json_lines import Format, format_of, record
from erp.table.readers.known import READERS
from erp.table.shards import kind_of, shards
from erp.trained.router import TrainedRouter, load
from erp.units import unit_of

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
    batches = _batches(config.input, config.input_format, config.batch_size, trained.card.prompt_from)
    weighing = trained.policy if config.lambda_ is None else LambdaPolicy(config.lambda_)
    for note in price_notes(weighing, trained.scale):
        print(f"note: {note}", file=sys.stderr)
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
    for whole in batches:
        batch = list(itertools.takewhile(lambda r: r.category is not None, whole)) if trained.reads_category else whole
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
        if len(batch) < len(whole):
            raise ErpError(
                f"input: line {whole[len(batch)].line} has no category, and this router reads it; give "
                f"input=<file>.jsonl with a `category` on every line (any other word where it is unknown)"
            )


def as_text(answer: dict[str, Any]) -> str:
    """One line for a reader: tab-separated, the choice first, then every member; costs in the unit of reports."""
    unit = unit_of(answer["cost_unit"])

    def told(found: dict[str, Any]) -> tuple[float, float]:
        return found.get("predicted_reward", found.get("score", 0.0)), found["predicted_cost"] / unit.size

    reward, cost = told(answer)
    others = [(name, *told(member)) for name, member in answer["members"].items()]
    shown = reward_form(reward for _, reward, _ in others)
    listed = "  ".join(f"{one_line(name)} {shown(reward)} ({cost:.4g})" for name, reward, cost in others)
    return "\t".join(
        [str(answer["line"]), one_line(answer["member"]), shown(reward), f"{cost:.4g} {unit.shown}", listed]
    )


def _batches(file: str | None, input_format: Format | None, size: int, rule: PromptFrom) -> Iterator[list[Request]]:
    if file is None:
        if sys.stdin is None:
            raise ErpError("input: stdin is closed; give a prompt a line there, or input=<file>.jsonl")
        yield from read_arriving(cast(BufferedIOBase, sys.stdin.buffer), size, input_format, rule)
        return
    named = f"input = {file}"
    path = Path(file).expanduser()
    if path.exists() and not path.is_dir() and (kind_of(file) is None or not path.is_file()):  # /dev/stdin, a pipe
        with path.open("rb") as stream:
            yield from read_arriving(cast(BufferedIOBase, stream), size, input_format, rule, named)
        return
    files = shards(named, file, READERS)
    if len(files) > 1:
        raise ErpError(f"{named}: means {len(files)} files; give one, so that a line has a number")
    if input_format is not None:
        files = [replace(files[0], kind="text" if input_format == "text" else "json")]
    found = (request(named, place, row, rule) for place, row in files[0].reader.every_row(named, files))
    yield from _batched([found], size)


def read_arriving(
    stream: BufferedIOBase,
    size: int,
    input_format: Format | None = None,
    rule: PromptFrom = DEFAULT_RULE,
    named: str = "input = stdin",
) -> Iterator[list[Request]]:
    """A prompt a line, in batches of what has arrived, ``size`` at most: a slow writer's prompt is answered at once.

    While a batch is answered the system's pipe fills, so that a fast writer gets full batches. Blank lines are passed
    over, and keep their number.

    Args:
        stream: of bytes.
        size: of the largest batch.
        input_format: what a line is; None lets the first line say (``format_of``).
        rule: what is asked of a conversation.
        named: how errors call the stream.

    Raises:
        ErpError: a line is at fault; those before it have come.
    """
    return _batched(_arriving(stream, _Lines(named, rule, input_format)), size)


@dataclass
class _Lines:
    """Lines as they come, and what they have turned out to be."""

    named: str
    rule: PromptFrom
    format: Format | None
    number: int = 0

    def requests(self, lines: Iterable[bytes]) -> Iterator[Request]:
        for raw in lines:
            self.number += 1
            place = f"line {self.number}"
            text = decoded(self.named, raw, place).strip()
            if not text:
                continue
            self.format = self.format or format_of(self.named, text)
            row = {"prompt": text} if self.format == "text" else record(self.named, text, place)
            yield request(self.named, place, row, self.rule)


def _arriving(stream: BufferedIOBase, reader: _Lines) -> Iterator[Iterator[Request]]:
    rest, more = b"", True
    while more:
        arrived = stream.read1(READ_AT_ONCE)  # waits until there is something, but not for more
        more = bool(arrived)
        *lines, rest = (rest + (arrived or b"\n")).split(b"\n")  # the last line may end without a newline
        yield reader.requests(lines)


def _batched(arrivals: Iterable[Iterator[Request]], size: int) -> Iterator[list[Request]]:
    """Batches of what has arrived. What comes before a fault is passed on before the fault is raised."""
    for requests in arrivals:
        fault: ErpError | None = None
        more = True
        while more:
            batch: list[Request] = []
            try:
                for one in itertools.islice(requests, size):
                    batch.append(one)  # one by one: what comes before a fault is kept
            except ErpError as error:
                fault = error
            more = len(batch) == size and fault is None
            if batch:
                yield batch
        if fault is not None:
            raise fault


def request(named: str, place: str, row: Mapping[str, Any], rule: PromptFrom) -> Request:
    """One row's ``prompt`` or ``messages``, and its ``category``. Raises ErpError naming the line at fault."""
    try:
        prompt = prompt_of(row, rule)
    except ValueError as error:
        raise ErpError(f"{named}: {place}: {error}; correct the line") from None
    if prompt is None or not prompt.strip():
        raise ErpError(
            f'{named}: {place} has no text under "prompt" and no "messages"; give {{"prompt": "..."}}, or say what a '
            "line is with input_format=text"
        )
    try:
        category = label_of(row.get("category"))
    except ValueError as error:
        raise ErpError(
            f"{named}: {place}, column category: {error}; give a text, or null where it is unknown"
        ) from None
    return Request(int(place.rsplit(" ", 1)[-1]), prompt, category)
