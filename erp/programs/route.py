"""``erp route``: prompts in, the chosen member of each out, streamed."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from erp.config import RouteConfig, validate
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError
from erp.files import jsonable
from erp.programs.launch import launch
from erp.training.trained import Policy, TrainedRouter, load


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
    requests = read_jsonl(Path(config.input)) if config.input is not None else read_lines(sys.stdin)
    trained = load(config.run, config.trust, config.weights_dir)
    answers = route(trained, requests, config.lambda_, config.batch_size)
    answered = 0
    for answer in tqdm(answers, desc="routing", unit="prompt", disable=not sys.stderr.isatty()):
        line = json.dumps(jsonable(answer), ensure_ascii=False) if config.output == "json" else as_text(answer)
        print(line, flush=True)
        answered += 1
    if not answered:
        raise ErpError("input: there is no prompt; give one a line on stdin, or input=<file>.jsonl")


def route(
    trained: TrainedRouter, requests: Iterable[Request], lambda_: float | None, batch_size: int
) -> Iterator[dict[str, Any]]:
    """One answer per request, in order: the chosen member, and every member's predicted reward and cost."""
    policy: Policy = trained.policy if lambda_ is None else LambdaPolicy(lambda_)
    costs = trained.predicted_costs
    requests = iter(requests)
    while batch := list(itertools.islice(requests, batch_size)):
        scores = trained.score_matrix([r.prompt for r in batch], [r.category for r in batch])
        chosen = policy.choose(scores, costs).weights.argmax(axis=1)
        for request, row, m in zip(batch, scores, chosen, strict=True):
            yield {
                "line": request.line,
                "prompt": request.prompt,
                "member": trained.members[m],
                "predicted_reward": float(row[m]),
                "predicted_cost": float(costs[m]),
                "cost_unit": trained.card.cost_unit,
                "members": {
                    name: {"predicted_reward": float(row[i]), "predicted_cost": float(costs[i])}
                    for i, name in enumerate(trained.members)
                },
            }


def as_text(answer: dict[str, Any]) -> str:
    """One line for a reader: tab-separated, the choice first, then every member."""
    others = "  ".join(f"{name} {m['predicted_reward']:.4f}" for name, m in answer["members"].items())
    return "\t".join(
        [str(answer["line"]), answer["member"], f"{answer['predicted_reward']:.4f}",
         f"{answer['predicted_cost']:.4g} {answer['cost_unit']}", others]
    )  # fmt: skip


def read_lines(stream: Iterable[str]) -> Iterator[Request]:
    """A prompt a line; blank lines are passed over, and keep their number."""
    for number, line in enumerate(stream, 1):
        if text := line.strip():
            yield Request(number, text)


def read_jsonl(path: Path) -> Iterator[Request]:
    """Objects with ``prompt`` and optional ``category``, one a line. Raises ErpError naming the line at fault."""
    try:
        stream = path.open(encoding="utf-8")
    except OSError as error:
        raise ErpError(f"input = {path}: cannot be read ({error.strerror}); give a .jsonl file") from None
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise ErpError(f"input = {path}: line {number} is not JSON ({error.msg}); one object a line") from None
            prompt = value.get("prompt") if isinstance(value, dict) else None
            if not isinstance(prompt, str) or not prompt.strip():
                raise ErpError(f'input = {path}: line {number} has no text under "prompt"; give {{"prompt": "..."}}')
            category = value.get("category")
            yield Request(number, prompt, None if category is None else str(category))
