"""From long rows, a row a reward, to a checked reward table: what every source of a table ends in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.arrange import Arrangement, Copies
from erp.table.asked import DEFAULT_RULE, PromptFrom, prompt_of
from erp.table.columns import distinct
from erp.table.intake import Intake
from erp.table.prompts import PromptBook
from erp.table.schema import DEFAULT_REWARD_MODEL, RewardTable, with_missing_note
from erp.table.texts import text_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def under_our_names(named: str, frame: pd.DataFrame, chosen: Mapping[str, str], rule: PromptFrom) -> pd.DataFrame:
    """The columns that a table has, under our names; of conversations the text is taken that is asked.

    Args:
        named: how errors call the table.
        frame: raw values; the index is the number of the row.
        chosen: our name -> the frame's (`erp.table.shape.selection`); one that it lacks is missing in all of its rows.
        rule: what is asked of a conversation.

    Raises:
        ErpError: a conversation in which nothing is asked.
    """
    missing = pd.Series(None, index=frame.index, dtype=object)
    # one column of the frame may serve two of ours
    rows = pd.DataFrame({ours: frame.get(theirs, missing) for ours, theirs in chosen.items()})
    rows["prompt"] = _asked(named, rows["prompt"], chosen["prompt"], rule)
    return rows


def checked_table(
    batches: Iterable[pd.DataFrame],
    columns: Collection[str],
    named: str,
    *,
    table: str,
    reward_model: str | None = None,
    copies: Copies = "error",
    prompt_from: PromptFrom = DEFAULT_RULE,
    notes: tuple[str, ...] = (),
) -> RewardTable:
    """The table of long rows, once they are checked.

    Args:
        batches: raw columns under our names, some rows at a time; the index is the row number that errors name.
        columns: which they are.
        named: how errors call the table.
        table: how a sentence calls it.
        reward_model: whose rewards; None for the only one there is.
        copies: what becomes of rows that repeat an earlier one and have no sample number (`erp.table.copies`): refused,
            read once, or taken for samples. Numbered ones that are wholly equal are read once with ``fold`` too.
        prompt_from: what was asked of conversations.
        notes: what was seen while reading.

    Raises:
        ErpError: every fault there is, by row and column; or the reward model is not there.
    """
    intake, book = Intake(named, columns), PromptBook(own_ids="prompt_id" in columns)
    one = _OneRewardModel(reward_model, named, table)
    empty = True
    for batch in batches:
        empty &= batch.empty
        rows = one.of(batch)
        intake.take(rows, book.take(rows, intake.faults))
    name = one.name()
    if empty:
        raise ErpError(f"{named}: the table is empty; it needs at least one row of prompt, model, reward")
    arrangement = Arrangement(intake, book, copies)
    found = assembled(intake, book, arrangement, arrangement.samples(), name, notes)
    return replace(found, prompt_from=prompt_from)


def assembled(
    intake: Intake,
    book: PromptBook,
    arrangement: Arrangement,
    samples: pd.DataFrame,
    reward_model: str,
    notes: tuple[str, ...],
) -> RewardTable:
    """The table, of what was read and arranged. Raises ErpError with every fault."""
    said = [*notes]
    if intake.not_finite:
        said.append(f"{intake.not_finite:,} of {intake.count:,} rewards are not finite and count as missing")
    intake.tell()
    said += arrangement.tell()
    book.tell(intake.faults)
    if not intake.faults and not intake.rewarded:
        line = "column reward: every reward is missing; there is nothing to learn from; score the samples"
        intake.faults.add("rewards", 1, [line])
    intake.faults.raise_if_any()
    prompts = book.frame(arrangement.ranks)
    said += [*book.notes(prompts), *_alike_members(arrangement.members)]
    table = RewardTable(prompts, samples, arrangement.members, reward_model, tuple(said), suspects=arrangement.suspects)
    return with_missing_note(table)


def _alike_members(members: Collection[str]) -> list[str]:
    names = pd.Series(sorted(members))
    alike = names[names.map(text_key).duplicated(keep=False)]
    if not len(alike):
        return []
    return [
        f"models {shorten(map(repr, alike))} differ in case, white space or Unicode form alone: they are members "
        "of their own; if two of them are one model, give them one name"
    ]


@dataclass
class _OneRewardModel:
    """Rows of one reward model among several: the wanted one, else the only one."""

    wanted: str | None
    named: str
    table: str

    def __post_init__(self) -> None:
        self._names: dict[str, None] | None = None  # None while no row has such a column
        self._unnamed, self._first = 0, 0

    def of(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows; row numbers stay those of the table."""
        if "reward_model" not in rows or rows.empty:
            return rows
        found = distinct(rows["reward_model"])
        missing = np.flatnonzero(found.codes < 0)
        if len(missing) and not self._unnamed:
            self._first = int(rows.index[missing[0]])
        self._unnamed += len(missing)
        names = [str(value) for value in found.values]
        self._names = (self._names or {}) | dict.fromkeys(names[code] for code in found.used.tolist())
        wanted = next(iter(self._names), None) if self.wanted is None else self.wanted
        chosen = np.array([name == wanted for name in names] + [False])[found.codes]
        return rows if chosen.all() else rows[chosen]

    def name(self) -> str:
        """Its name, when all rows have been seen. Raises ErpError: it is not there, or a row names none."""
        if self._unnamed:
            raise ErpError(
                f"{self.named}: row {self._first}, column reward_model = null: missing in "
                f"{self._unnamed:,} rows; every row needs one; fill it in or leave the column out"
            )
        if self._names is not None:
            return choose_reward_model(self.wanted, sorted(self._names), self.table)
        if self.wanted not in (None, DEFAULT_REWARD_MODEL):
            raise ErpError(
                f"reward_model.name = {self.wanted}: {self.table} has no column reward_model; its only reward model is "
                f"called '{DEFAULT_REWARD_MODEL}'; leave reward_model.name out, or name the column: "
                "data.columns.reward_model"
            )
        return DEFAULT_REWARD_MODEL


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
    if column != "messages" and (prompts.dtype != object or pd.api.types.infer_dtype(prompts) == "string"):
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

    raw = prompts.astype(object)
    texts = [text(row, value) for row, value in zip(raw.index, raw, strict=True)]
    return pd.Series(texts, index=prompts.index, dtype=object)
