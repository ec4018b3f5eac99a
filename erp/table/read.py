"""Reading a reward table: a folder, or one long file. Both end in the same checked rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.copies import mostly_alike, suspects
from erp.table.folder import asked_by, folder_rows, greedy_members, is_folder_form, member_facts, with_responses
from erp.table.schema import DEFAULT_REWARD_MODEL, RewardTable, assemble
from erp.table.sources import Source, long_rows
from erp.table.validate import Copies, validate

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_table(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    reward_model: str | None = None,
    copies: Copies = "error",
    prompt_from: PromptFrom | None = None,
    config_name: str | None = None,
) -> RewardTable:
    """Read and check a reward table.

    Args:
        path: A folder with a manifest.json; long .parquet, .jsonl, .ndjson, .json, .csv or .tsv files, packed or not:
            one, a folder of them or a pattern, here or where fsspec reaches; hf://datasets/<owner>/<name>[:split].
        columns: Our column name -> the file's, for a long file with other names.
        reward_model: Which reward model's scores to read; None = the only one there is.
        copies: What becomes of rows that repeat an earlier one where no `sample` column numbers them: error, fold (each
            is read once) or keep (they are samples).
        prompt_from: What is asked of a conversation; None = as the table was collected, else its last user turn.
        config_name: Which configuration of a dataset of the hub, where it has several.

    Raises:
        ErpError: Every fault of the table, by row and column; or the path, the columns or the reward model do not fit.
    """
    source = str(path)
    if is_folder_form(source):
        if columns:
            raise ErpError(
                f"data.columns = {shorten(columns)}: a folder has fixed column names; "
                "allowed with a long file only; leave data.columns out"
            )
        rows, chosen, notes = folder_rows(Path(path), reward_model)
        if _some_length_is_unknown(rows) or mostly_alike(rows):
            rows = with_responses(Path(path), rows)
        facts, greedy = member_facts(Path(path)), greedy_members(Path(path))
        rule = asked_by(Path(path), prompt_from)
    else:
        rows, notes = long_rows(Source(source, columns or {}, config_name), prompt_from)
        rows, chosen = _rows_of(rows, reward_model, source)
        facts, greedy, rule = {}, set(), prompt_from or DEFAULT_RULE
    clean, seen = validate(rows, source, copies)
    found = {} if copies == "keep" else suspects(clean)
    found = {name: why for name, why in found.items() if name not in greedy}
    return replace(assemble(clean, chosen, (*notes, *seen), facts, found), prompt_from=rule)


def _some_length_is_unknown(rows: pd.DataFrame) -> bool:
    if "completion_tokens" not in rows:
        return False
    return not bool((pd.to_numeric(rows["completion_tokens"], errors="coerce") > 0).all())


def _rows_of(rows: pd.DataFrame, wanted: str | None, source: str) -> tuple[pd.DataFrame, str]:
    """Rows of one reward model and its name; row numbers stay those of the file."""
    if "reward_model" not in rows or rows.empty:
        if wanted not in (None, DEFAULT_REWARD_MODEL):
            raise ErpError(
                f"reward_model.name = {wanted}: {source} has no column reward_model; its only reward model is called "
                f"'{DEFAULT_REWARD_MODEL}'; leave reward_model.name out, or name the column: data.columns.reward_model"
            )
        return rows, DEFAULT_REWARD_MODEL
    unnamed = rows["reward_model"].isna()
    if unnamed.any():
        raise ErpError(
            f"data.path = {source}: row {rows.index[unnamed][0]}, column reward_model = null: missing in "
            f"{int(unnamed.sum()):,} rows; every row needs one; fill it in or leave the column out"
        )
    of_row = rows["reward_model"].map(str)
    chosen = choose_reward_model(wanted, sorted(of_row.unique()), source)
    return rows[of_row == chosen], chosen


def choose_reward_model(wanted: str | None, names: list[str], source: str) -> str:
    """The reward model asked for, or the only one."""
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise ErpError(f"reward_model.name = null: {source} has several; they are {shorten(names)}; name one")
    if wanted not in names:
        raise ErpError(f"reward_model.name = {wanted}: not in {source}; allowed are {shorten(names)}; name one of them")
    return wanted
