"""A report on disk: ``results.json``, ``predictions.parquet``, ``figures/``, ``report.md``, ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from erp.files import replacing, write_json, write_text
from erp.findings import Bins
from erp.formats.results import RESULTS
from erp.report.figures import draw_figures
from erp.report.html import render_html
from erp.report.markdown import render
from erp.report.numbers import figure_numbers
from erp.report.style import vector_figures
from erp.report.summary import plain_summary
from erp.results import Results


def write_report(
    folder: Path, results: Results, predictions: pd.DataFrame, bins: Mapping[str, Bins], figures: bool = True
) -> tuple[Results, list[Path]]:
    """Write everything a reader looks at; ``results.json`` last, because it marks a report as whole.

    Args:
        folder: of the run or evaluation.
        results: the content of ``results.json``, but for the verdict.
        predictions: the content of ``predictions.parquet``.
        bins: of the members' predictions.
        figures: whether to draw them, which takes longer than all the rest on a small table.

    Returns:
        The results with their verdict, and the figures, as PNG; each has an SVG of the same name beside it.
    """
    results = results.model_copy(update={"verdict": plain_summary(results)})
    with replacing(folder / "predictions.parquet") as temporary:
        predictions.to_parquet(temporary, index=False)
    drawn = draw_report(folder, results, bins, figures)
    write_json(folder / "results.json", RESULTS.numbered(results.plain()))
    return results, drawn


def draw_report(folder: Path, results: Results, bins: Mapping[str, Bins], figures: bool = True) -> list[Path]:
    """Results in words and figures: ``report.md``, ``report.html`` and ``figures/``; returns the figures, as PNG.

    Args:
        folder: where they go.
        results: the content of ``results.json``, as it is read back.
        bins: of the members' predictions.
        figures: whether to draw them.
    """
    drawn: list[Path] = []
    if figures:
        with vector_figures():
            drawn = draw_figures(results, bins, folder / "figures")
    text = render(results, [figure.relative_to(folder).as_posix() for figure in drawn])
    write_text(folder / "report.md", text)
    write_text(folder / "report.html", render_html(text, folder, figure_numbers(results, bins)))
    return drawn
