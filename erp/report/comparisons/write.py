"""A comparison on disk: ``comparison.md``, ``comparison.html``, a CSV file per table, and the figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from erp.files import as_csv, write_text
from erp.findings import Comparison, CurvePanel, Pairs
from erp.report.comparisons.columns import leads
from erp.report.comparisons.curves_figure import curve_numbers, draw_curves
from erp.report.comparisons.differences_figure import draw_differences
from erp.report.comparisons.markdown import (
    RUNS_TEXT,
    contenders_to_markdown,
    members_to_markdown,
    pairs_to_markdown,
    runs_to_markdown,
)
from erp.report.html import render_html
from erp.report.numbers import NumberTable
from erp.report.style import PALETTE, vector_figures
from erp.report.text import escaped

DIFFERENCES = "differences.png"
MOST_COLOURS = 6  # contenders with a colour and a name in the figures of curves: what can be told apart on white
MOST_LEADS = 3  # panels whose outcome is a paragraph at the top; more are a list


def write_comparison(comparison: Comparison, folder: Path, figures: bool = True) -> None:
    """Write tables, figures and both pages; figures of an earlier comparison of the same runs are replaced.

    Args:
        comparison: what was found.
        folder: where it goes.
        figures: whether to draw them, which takes longer than all the rest.
    """
    pairs = comparison.pairs
    tables = {
        "comparison": comparison.runs, "contenders": pairs.contenders, "pairs": pairs.pairs,
        "members": comparison.members,
    }  # fmt: skip
    for name, frame in tables.items():
        write_text(folder / f"{name}.csv", as_csv(frame))
    drawn, numbers = _draw(comparison, folder) if figures else ({}, {})
    for old in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        if old.with_suffix(".png").name not in drawn:
            old.unlink()
    text = as_markdown(comparison, drawn)
    write_text(folder / "comparison.md", text)
    write_text(folder / "comparison.html", render_html(text, folder, numbers))


def _draw(comparison: Comparison, folder: Path) -> tuple[dict[str, str], dict[str, list[NumberTable]]]:
    """Every figure: file -> what it shows; and the numbers of those that have a table, by the stem of the file."""
    drawn: dict[str, str] = {}
    numbers: dict[str, list[NumberTable]] = {}
    colours = _colours(comparison.pairs)
    with vector_figures():
        if len(comparison.pairs.contenders):
            draw_differences(comparison.pairs, colours, folder / DIFFERENCES)
            drawn[DIFFERENCES] = "Gains over best single of all contenders"
        for name, panels in _by_reward_model(comparison).items():
            draw_curves(panels, colours, folder / f"{name}.png")
            reward_model = escaped(str(panels[0].facts["reward_model"]))
            drawn[f"{name}.png"] = f"Gain over best single at equal cost, {reward_model}"
            numbers[name] = curve_numbers(panels, colours)
    return drawn, numbers


def as_markdown(comparison: Comparison, drawn: Mapping[str, str] | None = None) -> str:
    """All tables as one page.

    Args:
        comparison: the page's content.
        drawn: figures, file -> what it shows; None for tables alone, without title and notes.
    """
    pairs, page = comparison.pairs, drawn is not None
    parts = [f"# {len(comparison.runs)} runs compared", *_leads(pairs)] if page else []
    parts += [contenders_to_markdown(pairs)] if len(pairs.contenders) else []
    parts += [f"![{shows}]({file})" for file, shows in (drawn or {}).items()]
    parts += [pairs_to_markdown(pairs)] if len(pairs.contenders) else []
    notes = [("To know about the pairs", pairs.notes), ("Not in the pairs", comparison.untested)] if page else []
    parts += [_listed(heading, lines) for heading, lines in notes if lines]
    parts += [members_to_markdown(comparison.members), "## Runs", runs_to_markdown(comparison.runs)]
    parts += [RUNS_TEXT] if page else []
    parts += [_listed("Left out", comparison.skipped)] if page and comparison.skipped else []
    return "\n\n".join(parts) + "\n"


def _leads(pairs: Pairs) -> list[str]:
    lines = [escaped(line) for line in leads(pairs)]
    return lines if len(lines) <= MOST_LEADS else ["\n".join(f"- {line}" for line in lines)]


def _listed(heading: str, lines: Sequence[str]) -> str:
    return f"{heading}:\n\n" + "\n".join(f"- {escaped(line)}" for line in lines)


def _by_reward_model(comparison: Comparison) -> dict[str, list[CurvePanel]]:
    """The panels of each figure of curves, by the stem of its file: ``curves-<reward model>``."""
    parted: dict[str, list[CurvePanel]] = {}
    for panel in comparison.curves:
        parted.setdefault(str(panel.facts["reward_model"]), []).append(panel)
    stems: dict[str, list[CurvePanel]] = {}
    for reward_model, panels in parted.items():
        stem = f"curves-{re.sub(r'[^A-Za-z0-9._-]+', '-', reward_model).strip('-.')[:80] or 'reward'}"
        taken = {other.lower() for other in stems}  # some file systems do not tell A from a
        numbered = (stem, *(f"{stem}-{n}" for n in range(2, len(parted) + 2)))
        stems[next(name for name in numbered if name.lower() not in taken)] = panels
    return stems


def _colours(pairs: Pairs) -> dict[str, str]:
    """A colour for as many contenders as there are colours, the same in all figures: for those that rank best."""
    ranks: dict[str, list[int]] = {}
    panels: dict[int, list[str]] = {}
    for place in pairs.places.values():
        own = panels.setdefault(place.facts["panel"], [])
        if place.contender not in own:
            own.append(place.contender)
            ranks.setdefault(place.contender, []).append(len(own))
    best = sorted(ranks, key=lambda name: (min(ranks[name]), sum(ranks[name]) / len(ranks[name]), name))
    return dict(zip(best, PALETTE[:MOST_COLOURS], strict=False))
