"""Where the variance of rewards lies, over the whole table and category by category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from erp.errors import shortened
from erp.files import replacing
from erp.report.facts import percent
from erp.report.style import BLACK, GREY, ORANGE, SKY, canvas, title
from erp.results import Results
from erp.shared import shared

PARTS = (
    ("prompt", "prompts", SKY),
    ("member", "members", GREY),
    ("interaction", "interaction", ORANGE),
    ("error", "noise of one sample", "#D9D9D9"),
)
MOST_CATEGORIES = 12


def variance_rows(results: Results) -> list[tuple[str, dict[str, float]]]:
    """Name and shares of every bar, the whole table first; empty where nothing is identified."""
    noise = results.noise
    found = [("all prompts", noise.components.shares)]
    found += [(name, row.components.shares) for name, row in (noise.categories or {}).items()]
    known = [(name, shares.given(float)) for name, shares in found if shares is not None]
    return known[: 1 + MOST_CATEGORIES] if noise.components.shares is not None else []


def variance_shares(results: Results, path: Path) -> Path:
    """Stacked bars of the shares; an estimate below 0 is drawn as 0. The jobs of a sweep draw those of a table once."""
    rows = variance_rows(results)
    for suffix, content in shared("variance_shares", lambda: _drawn(rows, path), repr(rows)):
        with replacing(path.with_suffix(suffix)) as temporary:
            temporary.write_bytes(content)
    return path


def _drawn(rows: Sequence[tuple[str, Mapping[str, float]]], path: Path) -> list[tuple[str, bytes]]:
    """The files of the figure, by their suffix."""
    with canvas(path, 1.3 + 0.34 * len(rows)) as figure:
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for key, name, colour in PARTS:
            values = np.array([max(shares[key], 0.0) for _, shares in rows])
            axes.barh(range(len(rows)), values, left=left, color=colour, height=0.72, ec="white", lw=0.5, label=name)
            for position, (start, value) in enumerate(zip(left, values, strict=True)):
                if value >= 0.07:
                    axes.text(
                        start + value / 2, position, percent(value), ha="center", va="center", fontsize=9, color=BLACK
                    )
            left += values
        axes.set_yticks(range(len(rows)), [shortened(name, 24) for name, _ in rows])
        axes.set(xlim=(0, max(1.0, float(left.max()))), ylim=(len(rows) - 0.4, -0.6))
        axes.xaxis.set_visible(False)
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)
        title(figure, "Where the variance of a sampled reward lies")
        figure.legend(loc="outside lower center", ncols=4, handlelength=1.0, columnspacing=1.2)
    return [(file.suffix, file.read_bytes()) for file in (path, path.with_suffix(".svg")) if file.exists()]
