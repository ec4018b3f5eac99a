r"""The tables of a comparison for a paper: LaTeX with booktabs, ready to ``\input``.

Texts are escaped, numbers of a column have the same decimals and stand right, so their digits align. Needs
``\usepackage{booktabs}``, and the fonts of any LaTeX since 2020.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from erp.errors import one_line
from erp.findings import Pairs
from erp.report.comparisons.columns import CONTENDERS, MEMBERS, Column, by_panel, pair_columns, panel_name, untold
from erp.report.facts import shown_unit
from erp.results import number

# A [ or * after the end of a row would be read as its argument; -- and ?` are ligatures.
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "[": "{[}", "]": "{]}", "*": "{*}", "`": r"\textasciigrave{}", "…": r"\ldots{}",
    "²": r"\textsuperscript{2}",
}  # fmt: skip
MARKS = {"better": r"$^{\ast}$", "worse": r"$^{\dagger}$"}
# What a paper's table leaves out: it is in the CSV, or said by bold numbers and marks.
UNSHOWN = {"splits", "seeds", "sd_over_seeds", "vs_best", "vs_single", "rows", "mcnemar_p"}


def latex_text(text: Any) -> str:
    """A text that LaTeX prints as it is, on one line."""
    escaped = "".join(SPECIAL.get(letter, letter) for letter in one_line(text))
    return re.sub(r"-(?=-)", "-{}", escaped)


def contenders_to_latex(pairs: Pairs) -> str:
    """A table per panel: bold is the best, and all not significantly different; marks are against best single."""
    level, alpha = f"{100 * pairs.level:g}\\%", f"{1 - pairs.level:.3g}"
    note = (
        f"Gain: reward above the best single member, with its {level} interval (paired bootstrap over groups of "
        f"prompts). Bold: the best, and every contender that does not differ significantly from it. "
        f"{MARKS['better']} better, {MARKS['worse']} worse than the best single member. "
        f"All at $p \\leq {alpha}$, corrected for all differences at once."
    )
    return "\n\n".join(
        _table(panel, CONTENDERS, "Contenders", f"contenders-{number_}", note, untold(panel))
        for number_, panel in enumerate(by_panel(pairs.contenders), start=1)
    )


def pairs_to_latex(pairs: Pairs) -> str:
    """A table per panel: every paired difference with its interval, corrected p and verdict."""
    note = f"Paired differences with {100 * pairs.level:g}\\% intervals; $p$ corrected for all differences at once."
    return "\n\n".join(
        _table(panel, pair_columns(panel), "Differences", f"pairs-{number_}", note)
        for number_, panel in enumerate(by_panel(pairs.pairs), start=1)
    )


def members_to_latex(members: pd.DataFrame) -> str:
    """A table per contender: how well each member is predicted, and how often it is chosen."""
    note = (
        "Means over splits on test prompts. Ceiling: the reliability of the rewards, the most that $R^2$ can reach. "
        "Share: of prompts sent to the member at $\\lambda = 0$."
    )
    parted = members.groupby(["panel", "contender"], sort=False)
    return "\n\n".join(
        _table(rows, MEMBERS, f"Members, predicted by {name}", f"members-{number_}", note)
        for number_, ((_, name), rows) in enumerate(parted, start=1)
    )


def _table(
    frame: pd.DataFrame, columns: Sequence[Column], title: str, label: str, note: str, bold: Sequence[bool] = ()
) -> str:
    """One floating table."""
    shown = [column for column in columns if column.key not in UNSHOWN]
    parts = [_column(frame, column, bold) for column in shown]
    alignment = "".join(aligned for aligned, _, _ in parts)
    heads = " & ".join(head for _, head, _ in parts)
    rows = [" & ".join(cells) for cells in zip(*(cells for _, _, cells in parts), strict=True)]
    factor_unit = _cost_unit(frame)
    costs = f" Costs in {latex_text(factor_unit[1])}." if any(column.kind == "cost" for column in shown) else ""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex_text(title)}: {latex_text(panel_name(frame))}.}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
            r"\toprule",
            rf"{heads} \\",
            r"\midrule",
            *(rf"{row} \\" for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
            rf"\smallskip{{\footnotesize {note}{costs}\par}}",
            r"\end{table}",
        ]
    )


def _column(frame: pd.DataFrame, column: Column, bold: Sequence[bool]) -> tuple[str, str, list[str]]:
    """Its alignment, its heading and a cell for every row; a gain brings its mark and its interval with it."""
    head = latex_text(column.heading[:1].upper() + column.heading[1:])
    head = {"R² / ceiling": "$R^2$/ceiling", "R²": "$R^2$", "p": "$p$"}.get(column.heading, head)
    if column.kind == "word":
        return "l", head, [latex_text(value) for value in frame[column.key]]
    if column.kind == "p":
        return "r", head, [_p(value) for value in frame[column.key]]
    values = frame[column.key].to_numpy(dtype=float)
    if column.kind == "count":
        return "r", head, ["--" if math.isnan(value) else f"{value:,.0f}".replace(",", "{,}") for value in values]
    if column.kind == "percent":
        return "r", head, ["--" if math.isnan(value) else f"{100 * value:.0f}\\%" for value in values]
    if column.kind == "cost":
        values = values * _cost_unit(frame)[0]
        return "r", head, [_math(value, _decimals(values, 3)) for value in values]
    if column.ends is None:
        return "r", head, [_math(value, _decimals_of(frame, values)) for value in values]
    return _with_interval(frame, column, head, bold)


def _with_interval(frame: pd.DataFrame, column: Column, head: str, bold: Sequence[bool]) -> tuple[str, str, list[str]]:
    """A value and its interval as two columns; between them its mark against best single, where there are marks."""
    assert column.ends is not None
    low, high = (frame[end].to_numpy(dtype=float) for end in column.ends)
    decimals, signed = _decimals((high - low) / 2, 2), column.kind == "gain"
    marked = "vs_single" in frame
    marks = [f" & {MARKS.get(verdict, '')}" for verdict in frame["vs_single"]] if marked else [""] * len(frame)
    strong = list(bold) or [False] * len(frame)
    cells = [
        f"{_math(value, decimals, signed, b)}{mark} & "
        + ("--" if math.isnan(lo) else f"[{_math(lo, decimals, signed)}, {_math(hi, decimals, signed)}]")
        for value, lo, hi, b, mark in zip(frame[column.key], low, high, strong, marks, strict=True)
    ]
    return (r"r@{\,}l@{ }r" if marked else "r@{ }r"), rf"\multicolumn{{{2 + marked}}}{{c}}{{{head}}}", cells


def _math(value: float, decimals: int, signed: bool = False, bold: bool = False) -> str:
    """A number in math mode, where a minus is a minus; a dash where there is none."""
    if math.isnan(value):
        return "--"
    value = round(value, decimals) + 0.0  # a plain 0 of what rounds to -0.0
    text = f"{value:{'+' if signed and value else ''},.{decimals}f}".replace(",", "{,}")
    return rf"$\mathbf{{{text}}}$" if bold else f"${text}$"


def _p(value: float) -> str:
    value = number(value)
    return "--" if math.isnan(value) else "$<0.001$" if value < 0.001 else f"${value:.3f}$"


def _decimals(sizes: np.ndarray[Any, Any], digits: int) -> int:
    """Decimals that show ``digits`` significant ones of sizes like most of these, at most six."""
    known = np.abs(sizes[np.isfinite(sizes) & (sizes != 0)])
    return int(np.clip(digits - 1 - math.floor(math.log10(np.median(known))), 0, 6)) if len(known) else 3


def _decimals_of(frame: pd.DataFrame, values: np.ndarray[Any, Any]) -> int:
    """As many as the intervals of the same table support, else three digits of the values."""
    for low, high in (("gain_low", "gain_high"), ("r2_corrected_low", "r2_corrected_high")):
        if low in frame and frame[low].notna().any():
            return _decimals((frame[high] - frame[low]).to_numpy(dtype=float) / 2, 2)
    return _decimals(values, 3)


def _cost_unit(frame: pd.DataFrame) -> tuple[float, str]:
    """The factor and unit in which a table's costs are readable."""
    return shown_unit(str(frame["cost_unit"].iloc[0]))
