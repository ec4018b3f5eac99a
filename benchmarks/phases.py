"""``python -m benchmarks.phases PROGRAM overrides... OUT.json``: a command, and the CPU seconds of its parts.

The parts are public functions of the project, timed from outside while the command runs as it always does.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from erp.cli import entry

PARTS = {
    "describe": {
        "read": "erp.programs.describe.load_table",
        "near-duplicates": "erp.table.neighbours.near_duplicates",
        "statistics": "erp.programs.describe.describe",
    },
    "train": {
        "read": "erp.training.plan.load_table",
        "hash": "erp.table.schema.RewardTable.fingerprint",
        "split": "erp.training.plan.table_split",
        "near-duplicates": "erp.table.neighbours.near_duplicates",
        "features": "erp.training.learn.assemble",
        "fit": "erp.training.learn.learn",
        "choose": "erp.programs.train.choose",
        "statistics": "erp.programs.train.measure",
        "report": "erp.programs.train.write_report",
    },
}


def timed(name: str, path: str, spent: dict[str, float]) -> None:
    """Put a function in the place of one that adds up what it takes."""
    where, attribute = path.rsplit(".", 1)
    try:
        holder: Any = importlib.import_module(where)
    except ModuleNotFoundError:  # a method
        module, kind = where.rsplit(".", 1)
        holder = getattr(importlib.import_module(module), kind)
    call: Callable[..., Any] = getattr(holder, attribute)

    def counted(*arguments: Any, **options: Any) -> Any:
        start = time.process_time()
        try:
            return call(*arguments, **options)
        finally:
            spent[name] = spent.get(name, 0.0) + time.process_time() - start

    setattr(holder, attribute, counted)


def main() -> None:
    """Run the command; a part within another counts for both."""
    *arguments, out = sys.argv[1:]
    spent: dict[str, float] = {}
    start = time.process_time()
    for name, path in PARTS[arguments[0]].items():
        timed(name, path, spent)
    spent["imports"] = time.process_time() - start
    sys.argv = ["erp", *arguments, "data=table", "backbone=hashing"]
    code = 0
    try:
        entry()
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    Path(out).write_text(json.dumps(spent), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    main()
