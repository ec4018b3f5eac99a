"""Columns of a file as ours: texts, numbers and whole numbers, with every fault named by row and column."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.values import truth_as_number, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterable

_LINES = 10  # lines of one error, over all faults
_LINES_PER_CHECK = 4  # so that a thousand bad rewards do not hide the one bad model name
_TEXT_LIMIT = 40  # characters of a value shown in an error
_NOT_FINITE = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")
_NO_NUMBER = "not a number; write one as 0.5 or 1000 (a decimal point, no comma or unit), or leave it empty"
_READABLE = (str, int, float, Decimal, np.number, np.bool_)
_MOST = np.iinfo(np.int64)


@dataclass
class Faults:
    """Faults as they are found: a few lines of each check, and the number of the rest."""

    named: str  # how errors call the table: `data.path = t.csv`
    lines: list[str] = field(default_factory=list)
    unnamed: int = 0

    def add(self, count: int, lines: Iterable[str]) -> None:
        """Record `count` faults of one check, of which the first few `lines` are kept."""
        kept = [line for line, _ in zip(lines, range(min(count, _LINES_PER_CHECK)), strict=False)]
        self.lines.extend(f"{self.named}: {line}" for line in kept)
        self.unnamed += count - len(kept)

    def rows(self, bad: pd.Series, column: str, values: pd.Series, wrong: str) -> None:
        """Record the rows where `bad` is true, with the value that stands in the column."""
        rows = np.flatnonzero(bad.to_numpy(dtype=bool)).tolist()
        named = (f"row {bad.index[i]}, column {column} = {show(values.iloc[i])}: {wrong}" for i in rows)
        self.add(len(rows), named)

    def raise_if_any(self) -> None:
        """Raise what was found, ten lines at most."""
        if not self.lines:
            return
        left_out = self.unnamed + max(0, len(self.lines) - _LINES)
        more = [f"{self.named}: and {left_out:,} more faults"] if left_out else []
        raise ErpError(*self.lines[:_LINES], *more)


def show(value: object) -> str:
    """A value as an error prints it: short, on one line."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "null"
    text = repr(str(value)) if isinstance(value, str) else str(value)
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


def text_column(rows: pd.DataFrame, column: str, faults: Faults, *, required: bool) -> pd.Series:
    """The column as text (object, None = missing); numbers are written out where a text is optional."""
    if column not in rows:
        return pd.Series(None, index=rows.index, dtype=object)
    raw = rows[column]
    is_null = raw.isna()
    if raw.dtype == object:
        is_text = raw.map(lambda value: isinstance(value, str)).astype(bool)
    else:
        of_texts = isinstance(raw.dtype, pd.CategoricalDtype) and isinstance(raw.cat.categories.dtype, pd.StringDtype)
        is_text = pd.Series(of_texts or isinstance(raw.dtype, pd.StringDtype), index=raw.index)
    text = raw.astype(object)
    if required:
        is_blank = blank(text.where(is_text, None))
        faults.rows(is_null | is_blank, column, raw, "missing; every row needs one; fill it in or drop the row")
        faults.rows(~is_text & ~is_null, column, raw, "not a text; allowed is a string; convert the column")
        return text.where(is_text & ~is_null, None)
    if isinstance(raw.dtype, np.dtype) and raw.dtype.kind == "f":  # whole numbers that a missing one made floats of
        whole = pd.Series([whole_number(cell) for cell in raw], index=raw.index, dtype=object)
        text = whole if whole.notna().equals(~is_null) else text
    number = ~is_text & ~is_null
    if number.any():
        nested = number.copy()
        nested[number] = text[number].map(lambda value: isinstance(value, list | dict | np.ndarray | bytes))
        faults.rows(nested, column, raw, "not a text; allowed are strings and numbers; convert the column")
        text[number] = text[number].map(str)
    return text.where(~is_null, None)


def blank(text: pd.Series) -> pd.Series:
    """Which texts hold white space alone; null is not blank. Looks at each distinct text once."""
    distinct = text.dropna().unique()
    return text.isin([value for value in distinct if not value.strip()])


def number_column(raw: pd.Series, column: str, faults: Faults, *, or_truth: bool = False) -> pd.Series:
    """The column as float64, null = NaN; what is not a number is a fault. `or_truth`: true and false are 1 and 0."""
    if pd.api.types.is_bool_dtype(raw.dtype) or pd.api.types.is_numeric_dtype(raw.dtype):
        return pd.Series(raw.to_numpy(dtype="float64", na_value=np.nan), index=raw.index)
    text = raw.astype(object)
    is_null = text.isna()
    readable = text.map(lambda value: isinstance(value, _READABLE)).astype(bool)
    text = text.where(readable, None)
    number = pd.to_numeric(text.map(truth_as_number) if or_truth else text, errors="coerce").astype("float64")
    said_nan = text.map(lambda value: isinstance(value, str) and value.strip().lower() in _NOT_FINITE).astype(bool)
    faults.rows(number.isna() & ~is_null & ~said_nan, column, raw, _NO_NUMBER)
    return number


def whole_column(raw: pd.Series, column: str, faults: Faults, low: int | None = None) -> pd.Series:
    """The column as exact integers (object), no step of the way a float; what is none, or below `low`, is a fault."""
    if isinstance(raw.dtype, np.dtype) and raw.dtype.kind in "iu":
        value = raw.astype(object)
    else:
        value = pd.Series([whole_number(cell) for cell in raw.array], index=raw.index, dtype=object)
    wrong = value.isna() if low is None else value.map(lambda cell: cell is None or not low <= cell <= _MOST.max)
    allowed = "a whole number, exact to its last digit" if low is None else f"a whole number of at least {low}"
    faults.rows(wrong.astype(bool), column, raw, f"allowed is {allowed}")
    return value.where(~wrong.astype(bool), low or 0)


def identities(value: pd.Series) -> pd.Series:
    """Exact integers as int64: as they are where they fit, else their ranks, which are as distinct and in one order."""
    fits = value.map(lambda cell: _MOST.min <= cell <= _MOST.max).all()
    codes = value.astype("int64") if fits else pd.factorize(value, sort=True)[0]
    return pd.Series(codes, index=value.index, dtype="int64")
