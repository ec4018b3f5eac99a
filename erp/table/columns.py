"""Columns of a file as ours: texts, numbers and whole numbers, with every fault named by row and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.values import truth_as_number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_LINES = 10  # lines of one error, over all faults
TOLD = 4  # lines of one check, so that a thousand bad rewards do not hide the one bad model name
_TEXT_LIMIT = 40  # characters of a value shown in an error
_NOT_FINITE = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")
_NO_NUMBER = "not a number; write one as 0.5 or 1000 (a decimal point, no comma or unit), or leave it empty"
_READABLE = (str, int, float, Decimal, np.number, np.bool_)
_MOST = np.iinfo(np.int64)
_BEYOND = 2**1024 - 2**970  # rounds to a number that no float is
_ALIKE = ("string", "integer")  # kinds of values of which equal ones are written alike: 1, 1.0 and True are not


@dataclass
class _Check:
    """What one check has found: its first lines, and how many faults."""

    lines: list[str] = field(default_factory=list)
    count: int = 0


@dataclass
class Faults:
    """Faults as they are found, row after row: a few lines of each check, in the order of the checks."""

    named: str  # how errors call the table: `data.path = t.csv`
    checks: dict[str, _Check] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(check.count for check in self.checks.values())

    def add(self, check: str, count: int, lines: Iterable[str]) -> None:
        """Record `count` more faults of a check, of which the first few `lines` are kept."""
        found = self.checks.setdefault(check, _Check())
        found.count += count
        found.lines.extend(
            f"{self.named}: {line}" for line, _ in zip(lines, range(min(count, TOLD - len(found.lines))), strict=False)
        )

    def rows(self, bad: NDArray[np.bool_], values: pd.Series, wrong: str) -> None:
        """Record the rows where `bad` is true, with the value that stands in the column."""
        at = np.flatnonzero(bad).tolist()
        named = (f"row {values.index[i]}, column {values.name} = {show(values.iloc[i])}: {wrong}" for i in at)
        self.add(f"{values.name}: {wrong}", len(at), named)

    def raise_if_any(self) -> None:
        """Raise what was found, ten lines at most."""
        lines = [line for check in self.checks.values() for line in check.lines]
        if not lines:
            return
        left_out = sum(check.count for check in self.checks.values()) - len(lines[:_LINES])
        more = [f"{self.named}: and {left_out:,} more faults"] if left_out else []
        raise ErpError(*lines[:_LINES], *more)


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of texts: the code of every row (n,), -1 where there is none, and the distinct texts by code."""

    codes: NDArray[np.int64]
    values: list[Any]

    @property
    def used(self) -> NDArray[np.int64]:
        """Codes that stand in some row."""
        return np.flatnonzero(np.bincount(self.codes[self.codes >= 0], minlength=len(self.values)))


def show(value: object) -> str:
    """A value as an error prints it: short, on one line."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "null"
    try:
        text = repr(str(value)) if isinstance(value, str) else str(value)
    except ValueError:  # Python prints no integer of that length
        text = f"a {type(value).__name__} of too many digits"
    return " ".join(text.split()) if len(text) <= _TEXT_LIMIT else f"{' '.join(text[:_TEXT_LIMIT].split())}..."


def show_apart(first: object, second: object) -> str:
    """Two values that differ, as an error prints them: of long texts the part where they begin to."""
    if not (isinstance(first, str) and isinstance(second, str)) or max(len(first), len(second)) <= _TEXT_LIMIT:
        return f"{show(first)} and {show(second)}"
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    start = max(0, at - _TEXT_LIMIT // 4)
    told = []
    for text in (first, second):
        part = text[start : start + _TEXT_LIMIT]
        told.append(f"{'...' if start else ''}{part!r}{'...' if start + _TEXT_LIMIT < len(text) else ''}")
    return f"{told[0]} and {told[1]} (they differ from character {at + 1} on)"


def is_blank(text: str) -> bool:
    """Whether a text holds white space alone."""
    return not text or text.isspace()


def distinct(raw: pd.Series) -> Texts:
    """The distinct values of a column. Of mixed kinds every row counts as one of its own."""
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return Texts(raw.cat.codes.to_numpy().astype(np.int64), list(raw.cat.categories.astype(object)))
    if raw.dtype != object or pd.api.types.infer_dtype(raw, skipna=True) in _ALIKE:
        codes, values = pd.factorize(raw)
        return Texts(codes.astype(np.int64), list(pd.Series(values).astype(object)))
    there = raw.notna().to_numpy()
    return Texts(np.where(there, np.cumsum(there) - 1, -1), raw[there].tolist())


def _flagged(found: Texts, bad: list[bool]) -> NDArray[np.bool_]:
    """Rows whose value is among the bad ones; a missing one is not."""
    return np.append(np.array(bad, dtype=bool), False)[found.codes]


def text_column(raw: pd.Series, faults: Faults, *, required: bool) -> Texts:
    """The column's texts; numbers are written out where a text is optional. A required one is not blank."""
    found = distinct(raw)
    is_text = [isinstance(value, str) for value in found.values]
    if required:
        blank = _flagged(found, [text and is_blank(value) for text, value in zip(is_text, found.values, strict=True)])
        other = _flagged(found, [not text for text in is_text])
        faults.rows((found.codes < 0) | blank, raw, "missing; every row needs one; fill it in or drop the row")
        faults.rows(other, raw, "not a text; allowed is a string; convert the column")
        return Texts(np.where(other, -1, found.codes), found.values)
    nested = [isinstance(value, list | dict | np.ndarray | bytes) for value in found.values]
    faults.rows(_flagged(found, nested), raw, "not a text; allowed are strings and numbers; convert the column")
    values = found.values
    if isinstance(raw.dtype, np.dtype) and raw.dtype.kind == "f":  # whole numbers that a missing one made floats of
        values = [value if (whole := whole_number(value)) is None else whole for value in values]
    return Texts(found.codes, [value if isinstance(value, str) else str(value) for value in values])


def numbers(cells: pd.Series) -> NDArray[np.float64]:
    """Cells as numbers (n,), NaN where they are none. An integer beyond all floats is infinite, as 1e999 is."""
    try:
        return pd.to_numeric(cells, errors="coerce").to_numpy(dtype="float64", copy=True)
    except OverflowError:
        huge = cells.map(lambda value: isinstance(value, int) and abs(value) >= _BEYOND).astype(bool)
        number = numbers(cells.where(~huge, None))
        number[huge] = [np.inf if value > 0 else -np.inf for value in cells[huge]]
        return number


def number_column(raw: pd.Series, faults: Faults, *, or_truth: bool = False) -> NDArray[np.float64]:
    """The column as numbers, null = NaN; what is not a number is a fault. `or_truth`: true and false are 1 and 0."""
    if pd.api.types.is_bool_dtype(raw.dtype) or pd.api.types.is_numeric_dtype(raw.dtype):
        return np.asarray(raw.to_numpy(dtype="float64", na_value=np.nan))
    cells = raw.astype(object)
    is_null = cells.isna().to_numpy()
    if pd.api.types.infer_dtype(cells, skipna=True) != "string":
        cells = cells.where(cells.map(lambda value: isinstance(value, _READABLE)).astype(bool), None)
    number = numbers(cells)
    wrong = np.isnan(number) & ~is_null
    for i in np.flatnonzero(wrong):  # few, if any: words for numbers, and faults
        value = cells.iloc[i]
        word = truth_as_number(value) if or_truth else value
        if isinstance(word, float):
            number[i] = word
        wrong[i] = np.isnan(number[i]) and not (isinstance(value, str) and value.strip().lower() in _NOT_FINITE)
    faults.rows(wrong, raw, _NO_NUMBER)
    return number


def whole_column(raw: pd.Series, faults: Faults, low: int | None = None) -> NDArray[Any]:
    """The column as exact integers, no step of the way a float; what is none, or below `low`, is a fault.

    Returns:
        int64, or objects where some integer has more than 64 bits and there is no `low`.
    """
    floor = _MOST.min if low is None else low
    if isinstance(raw.dtype, np.dtype) and raw.dtype.kind == "i":
        value: NDArray[Any] = raw.to_numpy(dtype=np.int64)
        wrong = value < floor
    else:
        found = distinct(raw)
        whole = [whole_number(cell) for cell in found.values] + [None]
        bad = [cell is None or (low is not None and not low <= cell <= _MOST.max) for cell in whole]
        wrong = np.array(bad)[found.codes]
        fits = all(cell is None or _MOST.min <= cell <= _MOST.max for cell in whole)
        good = [low or 0 if cell is None else cell for cell in whole] if low is None else [
            low if out else cell for cell, out in zip(whole, bad, strict=True)
        ]  # fmt: skip
        value = np.array(good, dtype=np.int64 if fits or low is not None else object)[found.codes]
    allowed = "a whole number, exact to its last digit" if low is None else f"a whole number of at least {low}"
    faults.rows(wrong, raw, f"allowed is {allowed}")
    return np.where(wrong, low or 0, value) if wrong.any() else value
