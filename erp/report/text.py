"""Numbers, gains and tables as text: one way to write each, in every report and comparison."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from erp.errors import one_line
from erp.report.facts import percent
from erp.results import number
from erp.results.base import Interval
from erp.units import significant as significant

MOST_DECIMALS = 15
FEW_DECIMALS = 1e-2  # rewards all smaller than this: of four decimals two digits are left, or none


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
    r"""Text that stays one cell of a table and one line, and means itself: \ ` * [ ] < & _ are Markdown's.

    So are # > + - = and 1. where a line begins.
    """
    inline = re.sub(r"([\\`*\[\]<&|~]|(?<!\w)_|_(?!\w))", r"\\\1", one_line(text))
    return re.sub(r"^(\d*)(#(?=#*(?: |$))|>|[-+=](?=[- =]|$)|(?<=\d)[.)](?= |$))", r"\1\\\2", inline)


def coded(text: Any) -> str:
    """Text as code: its fence is longer than any within, so that nothing in it ends it."""
    line = one_line(text) or "-"
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if "`" in (line[0], line[-1]) else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def reward_form(values: Iterable[float | None]) -> Callable[[float], str]:
    """How rewards of one size are written: four decimals, or significant digits where those would show nothing."""
    largest = max((abs(value) for value in map(number, values) if math.isfinite(value)), default=0.0)
    return significant if 0 < largest < FEW_DECIMALS else "{:.4f}".format


def told_apart(*values: float) -> list[str]:
    """Rewards that stand side by side: four significant digits, or as many as show that they differ."""
    texts = [significant(value) for value in values]
    for digits in range(5, 18):
        if len(set(texts)) == len(set(values)):
            break
        texts = [f"{value:,.{digits}g}" for value in values]
    return texts


def gain_text(gain: Interval | None) -> str:
    """A signed gain with its interval, for tables."""
    return interval_text(gain, signed=True)


def interval_text(found: Interval | None, *, signed: bool = False) -> str:
    """An interval of ``results.json`` as text; a dash where there is none."""
    if found is None:
        return "-"
    mean, low, high = map(number, (found.mean, found.low, found.high))
    return spread_text(mean, low, high, signed=signed)


def spread_text(mean: float, low: float, high: float, *, signed: bool = False) -> str:
    """``mean (low to high)`` with the digits that the interval deserves, three at most; without one, three digits."""
    if math.isnan(mean):
        return "-"
    if math.isnan(low) or math.isnan(high):
        return _rounded(mean, _three_digits(mean), signed)
    values = (mean, low, high)
    decimals = _three_digits(*values)
    if high > low:
        decimals = min(decimals, -math.floor(math.log10((high - low) / 6)))  # half of .03 to .09: two decimals
    while decimals < MOST_DECIMALS and any(value != 0 and round(value, decimals) == 0 for value in (low, high)):
        decimals += 1  # an interval that ends beside 0 must not look as if it held it
    texts = [_rounded(value, decimals, signed) for value in values]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


def _three_digits(*values: float) -> int:
    """Decimals that show three significant digits of the largest; below 0: whole tens, hundreds and so on."""
    largest = max(map(abs, values))
    return min(2 - math.floor(math.log10(largest)), MOST_DECIMALS) if 0 < largest < math.inf else 0


def _rounded(value: float, decimals: int, signed: bool) -> str:
    if value == 0:
        return "0"
    value = round(value, decimals) + 0.0 if math.isfinite(value) else value  # + 0.0: a plain 0 of what rounds to -0.0
    return f"{'+' if signed and value > 0 else ''}{value:,.{max(decimals, 0)}f}"


def percents(*shares: float) -> str:
    """Shares as percentages, ``a to b``; with decimals where whole ones would hide on which side of 0 they lie."""
    decimals = 0
    while decimals < 6 and any(share != 0 and round(100 * share, decimals) == 0 for share in shares):
        decimals += 1
    return " to ".join(percent(share, decimals) for share in shares)
