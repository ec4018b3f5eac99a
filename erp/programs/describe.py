"""``erp describe``: what is in a reward table, how much of it is noise, and is there anything to route?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from erp.backbones.reading import what_is_read
from erp.config import DescribeConfig, validate
from erp.evaluation.description import describe
from erp.files import jsonable
from erp.programs.launch import launch
from erp.report.description import as_text
from erp.table.source import load_table


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("describe", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: DescribeConfig = validate("describe", container)
    facts = run(config)
    print(json.dumps(jsonable(facts), indent=2, ensure_ascii=False) if config.output == "json" else as_text(facts))


def run(config: DescribeConfig) -> dict[str, Any]:
    """The facts of a table; what `describe` says, and how much of the prompts the backbone reads."""
    table = load_table(config.data, config.reward_model, config.pool)
    facts = describe(table, config.near_duplicates, config.bootstrap.model_dump())
    return {**facts, "reading": what_is_read(config.backbone, config.weights_dir, table.prompts["prompt"].tolist())}
