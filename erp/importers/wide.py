"""A spreadsheet: a row a prompt, and a column of scores for each member."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from erp.config.typed import item
from erp.errors import ErpError, shorten
from erp.importers.base import Importer
from erp.importers.fields import MISSING
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.sheets import SUFFIXES, frames
from erp.table.columns import numbers, show

_ROWS = 1 << 13  # of a file at once: texts may be long
_PLACE = "{member}"
_OF_PROMPT = ("prompt", "prompt_id", "category", "group", "split", "reference")
_OF_CELL = ("reward", "cost_usd", "prompt_tokens", "completion_tokens", "response", "n_samples")


class Wide(Importer):
    """A column of scores for each member, in csv, tsv, json, jsonl, parquet or xlsx.

    Args:
        members: columns of scores, or with ``pattern`` the members that are taken; None takes all that meet it.
        pattern: what a member's column of scores is called, with ``{member}`` in it.
        columns: our name -> the file's: prompt, prompt_id, category, group, split, reference; null for our own name.
        of_members: what else there is of a member -> the pattern of its columns: cost_usd, prompt_tokens,
            completion_tokens, response, n_samples.
        encoding: of a text file; None for UTF-8.
        sheet: of a workbook; None for its only one.

    Raises:
        ErpError: a pattern without ``{member}``, no member at all.
    """

    patterns = tuple(f"*{suffix}" for suffix in SUFFIXES)

    def __init__(
        self,
        members: list[str] | None = None,
        pattern: str = _PLACE,
        columns: dict[str, str | None] | None = None,
        of_members: dict[str, str | None] | None = None,
        encoding: str | None = None,
        sheet: str | None = None,
    ) -> None:
        self._members, self._encoding, self._sheet = members, encoding, sheet
        given = {name: text for name, text in (of_members or {}).items() if text is not None}
        self._patterns = {"reward": pattern, **given}
        faults = [
            f"source.{'pattern' if name == 'reward' else f'of_members.{name}'} = {text}: has to hold {_PLACE} once, "
            "where the member's name stands"
            for name, text in self._patterns.items() if text.count(_PLACE) != 1
        ]  # fmt: skip
        faults += [f"source.of_members.{name}: there is no such thing; allowed are {', '.join(_OF_CELL[1:])}"
                   for name in given if name not in _OF_CELL[1:]]  # fmt: skip
        faults += [f"source.columns.{name}: there is no such thing; allowed are {', '.join(_OF_PROMPT)}"
                   for name in columns or {} if name not in _OF_PROMPT]  # fmt: skip
        if faults:
            raise ErpError(*faults)
        self._columns = {name: (columns or {}).get(name) or name for name in _OF_PROMPT}
        self._said = {name for name, theirs in (columns or {}).items() if theirs is not None}

    def batches(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[pd.DataFrame]:
        """Rows of the long form, member by member of some rows of a file."""
        kinds = {PurePosixPath(file.last).suffix.lower() for file in files}
        if len(kinds) > 1:
            raise ErpError(f"path = {files[0].path}: holds {' and '.join(sorted(kinds))} files; name one kind with '*'")
        wanted = [*self._columns.values(), *(self._of(name) for name in self._members or [])]
        without: dict[str, list[str]] = {}  # a file -> members that it has no scores of
        for file in files:
            members: dict[str, str] = {}
            for frame in frames(file, wanted, ledger, _ROWS, self._encoding, self._sheet):
                found = self._met(frame) if members else self._found(file, frame, alone=len(files) == 1)
                members.update(found)  # keys of json come late
                yield self._long(frame, members, file)
            ledger.origin(file, members)
            without[file.name] = [name for name in self._members or () if name not in members]
        if nowhere := [name for name in self._members or () if all(name in lacking for lacking in without.values())]:
            raise ErpError(
                f"source.members: no file of path = {files[0].path} has scores of {shorten(nowhere)}; correct the names"
            )
        if told := [f"{name} none of {shorten(lacking, 3)}" for name, lacking in without.items() if lacking]:
            ledger.note(f"Not every file has scores of every member: {shorten(told, 3)}.")

    def _of(self, member: str, what: str = "reward") -> str:
        return self._patterns[what].replace(_PLACE, member)

    def _found(self, file: SourceFile, frame: pd.DataFrame, alone: bool) -> dict[str, str]:
        """Member -> its column of scores. Raises ErpError: there is none, or one alone lacks some."""
        present = [str(name) for name in frame.columns]
        taken = set(self._columns.values())
        lacking = [theirs for name, theirs in self._columns.items() if theirs not in present
                   and (name == "prompt" or name in self._said)]  # fmt: skip
        if lacking:
            raise ErpError(
                f"{file.named}: no column {shorten(lacking)}; its columns are {shorten(present, 20)}; name the "
                "prompt's with source.columns.prompt=<column>"
            )
        if self._members is None and self._patterns["reward"] == _PLACE:
            numeric = [name for name in present if name not in taken and not np.isnan(numbers(frame[name])).all()]
            named = shlex.quote(f"source.members=[{','.join(map(item, numeric[:20]))}]")
            raise ErpError(
                f"source.members = null: say which columns hold members' scores; {file.named} has columns of numbers "
                f"{shorten(numeric, 20) or 'none'}; {named}, or a pattern with 'source.pattern=\"score_{{member}}\"'"
            )
        gone = [column for column in map(self._of, self._members or ()) if column not in present]
        if gone and (alone or len(gone) == len(self._members or ())):
            raise ErpError(
                f"source.members: {file.named} has no column {shorten(map(show, gone))}; its columns are "
                f"{shorten(map(show, present), 20)}"
            )
        found = self._met(frame)
        for what, pattern in self._patterns.items():
            if (alone or what == "reward") and not any(self._of(member, what) in present for member in found):
                key = "pattern" if what == "reward" else f"of_members.{what}"
                raise ErpError(
                    f"source.{key} = {pattern}: no column of {file.named} is like it; its columns are "
                    f"{shorten(map(show, present), 20)}"
                )
        return found

    def _met(self, frame: pd.DataFrame) -> dict[str, str]:
        """Member -> its column of scores, of those that are named, or whose columns meet the pattern."""
        if self._members is not None:
            return {name: self._of(name) for name in self._members if self._of(name) in frame}
        before, after = map(re.escape, self._patterns["reward"].split(_PLACE))
        met = {str(name): match.group(1) for name in frame.columns if name not in self._columns.values()
               and (match := re.fullmatch(f"{before}(.+){after}", str(name), re.DOTALL))}  # fmt: skip
        others = {self._of(member, what) for member in met.values() for what in self._patterns if what != "reward"}
        return {member: name for name, member in met.items() if name not in others}

    def _long(self, frame: pd.DataFrame, members: Mapping[str, str], file: SourceFile) -> pd.DataFrame:
        if gone := [column for column in members.values() if column not in frame]:  # of json, a key that comes and goes
            frame = frame.assign(**dict.fromkeys(gone))
        size, count = len(frame), len(members)
        long = {name: _tiled(frame[theirs], count) for name, theirs in self._columns.items() if theirs in frame
                and (name in self._said or theirs not in members.values())}  # fmt: skip
        if "prompt" not in long:
            raise ErpError(f"{file.named}: rows without a column {self._columns['prompt']}; give every row one")
        codes = np.repeat(np.arange(count), size)
        long["model"] = pd.Series(pd.Categorical.from_codes(codes, pd.Index(list(members), dtype=object)))
        long["reward"] = _stacked([_measured(frame[column]) for column in members.values()])
        for what in self._patterns:
            names = [self._of(member, what) for member in members]
            if what != "reward" and any(name in frame for name in names):
                blank = pd.Series(None, index=frame.index, dtype=object)
                columns = [frame.get(name, blank) for name in names]
                long[what] = _stacked(columns if what == "response" else [_measured(column) for column in columns])
        return pd.DataFrame(long)


def _tiled(column: pd.Series, count: int) -> pd.Series:
    """A column so many times over; its texts are kept once."""
    plain = [isinstance(value, str) for value in column]
    if not all(plain):
        return pd.Series(np.tile(column.to_numpy(dtype=object), count), dtype=object)
    codes, values = pd.factorize(column)
    return pd.Series(pd.Categorical.from_codes(np.tile(codes, count), pd.Index(values, dtype=object)))


def _stacked(columns: Sequence[pd.Series]) -> pd.Series:
    return pd.concat(columns, ignore_index=True)


def _measured(raw: pd.Series) -> pd.Series:
    """A column of scores or costs: as numbers where they all are, nothing where a word says that there is none."""
    if pd.api.types.is_numeric_dtype(raw.dtype):  # true and false too
        return raw
    raw = raw.astype(object)
    number = pd.Series(numbers(raw.where(raw.map(lambda value: not isinstance(value, bool)), None)), raw.index)
    odd = number.isna() & raw.notna()
    said = raw[odd].map(lambda value: isinstance(value, str) and value.strip().lower() in MISSING)
    left = said.index[~said.astype(bool)]
    if not len(left):
        return number
    column = number.astype(object).where(number.notna(), None)
    column[left] = raw[left]
    return column
