"""Rows of the long form, checked: every fault named by row and column, all of them in one error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.columns import Faults, blank, identities, number_column, show_apart, text_column, whole_column
from erp.table.copies import COMPARED, find_copies
from erp.table.schema import MEASURE_COLUMNS
from erp.table.texts import exact, text_id, text_key
from erp.values import estimated_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

Copies = Literal["error", "fold", "keep"]

_MEASURE = "allowed is a number of at least 0, or nothing where it is unknown"
_LARGEST = 1e100  # a reward whose square, summed over a table, is still a number
_SMALLEST = 1e-100  # and rewards whose squares are still above 0
_OWN_TEXTS = ("category", "split", "group", "reference")


def validate(rows: pd.DataFrame, named: str, copies: Copies = "error") -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check raw rows and give them their types.

    Args:
        rows: Raw columns under our names; the index is the row number that errors name.
        named: How errors call the table: ``data.path = t.csv``.
        copies: What becomes of rows that repeat an earlier one and have no sample number (`erp.table.copies`): refused,
            read once, or taken for samples.

    Returns:
        Rows with every column of the long form (texts or null; float64; sample and n_samples int64), and notes.

    Raises:
        ErpError: Every fault there is, by row and column.
    """
    if rows.empty:
        raise ErpError(f"{named}: the table is empty; it needs at least one row of prompt, model, reward")
    faults, notes = Faults(named), list[str]()
    clean = pd.DataFrame(index=rows.index)
    for column in ("prompt", "model"):
        clean[column] = text_column(rows, column, faults, required=True)
    for column in _OWN_TEXTS:
        clean[column] = text_column(rows, column, faults, required=False)
    if "response" in rows:
        clean["response"] = rows["response"].map(str, na_action="ignore")
    clean["reward"] = _reward(rows["reward"], faults, notes)
    clean["n_samples"] = 1
    if "n_samples" in rows:
        clean["n_samples"] = whole_column(rows["n_samples"], "n_samples", faults, 1).astype("int64")
    _reward_variance(rows, clean, faults)
    _measures(rows, clean, faults, notes)
    clean["prompt_id"] = _prompt_ids(rows, clean, faults)
    if "sample" in rows:
        clean["sample"] = identities(whole_column(rows["sample"], "sample", faults))
    clean = _without_copies(clean, copies, faults, notes)
    if "sample" not in rows:
        clean["sample"] = _numbers_by_content(clean)
    _duplicates(clean, "sample" in rows, faults)
    _one_value_per_prompt(clean, "prompt_id" in rows, faults)
    if not faults.lines and clean["reward"].isna().all():
        faults.add(1, ["column reward: every reward is missing; there is nothing to learn from; score the samples"])
    faults.raise_if_any()
    if "prompt_id" not in rows:
        notes.append("the table has no prompt_id: ids were made from the prompts' texts")
        clean["prompt"] = clean["prompt"].map({text: exact(text) for text in clean["prompt"].unique()})
    _tell_folded(clean, notes)
    return clean, tuple(notes)


def _reward(raw: pd.Series, faults: Faults, notes: list[str]) -> pd.Series:
    """Rewards with NaN for missing; they must be numbers whose squares are numbers too."""
    reward = number_column(raw, "reward", faults, or_truth=True)
    finite = np.isfinite(reward.to_numpy())
    if not finite.all():
        notes.append(f"{int((~finite).sum()):,} of {len(raw):,} rewards are not finite and count as missing")
    reward = reward.where(finite)
    largest = float(reward.abs().max())
    if largest > _LARGEST or 0 < largest < _SMALLEST:
        faults.add(
            1,
            [
                f"column reward: the largest is {largest:.3g} in size, and sums of squares of such numbers cannot be "
                f"computed; allowed is from {_SMALLEST:g} to {_LARGEST:g}; give rewards in another unit"
            ],
        )
    return reward


def _reward_variance(rows: pd.DataFrame, clean: pd.DataFrame, faults: Faults) -> None:
    """Fill `reward_var`, where the table says it or its root."""
    for column, power in (("reward_sd", 2), ("reward_var", 1)):
        if column in rows:
            value = number_column(rows[column], column, faults)
            wrong = (value < 0) | np.isinf(value)
            faults.rows(wrong, column, rows[column], _MEASURE)
            clean["reward_var"] = value.where(~wrong) ** power


def _measures(rows: pd.DataFrame, clean: pd.DataFrame, faults: Faults, notes: list[str]) -> None:
    """Fill tokens and costs, which are not negative; what cannot be true counts as unknown, and is told."""
    for column in MEASURE_COLUMNS:
        if column not in rows:
            clean[column] = np.nan
            continue
        value = number_column(rows[column], column, faults)
        is_tokens = column != "cost_usd"
        unknown = (value == -1) & is_tokens  # as some say that they do not know
        wrong = ((value < 0) & ~unknown) | np.isinf(value)
        faults.rows(wrong, column, rows[column], _MEASURE)
        if is_tokens:
            unknown |= (value == 0) & _has_text(clean, value, column)
        if unknown.any():
            of = f"{int(unknown.sum()):,} of {len(rows):,} rows"
            notes.append(f"{column} is 0 beside a text, or -1, in {of} and counts as unknown")
        clean[column] = value.where(~unknown)
    if "completion_tokens" in rows and "response" in clean:
        lacking = clean["completion_tokens"].isna() & (clean["response"].fillna("") != "")
        if lacking.any():
            clean.loc[lacking, "completion_tokens"] = clean.loc[lacking, "response"].map(estimated_tokens)
            of = f"{int(lacking.sum()):,} of {len(rows):,} rows"
            notes.append(f"completion tokens are estimated as characters / 4 in {of}")


def _has_text(clean: pd.DataFrame, value: pd.Series, column: str) -> pd.Series:
    """Where 0 tokens cannot be: a prompt has some, unless no prompt's are counted; so has a response that was read.

    Where responses were not read, a member of which none has any was not counted.
    """
    if column == "prompt_tokens":
        return pd.Series(data=bool((value > 0).any()), index=value.index)
    if "response" in clean:
        return clean["response"].fillna("") != ""
    return ~(value > 0).groupby(clean["model"]).transform("any").astype(bool)


def _without_copies(clean: pd.DataFrame, copies: Copies, faults: Faults, notes: list[str]) -> pd.DataFrame:
    """The rows without those that repeat an earlier one, if that was asked for; else they are a fault, or kept."""
    if "sample" in clean:
        keys = ["prompt_id", "model", "sample", *(c for c in (*COMPARED, "response") if c in clean)]
        found = clean.duplicated(keys).to_numpy() if copies == "fold" else np.zeros(len(clean), dtype=bool)
    else:
        found = find_copies(clean)
    count = int(found.sum())
    if not count:
        return clean
    if copies == "error":
        by = [c for c in (*COMPARED, "response") if c in clean and clean[c].notna().any() and c != "n_samples"]
        faults.add(
            1,
            [
                f"row {clean.index[int(found.argmax())]}: {count:,} of {len(clean):,} rows repeat an earlier row "
                f"(prompt, model, {', '.join(by)}), and nothing numbers them as samples; drop them; or read each once "
                "with data.copies=fold; or take them for samples with data.copies=keep; or name the column that "
                "numbers samples: data.columns.sample=<name>"
            ],
        )
        return clean
    done = "read once (data.copies=fold)" if copies == "fold" else "taken for samples (data.copies=keep)"
    notes.append(f"{count:,} of {len(clean):,} rows repeat an earlier row and were {done}")
    return clean[~found] if copies == "fold" else clean


def _tell_folded(clean: pd.DataFrame, notes: list[str]) -> None:
    """Note prompts that are kept together, and models that are kept apart, though only what a key folds differs."""
    texts = clean.drop_duplicates("prompt_id")["prompt"].map(exact).drop_duplicates()
    folded = texts.map(text_key).duplicated(keep=False)
    if folded.any():
        notes.append(
            f"{int(folded.sum()):,} texts differ from another in case, white space or Unicode form alone: they are "
            "prompts of their own, in one group with it"
        )
    models = pd.Series(sorted(clean["model"].unique()))
    alike = models[models.map(text_key).duplicated(keep=False)]
    if len(alike):
        notes.append(
            f"models {shorten(map(repr, alike))} differ in case, white space or Unicode form alone: they are members "
            "of their own; if two of them are one model, give them one name"
        )


def _prompt_ids(rows: pd.DataFrame, clean: pd.DataFrame, faults: Faults) -> pd.Series:
    """The table's own ids, or ids made from the very texts where it has none."""
    if "prompt_id" in rows:
        ids = text_column(rows, "prompt_id", faults, required=False)
        faults.rows(
            ids.isna() | blank(ids),
            "prompt_id",
            rows["prompt_id"],
            "missing; give every row one or leave the column out",
        )
        return ids
    codes, texts = pd.factorize(clean["prompt"])
    made = np.array([f"p-{text_id(text)}" for text in texts] + [None], dtype=object)
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
        "one prompt and model apart, or leave the column sample out; the same row logged twice is read once with "
        "data.copies=fold"
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
        differs = differs[np.unique(codes[differs], return_index=True)[1]]  # a prompt's first; it is one fault
        lines = (
            f"rows {clean.index[int(first_row[i])]} and {clean.index[i]}, column {column} = "
            f"{show_apart(clean[column].iloc[int(first_row[i])], clean[column].iloc[i])}: "
            f"prompt_id {clean['prompt_id'].iloc[i]} has two; one is allowed; correct them or give the prompts two ids"
            for i in differs.tolist()
        )
        faults.add(len(differs), lines)
