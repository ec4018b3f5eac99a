"""Numbers, gains and tables as text: one way to write each, in every report and comparison."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from erp.report.facts import number, one_line, percent


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left and the others to the right; cells must be escaped."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    widths = [max(width, 3) for width in widths]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = [f":{'-' * (w - 1)}" if i == 0 else f"{'-' * (w - 1)}:" for i, w in enumerate(widths)]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def escaped(text: Any) -> str:
    r"""Text that stays one cell of a table and one line, and means itself: \ ` * [ ] < & _ are Markdown's."""
    return re.sub(r"([\\`*\[\]<&|~]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))


def significant(value: float | None) -> str:
    """Four significant digits; a dash where there is no value."""
    value = number(value)
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "infinity"
    if value == 0:
        return "0"
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:#.4g}".rstrip(".") if 1e-4 <= abs(value) < 1e4 else f"{value:.3e}"


def gain_text(gain: Mapping[str, float | None]) -> str:
    """A signed gain with its interval, for tables."""
    mean, low, high = (number(gain[key]) for key in ("mean", "low", "high"))
    if math.isnan(mean):
        return "-"
    texts = [
        value if value in ("0", "-") or value.startswith("-") else f"+{value}"
        for value in map(significant, (mean, low, high))
    ]
    return texts[0] if math.isnan(low) or math.isnan(high) else f"{texts[0]} ({texts[1]} to {texts[2]})"


def spread_text(mean: float, low: float, high: float) -> str:
    """``mean (low to high)`` with as many decimals as the interval supports."""
    if math.isnan(mean):
        return "-"
    if math.isnan(low) or math.isnan(high):
        return f"{mean:.4g}"
    if mean == low == high == 0:
        return "0 (0 to 0)"
    half = (high - low) / 2 or abs(mean)
    decimals = min(max(0, -math.floor(math.log10(half / 3))), 12)  # one digit of .03 to .09, two of .01 to .03
    while decimals < 12 and any(value != 0 and round(value, decimals) == 0 for value in (low, high)):
        decimals += 1  # an interval that ends beside 0 must not look as if it held it
    # + 0.0 makes a plain 0 of what rounds to -0.0
    texts = [f"{round(value, decimals) + 0.0:.{decimals}f}" for value in (mean, low, high)]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def percents(*shares: float) -> str:
    """Shares as percentages, ``a to b``; with decimals where whole ones would hide on which side of 0 they lie."""
    decimals = 0
    while decimals < 6 and any(share != 0 and round(100 * share, decimals) == 0 for share in shares):
        decimals += 1
    return " to ".join(percent(share, decimals) for share in shares)


def lambda_text(lambda_: float | None) -> str:
    """Lambda in words; null stands for infinity."""
    return "infinity" if lambda_ is None else f"{lambda_:g}"
