"""From long rows, a row a reward, to a checked reward table: what every source of a table ends in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.asked import DEFAULT_RULE, PromptFrom, prompt_of
from erp.table.copies import suspects
from erp.table.schema import DEFAULT_REWARD_MODEL, RewardTable, assemble
from erp.table.validate import Copies, validate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


def under_our_names(named: str, frame: pd.DataFrame, chosen: Mapping[str, str], rule: PromptFrom) -> pd.DataFrame:
    """The columns that a table has, under our names; of conversations the text is taken that is asked.

    Args:
        named: how errors call the table.
        frame: raw values; rows are numbered 0..n-1 in its order.
        chosen: our name -> the frame's (`erp.table.shape.selection`).
        rule: what is asked of a conversation.

    Raises:
        ErpError: a conversation in which nothing is asked.
    """
    # one column of the frame may serve two of ours
    rows = pd.DataFrame({ours: frame[theirs] for ours, theirs in chosen.items()}).reset_index(drop=True)
    rows["prompt"] = _asked(named, rows["prompt"], chosen["prompt"], rule)
    return rows


def checked_table(
    rows: pd.DataFrame,
    named: str,
    reward_model: str,
    *,
    copies: Copies = "error",
    prompt_from: PromptFrom = DEFAULT_RULE,
    notes: tuple[str, ...] = (),
    facts: Mapping[str, Mapping[str, float]] | None = None,
    greedy: Collection[str] = (),
) -> RewardTable:
    """The table of long rows, once they are checked.

    Args:
        rows: raw columns under our names; the index is the row number that errors name.
        named: how errors call the table.
        reward_model: whose rewards they are.
        copies: what becomes of rows that repeat an earlier one (`erp.table.validate.validate`).
        prompt_from: what was asked of conversations.
        notes: what was seen while reading.
        facts: member's name -> what is said of it.
        greedy: members whose samples are one response, and known to be.

    Raises:
        ErpError: every fault there is, by row and column.
    """
    clean, seen = validate(rows, named, copies)
    found = {} if copies == "keep" else suspects(clean)
    found = {name: why for name, why in found.items() if name not in greedy}
    return replace(assemble(clean, reward_model, (*notes, *seen), facts, found), prompt_from=prompt_from)


def of_reward_model(rows: pd.DataFrame, wanted: str | None, named: str, table: str) -> tuple[pd.DataFrame, str]:
    """Rows of one reward model and its name; row numbers stay those of the table.

    Args:
        rows: as in `checked_table`.
        wanted: the reward model asked for; None for the only one.
        named: how errors begin.
        table: how a sentence calls the table.

    Raises:
        ErpError: it is not there, there are several, or a row names none.
    """
    if "reward_model" not in rows or rows.empty:
        if wanted not in (None, DEFAULT_REWARD_MODEL):
            raise ErpError(
                f"reward_model.name = {wanted}: {table} has no column reward_model; its only reward model is called "
                f"'{DEFAULT_REWARD_MODEL}'; leave reward_model.name out, or name the column: data.columns.reward_model"
            )
        return rows, DEFAULT_REWARD_MODEL
    unnamed = rows["reward_model"].isna()
    if unnamed.any():
        raise ErpError(
            f"{named}: row {rows.index[unnamed][0]}, column reward_model = null: missing in "
            f"{int(unnamed.sum()):,} rows; every row needs one; fill it in or leave the column out"
        )
    of_row = rows["reward_model"].map(str)
    chosen = choose_reward_model(wanted, sorted(of_row.unique()), table)
    return rows[of_row == chosen], chosen


def choose_reward_model(wanted: str | None, names: list[str], table: str) -> str:
    """The reward model asked for, or the only one. Raises ErpError."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise ErpError(f"reward_model.name = null: {table} has several; they are {shorten(names)}; name one")
    if wanted not in names:
        raise ErpError(f"reward_model.name = {wanted}: not in {table}; allowed are {shorten(names)}; name one of them")
    return wanted


def _asked(named: str, prompts: pd.Series, column: str, rule: PromptFrom) -> pd.Series:
    """The texts that are asked. Raises ErpError, naming the first row whose conversation has none."""
    if prompts.dtype != object and column != "messages":
        return prompts

    def text(row: int, value: Any) -> object:
        listed = hasattr(value, "__len__") and len(value) and all(hasattr(turn, "keys") for turn in value)
        if not listed and not (column == "messages" and isinstance(value, str)):
            return value  # a text, or what no prompt can be: checked with the other values
        try:
            return prompt_of({column: value}, rule, column)
        except ValueError as error:
            raise ErpError(
                f"{named}: row {row}, column {column}: {error}; correct it, or choose data.prompt_from"
            ) from None

    return pd.Series([text(i, v) for i, v in enumerate(prompts)], index=prompts.index, dtype=object)
