"""The parts of a collected table, read once and joined by their keys: prompts, samples and rewards."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow

from erp.errors import ErpError, shorten
from erp.table.arrange import Arrangement, Copies
from erp.table.belonging import check_scores
from erp.table.columns import Faults, text_column, whole_column
from erp.table.cut_short import cut_notes
from erp.table.folder import (
    KEYS,
    asked_by,
    greedy_members,
    is_observational,
    manifest_notes,
    member_facts,
    scores_of,
)
from erp.table.intake import Intake
from erp.table.partitions import Partitions
from erp.table.prompts import PromptBook
from erp.table.readers.parquet import Footer, row_groups
from erp.table.rows import assembled
from erp.table.schema import MEASURE_COLUMNS, PROMPT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from erp.table.asked import PromptFrom
    from erp.table.folder import Scores
    from erp.table.schema import RewardTable


def collected_table(
    root: Path, reward_model: str | None, copies: Copies, prompt_from: PromptFrom | None
) -> RewardTable:
    """The table of one reward model of a finished folder.

    Rows are numbered over samples/part-*.parquet, in order of their names. A sample without a score has a null reward.
    Responses are most of the bytes: they are read only where tokens are unknown, or samples look like one response.

    Raises:
        ErpError: The folder is unfinished or unreadable, its parts do not fit, or a row is at fault.
    """
    scores = scores_of(root, reward_model)
    check_scores(root, scores)
    reading = _Reading(root, scores, copies)
    table, more = reading.table(responses=False)
    if more:
        table, _ = _Reading(root, scores, copies).table(responses=True)
    suspects = {name: why for name, why in table.suspects.items() if name not in greedy_members(root)}
    return replace(
        table, facts=member_facts(root), suspects=suspects, prompt_from=asked_by(root, prompt_from),
        observational=is_observational(root),
    )  # fmt: skip


class _Reading:
    """One pass over the parts of a folder."""

    def __init__(self, root: Path, scores: Scores, copies: Copies) -> None:
        self._root, self._scores, self._copies = root, scores, copies
        self._book = PromptBook(own_ids=True)
        self._faults: list[str] = []
        self._unknown: dict[str, None] = {}  # prompts that samples name, and prompts.parquet does not
        self._loose: list[tuple[int, tuple[Any, ...]]] = []  # row and key of rewards without a sample
        self._loose_count = 0
        self._twice: list[tuple[int, tuple[Any, ...]]] = []
        self._twice_count = 0
        self._rewards = Partitions({"prompt": "i4", "member": "i4", "sample": "i8", "row": "i8", "reward": "f8"})

    def table(self, *, responses: bool) -> tuple[RewardTable, bool]:
        """The table, and whether responses would tell more of it."""
        root = self._root
        self._prompts()
        optional = ["n_samples", *MEASURE_COLUMNS, *(["response"] if responses else [])]
        parts = _parts(root / "samples")
        footers, names = _footers(parts, KEYS, optional)
        intake = self._intake = Intake(f"data.path = {root}", names)
        unknown = self._unknown
        for rows in _numbered(footers, names):
            prompt = self._book.known(rows["prompt_id"], intake.faults)
            lacking = rows["prompt_id"][prompt < 0].unique()
            unknown |= dict.fromkeys(map(str, lacking))
            intake.take(rows, prompt)
        if unknown:
            self._faults.append(
                f"data.path = {root}: samples name {len(unknown):,} prompts that prompts.parquet lacks: "
                f"{shorten(unknown, 3)}; collect again"
            )
        self._read_rewards()
        arrangement = self._arrangement = Arrangement(intake, self._book, self._copies)
        samples = arrangement.samples(self._join)
        self._left_over()
        self._raise_if_any()
        table = assembled(intake, self._book, arrangement, samples, self._scores.reward_model, self._notes())
        return table, intake.some_length_unknown or arrangement.mostly_alike

    def _prompts(self) -> None:
        path = self._root / "prompts.parquet"
        footers, names = _footers([path], ["prompt_id", "prompt"], list(PROMPT_COLUMNS[2:]))
        faults = Faults(f"data.path = {path}")
        taken = [(rows, self._book.take(rows, faults)) for rows in _numbered(footers, names)]
        faults.raise_if_any()
        number = np.concatenate([prompt for _, prompt in taken] or [np.zeros(0, dtype=np.int64)])
        again = pd.Series(number).duplicated().to_numpy()
        if again.any():
            row = int(again.argmax())
            self._faults.append(
                f"data.path = {self._root}: prompts.parquet, row {row}, columns prompt_id = "
                f"({self._book.name(number[row])}): stands there twice ({int(again.sum()):,} such rows); "
                "keys are unique; collect again"
            )

    def _read_rewards(self) -> None:
        parts = _parts(self._scores.folder)
        footers, names = _footers(parts, [*KEYS, "reward"], [])
        faults, intake = self._intake.faults, self._intake
        for rows in _numbered(footers, names):
            prompt = self._book.known(rows["prompt_id"], faults)
            member = intake.members.numbers(text_column(rows["model"], faults, required=True), known=True)
            found = {
                "prompt": prompt,
                "member": member,
                "sample": intake.identities(whole_column(rows["sample"], faults)),
                "row": rows.index.to_numpy(),
                "reward": intake.reward_of(rows["reward"]),
            }
            if not self._scores.higher_is_better:
                found["reward"] = -found["reward"]
            lost = (prompt < 0) | (member < 0)
            loose = lost & ~rows["prompt_id"].isin(list(self._unknown)).to_numpy()
            if loose.any():
                first = rows[loose].iloc[0]
                self._tell_loose(int(loose.sum()), int(rows.index[loose][0]), tuple(first[KEYS]))
            self._rewards.add({name: values[~lost] for name, values in found.items()} if lost.any() else found)

    def _join(self, prompts: range, rows: pd.DataFrame) -> None:
        """Give a block of samples, sorted by cell and sample, its rewards."""
        scored = self._rewards.take(prompts)
        sample = self._intake.renumbered(scored["sample"])
        own = tuple(rows[name].to_numpy() for name in ("prompt", "member", "sample"))
        other = (*self._arrangement.places(scored["prompt"], scored["member"]), sample)
        if all(np.array_equal(ours, theirs) for ours, theirs in zip(own, other, strict=True)):
            rows["reward"] = self._intake.joined(scored["reward"])  # as collecting writes them
            return
        key, theirs = _keys(own, other)
        order = np.argsort(theirs, kind="stable")
        theirs = theirs[order]
        again = np.flatnonzero(theirs[1:] == theirs[:-1]) + 1
        at = np.searchsorted(key, theirs)
        found = key[np.minimum(at, len(key) - 1)] == theirs
        for place, tell in ((again, self._tell_twice), (np.flatnonzero(~found), self._tell_loose)):
            if len(place):
                first = order[place][scored["row"][order[place]].argmin()]
                tell(len(place), int(scored["row"][first]), self._key(scored, int(first), sample))
        reward = np.full(len(rows), np.nan)
        reward[at[found]] = scored["reward"][order][found]
        rows["reward"] = self._intake.joined(reward)

    def _left_over(self) -> None:
        """Rewards of prompts that have no sample near them."""
        scored = self._rewards.take(range(len(self._book)))
        if len(scored["row"]):
            first = int(scored["row"].argmin())
            key = self._key(scored, first, self._intake.renumbered(scored["sample"]))
            self._tell_loose(len(scored["row"]), int(scored["row"][first]), key)

    def _key(self, scored: dict[str, NDArray[Any]], at: int, sample: NDArray[np.int64]) -> tuple[Any, ...]:
        member = self._intake.members.texts[scored["member"][at]]
        return self._book.name(int(scored["prompt"][at])), member, int(sample[at])

    def _tell_loose(self, count: int, row: int, key: tuple[Any, ...]) -> None:
        self._loose_count += count
        self._loose.append((row, key))

    def _tell_twice(self, count: int, row: int, key: tuple[Any, ...]) -> None:
        self._twice_count += count
        self._twice.append((row, key))

    def _raise_if_any(self) -> None:
        """Nothing is joined by position, so keys must be unique, and nothing may hang in the air."""
        if self._twice:
            row, key = min(self._twice)
            self._faults.append(
                f"data.path = {self._root}: rewards, row {row}, columns {', '.join(KEYS)} = "
                f"({', '.join(map(str, key))}): stands there twice ({self._twice_count:,} such rows); keys are unique; "
                "collect again"
            )
        if self._loose:
            key = min(self._loose)[1]
            self._faults.append(
                f"data.path = {self._root}: {self._loose_count:,} rewards have no sample, the first is "
                f"({', '.join(map(str, key))}); collect again"
            )
        if self._faults:
            raise ErpError(*self._faults)

    def _notes(self) -> tuple[str, ...]:
        notes = [*manifest_notes(self._root), *cut_notes(self._root), *self._scores.notes]
        if not self._scores.higher_is_better:
            notes.append(f"lower is better for {self._scores.reward_model}: its rewards were negated")
        if unused := int((self._arrangement.ranks < 0).sum()):
            notes.append(f"{unused:,} of {len(self._book):,} prompts have no sample and were left out")
        return tuple(notes)


def _keys(
    own: tuple[NDArray[np.int64], ...], theirs: tuple[NDArray[np.int64], ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One number for each key of prompt, member and sample, in their order; equal number, equal key."""
    both = [np.concatenate(pair) for pair in zip(own, theirs, strict=True)]
    key = np.zeros(len(both[0]), dtype=np.int64)
    for value in both:
        low, high = int(value.min(initial=0)), int(value.max(initial=0))
        if (int(key.max(initial=0)) + 1) * (high - low + 1) > np.iinfo(np.int64).max:
            value, low = np.unique(value, return_inverse=True)[1], 0
            high = int(value.max(initial=0))
        key = key * (high - low + 1) + (value - low)
    return key[: len(own[0])], key[len(own[0]) :]


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise ErpError(f"data.path = {folder}: no part-*.parquet; the collection lacks them; collect again")
    return parts


def _footers(parts: list[Path], required: list[str], optional: list[str]) -> tuple[list[Footer], list[str]]:
    """What parts say of themselves, and which of the columns some part has. Raises ErpError, naming the part."""
    footers: list[Footer] = []
    for part in parts:
        footers.append(Footer.of(partial(_opened, part)))
        names = footers[-1].schema.names
        lacking = [column for column in required if column not in names]
        if lacking:
            raise ErpError(f"data.path = {part}: no column {', '.join(lacking)}; its columns are {shorten(names)}")
    some = {name for footer in footers for name in footer.schema.names}
    return footers, [*required, *(column for column in optional if column in some)]


@contextmanager
def _opened(part: Path) -> Iterator[BinaryIO]:
    try:
        with part.open("rb") as stream:
            yield stream
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ErpError(f"data.path = {part}: the file cannot be read ({reason}); collect again") from error


def _numbered(footers: list[Footer], names: list[str]) -> Iterator[pd.DataFrame]:
    """Columns of parts, some rows at a time; the index goes on over all of them."""
    start = 0
    for _, frame in row_groups(footers, names):
        rows = frame.set_index(pd.RangeIndex(start, start + len(frame)))
        start += len(rows)
        missing = pd.Series(None, index=rows.index, dtype=object)
        yield pd.DataFrame({name: rows.get(name, missing) for name in names})
