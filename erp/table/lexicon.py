"""Texts as they come, each kept once and numbered; and what is known of each number."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.table.columns import Texts


class Lexicon:
    """Numbers for texts, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def texts(self) -> list[str]:
        """All of them, by number."""
        return self.since(0)

    def since(self, number: int) -> list[str]:
        """Those from a number on."""
        return list(islice(self._numbers, number, None))

    def number(self, text: str) -> int:
        """The text's number; a new one for a new text."""
        return self._numbers.setdefault(text, len(self._numbers))

    def numbers(self, column: Texts, *, known: bool = False) -> NDArray[np.int64]:
        """The number of every row's text (n,), -1 where there is none; `known`: no number is given to a new text."""
        of_code = np.full(len(column.values) + 1, -1, dtype=np.int64)  # code -1 reads the last
        used, values, of = column.used, column.values, self._numbers
        if known:
            of_code[used] = [of.get(values[code], -1) for code in used.tolist()]
        else:
            of_code[used] = [of.setdefault(values[code], len(of)) for code in used.tolist()]
        return of_code[column.codes]


class Known:
    """A number for each of a growing count of things, at first the same for all: -1 where nothing is known."""

    def __init__(self, at_first: int = -1) -> None:
        self._at_first = at_first
        self._values: NDArray[np.int64] = np.full(1024, at_first, dtype=np.int64)

    def upto(self, size: int) -> NDArray[np.int64]:
        """The first `size` of them, to be read and written."""
        if size > len(self._values):
            more = max(size - len(self._values), len(self._values))
            self._values = np.concatenate([self._values, np.full(more, self._at_first, dtype=np.int64)])
        return self._values[:size]
