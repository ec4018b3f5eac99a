"""Rows that were put aside, arranged by prompt and member: checked cell by cell, and made the samples of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from erp.table.columns import TOLD
from erp.table.copies import COMPARED, Likeness, find_copies, likeness
from erp.table.schema import MEASURE_COLUMNS, SAMPLE_COLUMNS
from erp.table.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from erp.table.intake import Intake
    from erp.table.prompts import PromptBook

Copies = Literal["error", "fold", "keep"]


@dataclass
class _Copied:
    """Rows that repeat an earlier one."""

    count: int = 0
    first: int = -1
    by: set[str] = field(default_factory=set)


class Arrangement:
    """The samples of a table, out of the rows of an intake; blocks of prompts are checked one after another.

    Args:
        intake: all of its rows are in.
        book: of its prompts.
        copies: what becomes of rows that repeat an earlier one.
    """

    def __init__(self, intake: Intake, book: PromptBook, copies: Copies) -> None:
        self._intake, self._book, self._copies = intake, book, copies
        self.members = tuple(sorted(intake.members.texts))
        place = {name: rank for rank, name in enumerate(self.members)}
        self._member = np.array([place[name] for name in intake.members.texts], dtype=np.int64)
        count = intake.per_prompt.upto(len(book))
        self.ranks = book.ranks(np.flatnonzero(count))
        by_rank = np.zeros(int((self.ranks >= 0).sum()), dtype=np.int64)
        by_rank[self.ranks[self.ranks >= 0]] = count[self.ranks >= 0]
        self._start = np.cumsum(by_rank) - by_rank
        self._copied = _Copied()
        self._zero = dict.fromkeys(MEASURE_COLUMNS, 0)
        self._estimated = 0
        self._twice: list[tuple[int, str]] = []  # rows of a few repeated samples, and what is said of them
        self._twice_count = 0
        self._alike = [Likeness() for _ in self.members]

    def places(
        self, prompt: NDArray[np.int64], member: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places in the table of prompts and members by their numbers; -1 for a prompt without a sample."""
        return self.ranks[prompt], self._member[member]

    def samples(self, join: Callable[[range, pd.DataFrame], None] | None = None) -> pd.DataFrame:
        """Columns of `erp.table.schema.RewardTable.samples`.

        Args:
            join: gives the rows of a block of prompts the rewards that lie elsewhere.
        """
        intake = self._intake
        fixed = {name: np.nan for name in MEASURE_COLUMNS if name not in intake.columns}
        fixed |= {} if "n_samples" in intake.columns else {"n_samples": 1}
        var = ["reward_var"] if {"reward_sd", "reward_var"} & intake.columns else []
        store = Store(len(intake.rows), [*SAMPLE_COLUMNS, *var], intake.single, fixed)
        kept = np.ones(len(intake.rows), dtype=bool) if self._copies == "fold" else None
        for prompts, columns in intake.rows.blocks():
            rows, folded = self._checked(columns, prompts, join)
            prompt = rows["prompt"].to_numpy()
            at = self._start[prompt] + _nth(prompt)
            store.put(at, rows)
            if kept is not None:
                kept[at[folded]] = False
        frame = store.frame()
        return frame if kept is None or kept.all() else frame[kept].reset_index(drop=True)

    def _checked(
        self, columns: dict[str, NDArray[Any]], prompts: range, join: Callable[[range, pd.DataFrame], None] | None
    ) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
        """A block's rows in their order, and which are dropped as copies."""
        columns["prompt"], columns["member"] = self.places(columns["prompt"], columns["member"])
        keys = [columns["prompt"] * len(self.members) + columns["member"]]
        if own := "sample" in columns:
            columns["sample"] = self._intake.renumbered(columns["sample"])
            keys = [columns["sample"], *keys]
        order = _in_order(keys)
        row = columns.pop("row")[order]
        rows = pd.DataFrame({name: values[order] for name, values in columns.items()}, index=row, copy=False)
        if join is not None:
            join(prompts, rows)
        self._measures(rows)
        folded = self._without_copies(rows, own=own)
        if not own:
            place = _by_content(rows, folded)
            rows, folded = rows.iloc[place], folded[place]
            rows = rows.assign(sample=_nth(_cell(rows)))
        else:
            self._same_sample(rows[~folded] if folded.any() else rows)
        left = rows[~folded] if folded.any() else rows
        if self._copies != "keep":
            found = likeness(left, len(self.members), self._intake.some_response)
            self._alike = [before + now for before, now in zip(self._alike, found, strict=True)]
        return rows, folded

    def _measures(self, rows: pd.DataFrame) -> None:
        """Tokens of 0 beside a text are unknown; a response tells how many there may be.

        A prompt has some, unless no prompt's are counted; so has a response that was read. Where responses were not
        read, a member of which none has any was not counted.
        """
        counted, columns = self._intake.counted, self._intake.columns
        if "prompt_tokens" in rows and counted["prompt_tokens"]:
            self._unknown(rows, "prompt_tokens", np.ones(len(rows), dtype=bool))
        if "completion_tokens" not in rows:
            return
        if "response" in columns:
            text = rows["estimate"].to_numpy() > 0
        else:
            text = np.ones(len(self.members), dtype=bool)
            text[self._member[list(counted["completion_tokens"])]] = False
            text = text[rows["member"].to_numpy()]
        self._unknown(rows, "completion_tokens", text)
        if "response" in columns:
            lacking = rows["completion_tokens"].isna().to_numpy() & text
            rows["completion_tokens"] = np.where(lacking, rows["estimate"], rows["completion_tokens"])
            self._estimated += int(lacking.sum())

    def _unknown(self, rows: pd.DataFrame, column: str, has_text: NDArray[np.bool_]) -> None:
        zero = (rows[column].to_numpy() == 0) & has_text
        if zero.any():
            rows[column] = np.where(zero, np.nan, rows[column].to_numpy())
            self._zero[column] += int(zero.sum())

    def _without_copies(self, rows: pd.DataFrame, *, own: bool) -> NDArray[np.bool_]:
        """Which rows repeat an earlier one; they are counted, and dropped where that was asked for."""
        compared = [column for column in (*COMPARED, "response") if column in rows]
        found = np.zeros(len(rows), dtype=bool)
        if not own:
            found = find_copies(rows)
        elif self._copies == "fold":
            found = rows.duplicated(["prompt", "member", "sample", *compared]).to_numpy()
        if found.any():
            first, before = int(rows.index[found].min()), self._copied.first
            self._copied.first = first if before < 0 else min(before, first)
            self._copied.count += int(found.sum())
            self._copied.by |= {c for c in compared if rows[c].notna().any() and c != "n_samples"}
        return found if self._copies == "fold" else np.zeros(len(rows), dtype=bool)

    def _same_sample(self, rows: pd.DataFrame) -> None:
        """Record samples that stand in the table twice."""
        cell, sample = _cell(rows), rows["sample"].to_numpy()
        again = np.flatnonzero((cell[1:] == cell[:-1]) & (sample[1:] == sample[:-1])) + 1
        if not len(again):
            return
        fresh = np.ones(len(rows), dtype=bool)
        fresh[again] = False
        self._twice_count += len(again)
        first = np.maximum.accumulate(np.where(fresh, np.arange(len(rows)), 0))
        ids = self._book.ids(self.ranks)
        prompt, member = rows["prompt"].to_numpy(), rows["member"].to_numpy()
        for i in again[np.argsort(rows.index[again])][:TOLD].tolist():
            key = (ids[prompt[i]], self.members[member[i]], sample[i])
            line = (
                f"rows {rows.index[first[i]]} and {rows.index[i]}, columns prompt_id, model, sample = "
                f"({', '.join(map(str, key))}): the same sample twice; number the samples of one prompt and model "
                "apart, or leave the column sample out; the same row logged twice is read once with data.copies=fold"
            )
            self._twice.append((int(rows.index[i]), line))

    @property
    def suspects(self) -> dict[str, str]:
        """Members whose samples are hardly drawn one by one: name -> what speaks against it."""
        found = {name: alike.suspect for name, alike in zip(self.members, self._alike, strict=True)}
        return {name: why for name, why in found.items() if why is not None}

    @property
    def mostly_alike(self) -> bool:
        """Whether some member's samples may be one response in most cells, so that responses are worth reading."""
        return any(alike.mostly for alike in self._alike)

    def tell(self) -> list[str]:
        """Record what is wrong with rows of one cell, and say what was done about others."""
        intake, copied, faults = self._intake, self._copied, self._intake.faults
        of = f"of {intake.count:,} rows"
        notes = []
        for column in MEASURE_COLUMNS:
            if unknown := intake.unknown[column] + self._zero[column]:
                notes.append(f"{column} is 0 beside a text, or -1, in {unknown:,} {of} and counts as unknown")
        if self._estimated:
            notes.append(f"completion tokens are estimated as characters / 4 in {self._estimated:,} {of}")
        if copied.count and self._copies == "error":
            by = [column for column in (*COMPARED, "response") if column in copied.by]
            line = (
                f"row {copied.first}: {copied.count:,} {of} repeat an earlier row "
                f"(prompt, model, {', '.join(by)}), and nothing numbers them as samples; drop them; or read each once "
                "with data.copies=fold; or take them for samples with data.copies=keep; or name the column that "
                "numbers samples: data.columns.sample=<name>"
            )
            faults.add("copies", 1, [line])
        elif copied.count:
            done = {"fold": "read once (data.copies=fold)", "keep": "taken for samples (data.copies=keep)"}
            notes.append(f"{copied.count:,} {of} repeat an earlier row and were {done[self._copies]}")
        faults.add("twice", self._twice_count, (line for _, line in sorted(self._twice)))
        return notes


def _cell(rows: pd.DataFrame) -> NDArray[np.int64]:
    member = rows["member"].to_numpy()
    return np.asarray(rows["prompt"].to_numpy() * (int(member.max(initial=0)) + 1) + member)


def _nth(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number of each row in its cell, or among those of its prompt; rows of one lie together."""
    starts = np.flatnonzero(np.diff(cell, prepend=-1))
    return np.arange(len(cell)) - np.repeat(starts, np.diff(starts, append=len(cell)))


def _in_order(keys: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The order by the last key, then those before it; equal rows as they came."""
    ordered = True  # as most tables come
    for key in keys:  # the last one first in rank
        step = np.diff(key)
        ordered = (step > 0) | ((step == 0) & ordered)
    return np.arange(len(keys[-1])) if np.all(ordered) else np.lexsort(keys)


def _by_content(rows: pd.DataFrame, folded: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The order of rows by cell and what they hold: the order of a file's rows means nothing. Dropped ones are last."""
    cell = _cell(rows)
    if (np.diff(cell) > 0).all():
        return np.arange(len(rows))
    content = [rows[name].to_numpy() for name in reversed(["reward", "n_samples", *MEASURE_COLUMNS]) if name in rows]
    return np.lexsort([*content, folded, cell])
