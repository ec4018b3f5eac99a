"""``erp report``: a run's report again, from the numbers that its folder holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from erp.config import ReportConfig, validate
from erp.errors import ErpError
from erp.evaluation.bins import binned
from erp.programs.launch import launch
from erp.report.summary import plain_summary
from erp.report.write import draw_report
from erp.results import whole
from erp.runs import RunFolder, make_folder


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("report", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    run(validate("report", container))


def run(config: ReportConfig) -> Path:
    """Write ``report.md``, ``report.html`` and ``figures/``; the numbers stay as they are. Returns the page.

    Raises:
        ErpError: the folder holds no results, or no report can be made of them.
    """
    folder = RunFolder(Path(config.run).expanduser())
    if not (folder.results.exists() and folder.predictions.exists()):
        raise ErpError(
            f"run = {config.run}: no results.json with a predictions.parquet beside it; give the folder of a finished "
            "run, or of an evaluation of one"
        )
    results = folder.load_results()
    out = folder.path if config.out is None else Path(config.out).expanduser()
    make_folder(out, out)
    with folder.retold():
        told = whole(results)
        draw_report(out, told, binned(results, pd.read_parquet(folder.predictions)), config.figures)
        print(plain_summary(told))
    print(f"report: {out / 'report.html'}")
    return out / "report.html"
