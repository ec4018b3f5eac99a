"""The prompts of a table as its rows name them: each text is kept once, and a prompt has one of everything."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute

from erp.table.columns import TOLD, Texts, is_blank, show_apart, text_column
from erp.table.lexicon import Known, Lexicon
from erp.table.schema import PROMPT_COLUMNS
from erp.table.texts import exact, text_id, text_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.table.columns import Faults

_WHITE = bytes(sign for sign in range(128) if chr(sign).isspace())
_NO_ID = "missing; give every row one or leave the column out"


class PromptBook:
    """Prompts by number, in the order in which they were first seen, and what rows say of them.

    Args:
        own_ids: whether the table has ids; else they are made of the very texts.
    """

    def __init__(self, *, own_ids: bool) -> None:
        self._own_ids = own_ids
        self._ids = Lexicon()
        self._lexicons = {column: Lexicon() for column in PROMPT_COLUMNS[1:]}
        self._values = {column: Known() for column in PROMPT_COLUMNS[1:]}
        self._of_text, self._made = Known(), 0  # of how many texts an id has been made
        self._row = Known()
        self._clashes: dict[str, dict[int, str]] = {column: {} for column in PROMPT_COLUMNS[1:]}

    def __len__(self) -> int:
        return len(self._ids)

    def take(self, rows: pd.DataFrame, faults: Faults) -> NDArray[np.int64]:
        """The number of every row's prompt (n,), -1 where it has none."""
        columns = [column for column in PROMPT_COLUMNS[1:] if column in rows]
        numbers = {}
        for column in columns:
            texts = text_column(rows[column], faults, required=column == "prompt")
            numbers[column] = self._lexicons[column].numbers(texts)
        prompt = self._numbers(rows, numbers["prompt"], faults)
        self._compare(prompt, rows.index.to_numpy(), numbers)
        return prompt

    def known(self, ids: pd.Series, faults: Faults) -> NDArray[np.int64]:
        """Numbers (n,) of prompts that have been taken, by their ids; -1 for others."""
        return self._ids.numbers(text_column(ids, faults, required=False), known=True)

    def _numbers(self, rows: pd.DataFrame, text: NDArray[np.int64], faults: Faults) -> NDArray[np.int64]:
        if self._own_ids:
            ids = text_column(rows["prompt_id"], faults, required=False)
            blank = np.array([is_blank(value) for value in ids.values] + [True])
            faults.rows(blank[ids.codes], rows["prompt_id"], _NO_ID)
            return self._ids.numbers(Texts(np.where(blank[ids.codes], -1, ids.codes), ids.values))
        texts, before = self._lexicons["prompt"], self._made
        self._made = len(texts)
        of_text = self._of_text.upto(self._made + 1)  # the one behind the last stays -1, for a missing text
        of_text[before:-1] = [self._ids.number(f"p-{text_id(text)}") for text in texts.since(before)]
        return of_text[text]

    def _compare(
        self, prompt: NDArray[np.int64], row: NDArray[np.int64], numbers: dict[str, NDArray[np.int64]]
    ) -> None:
        """Keep what the first row of a prompt says, and hold the others against it."""
        named = np.flatnonzero(prompt >= 0)
        prompt, row = prompt[named], row[named]
        first_row = self._row.upto(len(self))
        fresh = np.flatnonzero(first_row[prompt] < 0)[::-1]  # of several rows the first is written last
        first_row[prompt[fresh]] = row[fresh]
        for column, of_row in numbers.items():
            values, first = of_row[named], self._values[column].upto(len(self))
            first[prompt[fresh]] = values[fresh]
            differs = values != first[prompt]
            if column == "prompt":  # ids made from texts cannot clash; a missing prompt is a fault of its own
                differs &= (values >= 0) & (first[prompt] >= 0) if self._own_ids else False
            for i in np.flatnonzero(differs).tolist():
                found = self._clashes[column]
                if prompt[i] not in found:  # a prompt's first; it is one fault, and only a few are told
                    where = int(prompt[i]), int(row[i]), int(values[i])
                    found[where[0]] = self._clash(column, *where) if len(found) < TOLD else ""

    def _clash(self, column: str, prompt: int, row: int, value: int) -> str:
        texts = self._lexicons[column].texts
        first = int(self._values[column].upto(len(self))[prompt])
        apart = show_apart(*(None if number < 0 else texts[number] for number in (first, value)))
        return (
            f"rows {int(self._row.upto(len(self))[prompt])} and {row}, column {column} = {apart}: prompt_id "
            f"{self._ids.texts[prompt]} has two; one is allowed; correct them or give the prompts two ids"
        )

    def tell(self, faults: Faults) -> None:
        """Record prompts of which rows said two things."""
        for column, found in self._clashes.items():
            faults.add(f"one {column}", len(found), found.values())

    def ranks(self, used: NDArray[np.int64]) -> NDArray[np.int64]:
        """Place of every prompt (P,) among those used, by their ids; -1 for one that is not.

        Args:
            used: numbers of prompts.
        """
        texts = self._ids.texts
        ids = [texts[number] for number in used.tolist()]
        try:
            order = pyarrow.compute.sort_indices(pyarrow.array(ids, pyarrow.large_string())).to_numpy()
        except UnicodeEncodeError:  # half of a surrogate pair, which json can write
            order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        ranks = np.full(len(self), -1, dtype=np.int64)
        ranks[used[order]] = np.arange(len(used))
        return ranks

    def name(self, number: int) -> str:
        """The id of a prompt."""
        return self._ids.texts[number]

    def ids(self, ranks: NDArray[np.int64]) -> NDArray[np.object_]:
        """Ids of the prompts used, in the order of their ranks."""
        return np.array(self._ids.texts, dtype=object)[_by_rank(ranks)]

    def frame(self, ranks: NDArray[np.int64]) -> pd.DataFrame:
        """The prompts used, in the order of their ranks: every column of `erp.table.schema.PROMPT_COLUMNS`."""
        numbers = _by_rank(ranks)
        columns = {"prompt_id": self.ids(ranks)}
        for column in PROMPT_COLUMNS[1:]:
            texts = self._lexicons[column].texts
            if column == "prompt" and not self._own_ids:
                texts = [exact(text) for text in texts]
            texts_or_none = np.array([*texts, None], dtype=object)  # -1 reads the last
            columns[column] = texts_or_none[self._values[column].upto(len(self))[numbers]]
        return pd.DataFrame(columns, dtype=object)

    def notes(self, prompts: pd.DataFrame) -> list[str]:
        """What a reader must know of the ids, and of the table's texts that are nearly one."""
        notes = [] if self._own_ids else ["the table has no prompt_id: ids were made from the prompts' texts"]
        if folded := _alike(list(dict.fromkeys(prompts["prompt"]))):
            notes.append(
                f"{folded:,} texts differ from another in case, white space or Unicode form alone: they are "
                "prompts of their own, in one group with it"
            )
        return notes


def _by_rank(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of the prompts that have a rank, in its order."""
    return np.argsort(ranks, kind="stable")[int((ranks < 0).sum()) :]


def _alike(texts: list[str]) -> int:
    """How many texts differ from another of them only in what a key folds."""
    rough = pd.Series([_rough(text) for text in texts]).duplicated(keep=False).to_numpy()
    candidates = {exact(texts[i]) for i in np.flatnonzero(rough).tolist()}
    return int(pd.Series(map(text_key, candidates), dtype=object).duplicated(keep=False).sum())


def _rough(text: str) -> int:
    """The same for two texts of one key, and seldom for others: without white space, and quickly made."""
    if not text.isascii():
        return hash("".join(unicodedata.normalize("NFKC", text).split()).casefold())
    return hash(text.encode().translate(None, _WHITE).lower().decode())
