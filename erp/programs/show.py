"""``erp show``: prompts with their responses and rewards side by side, for a terminal or as JSON."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from erp.build import build
from erp.config import ShowConfig, validate
from erp.errors import ErpError, one_line
from erp.files import jsonable
from erp.programs.launch import launch
from erp.table.answers import Answers, Wanted, read_answers
from erp.table.source import TableSource


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("show", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: ShowConfig = validate("show", container)
    answers = run(config)
    if config.output == "json":
        print(json.dumps(_as_json(answers), indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(answers, config)))


def run(config: ShowConfig) -> Answers:
    """The cells asked for. Raises ErpError: bad input, or a table without responses."""
    source = build(config.data, TableSource, key="data")
    folder = source.folder()
    if folder is None:
        raise ErpError("data: this table is no folder that erp collect or erp import wrote; only such a one is shown")
    if config.worst is not None:
        wanted = Wanted(config.prompt_id, config.member, "worst", config.worst)
    elif config.best is not None:
        wanted = Wanted(config.prompt_id, config.member, "best", config.best)
    else:
        wanted = Wanted(config.prompt_id, config.member, None, config.prompts)
    return read_answers(folder, config.reward_model.name or source.preferred, wanted)


def _lines(answers: Answers, config: ShowConfig) -> Iterator[str]:
    prompts = {str(row["prompt_id"]): row for row in answers.prompts.to_dict("records")}
    cells = answers.responses.groupby(["prompt_id", "model"], sort=False)
    shown: str | None = None
    for cell in answers.cells.to_dict("records"):
        if cell["prompt_id"] != shown:
            if shown is not None:
                yield ""
            shown = str(cell["prompt_id"])
            yield from _prompt(prompts[shown], config.width)
        by = one_line(answers.reward_model)
        mean = f"mean {cell['mean']:.4g} by {by} over {cell['count']}" if cell["count"] else f"no reward by {by}"
        yield f"  {one_line(cell['model'])}: {mean}"
        here = cells.get_group((shown, cell["model"])).to_dict("records")
        for row in here[: config.samples]:
            text = "(no text)" if pd.isna(row["response"]) else _cut(row["response"], config.width)
            yield f"    {_about(row):<22} {text}"
        if config.samples is not None and len(here) > config.samples:
            yield f"    and {len(here) - config.samples} more (samples=null shows all)"


def _prompt(row: Mapping[Hashable, Any], width: int | None) -> Iterator[str]:
    category, reference = row.get("category"), row.get("reference")
    yield one_line(str(row["prompt_id"])) + ("" if pd.isna(category) else f"  ({one_line(str(category))})")
    turns = row.get("messages")
    if turns is None or pd.isna(turns):
        yield f"  {_cut(row['prompt'], width)}"
    else:
        yield from (f"  {turn['role']}: {_cut(turn['content'], width)}" for turn in json.loads(turns))
    if not pd.isna(reference):
        yield f"  reference: {_cut(str(reference), width)}"


def _about(row: Mapping[Hashable, Any]) -> str:
    """Number, reward and length of a response; what ended it, where that is not its own end."""
    reward, tokens, reason = row["reward"], row.get("completion_tokens"), row.get("finish_reason")
    said = [f"#{row['sample']}", "-" if pd.isna(reward) else f"{reward:.4g}"]
    said += [] if pd.isna(tokens) else [f"{int(tokens)} tok"]
    return " ".join([*said, *([] if pd.isna(reason) or reason == "stop" else [str(reason)])])


def _cut(text: str, width: int | None) -> str:
    """On one line, at most so long."""
    line = one_line(" ".join(text.split()))
    return line if width is None or len(line) <= width else f"{line[:width]}..."


def _as_json(answers: Answers) -> dict[str, Any]:
    frames = {"prompts": answers.prompts, "cells": answers.cells, "responses": answers.responses}
    rows = {name: frame.astype(object).where(frame.notna(), None).to_dict("records") for name, frame in frames.items()}
    for row in rows["prompts"]:
        if row.get("messages") is not None:
            row["messages"] = json.loads(row["messages"])
    value: dict[str, Any] = jsonable({"reward_model": answers.reward_model, **rows})
    return value
