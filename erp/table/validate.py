"""Rows of the long form, checked: every fault named by row and column, all of them in one error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.errors import ErpError
from erp.table.groups import normalise, text_hash
from erp.table.schema import MEASURE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_LINES = 10  # lines of one error, over all faults
_LINES_PER_CHECK = 4  # so that a thousand bad rewards do not hide the one bad model name
_TEXT_LIMIT = 40  # characters of a value shown in an error
_OWN_TEXTS = ("category", "split", "group", "reference")
_NOT_FINITE = ("nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity")


@dataclass
class Faults:
    """Faults as they are found: a few lines of each check, and the number of the rest."""

    source: str
    lines: list[str] = field(default_factory=list)
    unnamed: int = 0

    def add(self, count: int, lines: Iterable[str]) -> None:
        """Record `count` faults of one check, of which the first few `lines` are kept."""
        kept = [line for line, _ in zip(lines, range(min(count, _LINES_PER_CHECK)), strict=False)]
        self.lines.extend(f"data.path = {self.source}: {line}" for line in kept)
        self.unnamed += count - len(kept)

    def rows(self, bad: pd.Series, column: str, values: pd.Series, wrong: str) -> None:
        """Record the rows where `bad` is true, with the value that stands in the column."""
        rows = np.flatnonzero(bad.to_numpy(dtype=bool)).tolist()
        named = (f"row {bad.index[i]}, column {column} = {_show(values.iloc[i])}: {wrong}" for i in rows)
        self.add(len(rows), named)

    def raise_if_any(self) -> None:
        """Raise what was found, ten lines at most."""
        if not self.lines:
            return
        left_out = self.unnamed + max(0, len(self.lines) - _LINES)
        more = [f"data.path = {self.source}: and {left_out:,} more faults"] if left_out else []
        raise ErpError(*self.lines[:_LINES], *more)


def validate(rows: pd.DataFrame, source: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check raw rows and give them their types.

    Args:
        rows: Raw columns under our names; the index is the row number that errors name.
        source: The path, for errors.

    Returns:
        Rows with every column of the long form (texts or null; float64; sample and n_samples int64), and notes.

    Raises:
        ErpError: Every fault there is, by row and column.
    """
    if rows.empty:
        raise ErpError(f"data.path = {source}: the table is empty; it needs at least one row of prompt, model, reward")
    faults = Faults(source)
    clean = pd.DataFrame(index=rows.index)
    for column in ("prompt", "model"):
        clean[column] = _text(rows, column, faults, required=True)
    for column in _OWN_TEXTS:
        clean[column] = _text(rows, column, faults, required=False)
    clean["reward"], not_finite = _reward(rows["reward"], faults)
    _counts_and_measures(rows, clean, faults)
    clean["prompt_id"] = _prompt_ids(rows, clean, faults)
    if "sample" not in rows:
        clean["sample"] = _numbers_by_content(clean)
    _duplicates(clean, "sample" in rows, faults)
    _one_value_per_prompt(clean, "prompt_id" in rows, faults)
    if not faults.lines and clean["reward"].isna().all():
        faults.add(1, ["column reward: every reward is missing; there is nothing to learn from; score the samples"])
    faults.raise_if_any()
    notes = [f"{not_finite:,} of {len(rows):,} rewards are not finite and count as missing"] if not_finite else []
    if "prompt_id" not in rows:
        notes.append("the table has no prompt_id: ids were made from the prompts' texts")
        clean["prompt"] = clean.groupby("prompt_id")["prompt"].transform("min")  # texts differ in white space at most
    return clean, tuple(notes)


def _show(value: object) -> str:
    """A value as an error prints it: short, on one line."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "null"
    text = repr(str(value)) if isinstance(value, str) else str(value)
    return " ".join(text.split()) if len(text) <= _TEXT_LIMIT else f"{' '.join(text[:_TEXT_LIMIT].split())}..."


def _text(rows: pd.DataFrame, column: str, faults: Faults, *, required: bool) -> pd.Series:
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
        blank = _blank(text.where(is_text, None))
        faults.rows(is_null | blank, column, raw, "missing; every row needs one; fill it in or drop the row")
        faults.rows(~is_text & ~is_null, column, raw, "not a text; allowed is a string; convert the column")
        return text.where(is_text & ~is_null, None)
    if isinstance(raw.dtype, np.dtype) and raw.dtype.kind == "f" and (raw.dropna() % 1 == 0).all():
        text = raw.astype("Int64").astype(object)  # whole numbers that a missing one has turned into floats
    number = ~is_text & ~is_null
    if number.any():
        nested = number.copy()
        nested[number] = text[number].map(lambda value: isinstance(value, list | dict | np.ndarray | bytes))
        faults.rows(nested, column, raw, "not a text; allowed are strings and numbers; convert the column")
        text[number] = text[number].map(str)
    return text.where(~is_null, None)


def _blank(text: pd.Series) -> pd.Series:
    """Which texts hold white space alone; null is not blank. Looks at each distinct text once."""
    distinct = text.dropna().unique()
    return text.isin([value for value in distinct if not value.strip()])


def _number(raw: pd.Series, column: str, faults: Faults) -> pd.Series:
    """The column as float64, null = NaN; what is not a number is a fault."""
    if pd.api.types.is_bool_dtype(raw.dtype) or pd.api.types.is_numeric_dtype(raw.dtype):
        return pd.Series(raw.to_numpy(dtype="float64", na_value=np.nan), index=raw.index)
    text = raw.astype(object)
    is_null = text.isna()
    scalar = text.map(lambda value: not isinstance(value, list | dict | np.ndarray | bytes)).astype(bool)
    number = pd.to_numeric(text.where(scalar, None), errors="coerce").astype("float64")
    said_nan = text.map(lambda value: isinstance(value, str) and value.strip().lower() in _NOT_FINITE).astype(bool)
    faults.rows(number.isna() & ~is_null & ~said_nan, column, raw, "not a number; correct it or leave it empty")
    return number


def _reward(raw: pd.Series, faults: Faults) -> tuple[pd.Series, int]:
    """Rewards with NaN for missing, and how many there are that are not finite."""
    reward = _number(raw, "reward", faults)
    finite = pd.Series(np.isfinite(reward.to_numpy()), index=raw.index)
    return reward.where(finite), int((~finite).sum())


def _counts_and_measures(rows: pd.DataFrame, clean: pd.DataFrame, faults: Faults) -> None:
    """Fill sample, n_samples, tokens and cost into `clean`, which must be whole, >= 1 and not negative."""
    for column in ("sample", "n_samples"):
        if column not in rows:
            clean[column] = 1  # `sample` is numbered once the prompts' ids are known
            continue
        value = _number(rows[column], column, faults)
        whole = pd.Series(np.isfinite(value.to_numpy()), index=rows.index) & (value % 1 == 0)
        low = 1.0 if column == "n_samples" else -np.inf
        allowed = "a whole number of at least 1" if column == "n_samples" else "a whole number"
        faults.rows(~whole | (value < low), column, rows[column], f"allowed is {allowed}")
        clean[column] = value.where(whole, 0).astype("int64")
    for column in MEASURE_COLUMNS:
        if column not in rows:
            clean[column] = np.nan
            continue
        value = _number(rows[column], column, faults)
        wrong = (value < 0) | np.isinf(value)
        faults.rows(wrong, column, rows[column], "allowed is a number of at least 0, or nothing where it is unknown")
        clean[column] = value


def _prompt_ids(rows: pd.DataFrame, clean: pd.DataFrame, faults: Faults) -> pd.Series:
    """The table's own ids, or ids made from the normalised texts where it has none."""
    if "prompt_id" in rows:
        ids = _text(rows, "prompt_id", faults, required=False)
        faults.rows(
            ids.isna() | _blank(ids),
            "prompt_id",
            rows["prompt_id"],
            "missing; give every row one or leave the column out",
        )
        return ids
    codes, texts = pd.factorize(clean["prompt"])
    made = np.array([f"p-{text_hash(normalise(text))[:16]}" for text in texts] + [None], dtype=object)
    return pd.Series(made[codes], index=rows.index)  # code -1 (a missing prompt) takes the None at the end


def _numbers_by_content(clean: pd.DataFrame) -> pd.Series:
    """Numbers of the samples of every cell, by what they hold: the order of a file's rows means nothing."""
    cell = ["prompt_id", "model"]
    several = clean[clean.duplicated(cell, keep=False)].sort_values(["reward", "n_samples", *MEASURE_COLUMNS])
    numbers = several.groupby(cell, dropna=False).cumcount()
    return numbers.reindex(clean.index, fill_value=0).astype("int64")


def _duplicates(clean: pd.DataFrame, own_numbers: bool, faults: Faults) -> None:
    """Record samples that stand in the table twice."""
    keys = ["prompt_id", "model", "sample"]
    named = clean["prompt_id"].notna() & clean["model"].notna()
    again = clean.duplicated(keys) & named
    if not own_numbers or not again.any():
        return
    rows = clean.index[again]
    first = clean[named].drop_duplicates(keys).set_index(keys)
    first["row"] = clean.index[named & ~clean.duplicated(keys)]
    lines = (
        f"rows {first.loc[tuple(clean.loc[row, keys]), 'row']} and {row}, columns prompt_id, model, sample = "
        f"({', '.join(str(value) for value in clean.loc[row, keys])}): the same sample twice; number the samples of "
        "one prompt and model apart, or leave the column sample out"
        for row in rows
    )
    faults.add(len(rows), lines)


def _one_value_per_prompt(clean: pd.DataFrame, own_ids: bool, faults: Faults) -> None:
    """Record prompts with two texts, categories, groups, splits or references."""
    codes = pd.factorize(clean["prompt_id"])[0]
    first: NDArray[np.int64] = np.full(codes.max(initial=-1) + 2, len(clean), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(clean)))
    first_row = first[codes]
    for column in ("prompt", *_OWN_TEXTS):
        if column == "prompt" and not own_ids:
            continue  # these ids were made from the texts
        values = pd.factorize(clean[column], use_na_sentinel=True)[0]
        differs = np.flatnonzero((values != values[first_row]) & (codes >= 0))
        if column == "prompt":  # a missing prompt is a fault of its own
            differs = differs[(values[differs] >= 0) & (values[first_row[differs]] >= 0)]
        lines = (
            f"rows {clean.index[int(first_row[i])]} and {clean.index[i]}, column {column} = "
            f"{_show(clean[column].iloc[int(first_row[i])])} and {_show(clean[column].iloc[i])}: "
            f"prompt_id {clean['prompt_id'].iloc[i]} has two; one is allowed; correct them or give the prompts two ids"
            for i in differs.tolist()
        )
        faults.add(len(differs), lines)
