"""Rows that are copies of others and no samples, and members whose samples are all one response.

A copy is told from two samples that happen to be equal: by how seldom rows of *different* cells are. Rows are compared
by all that was read of them: reward, tokens, cost, n_samples, and the response where the file has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.table.schema import MEASURE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

COMPARED = ("reward", "n_samples", *MEASURE_COLUMNS)
_SELDOM = 0.01  # a row that so few other cells hold tells a copy by itself
_CHANCE = 1e-5  # of the whole table being made of equal rows without being a copy
_LOOKED_AT = 4096  # rows that mostly tell already that rows do not stand there several times
MOST_ALIKE = 0.5  # share of a member's cells that hold one and the same response, from which its noise is not believed


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows with a reward, sorted by cell: their place, number of cell and member, and a hash of what they hold.

    Each is (n,); equal hash, equal row.
    """

    place: NDArray[np.int64]
    cell: NDArray[np.int64]
    member: NDArray[np.int64]
    mark: NDArray[np.uint64]

    def where(self, kept: NDArray[np.bool_]) -> _Rows:
        """Some of them."""
        return _Rows(self.place[kept], self.cell[kept], self.member[kept], self.mark[kept])

    def of(self, member: int) -> _Rows:
        """One member's."""
        return self.where(self.member == member)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each cell's rows begin."""
        return np.flatnonzero(np.diff(self.cell, prepend=-1))

    def several(self) -> _Rows:
        """Those of cells of two rows or more."""
        sizes = np.diff(self.starts, append=len(self.cell))
        return self.where(np.repeat(sizes > 1, sizes))


def find_copies(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows repeat an earlier one and are no samples of their own (n,), in a table that does not number samples.

    Two kinds. *The table, or a member, stands there m times*: in every cell of more than one row each distinct row
    occurs a multiple of m >= 2 times, and chance would hardly do that; of each, one in m is kept. *A row stands there
    again* that is unlike those of other cells (a response, a count of tokens, a score with decimals); one is kept. That
    two rows are both "passed" is no sign of a copy.

    Args:
        rows: prompt and member by number, sorted by both, and the columns that are compared; a missing reward is no
            copy.
    """
    copies = np.zeros(len(rows), dtype=bool)
    every = _numbered(rows)
    several = every.several()
    again = several.where(pd.DataFrame({"cell": several.cell, "mark": several.mark}).duplicated().to_numpy())
    if not len(again.place):
        return copies
    for part in (every, *(every.of(member) for member in np.unique(every.member))):
        times = _times(part)
        if times > 1:
            earlier = pd.DataFrame({"cell": part.cell, "mark": part.mark}).groupby(["cell", "mark"]).cumcount()
            many = pd.Series(1, index=earlier.index).groupby([part.cell, part.mark]).transform("size")
            copies[part.place[(earlier >= (many // times).clip(lower=1)).to_numpy()]] = True
            if part is every:
                return copies
    copies[again.place[np.isin(again.mark, _telling(every))]] = True
    return copies


@dataclass(frozen=True)
class Likeness:
    """How much of a member's rows are one response again; of several blocks of rows they add up.

    Attributes:
        alike: cells of two rows or more that hold equal rows alone.
        several: cells of two rows or more.
        times: how often every row stands there; 0 where there is no such cell.
        varied: whether not all rows are equal.
        sure: whether equal rows tell a copy: by responses, or because rows of different cells are seldom equal.
    """

    alike: int = 0
    several: int = 0
    times: int = 0
    varied: bool = False
    sure: bool = True

    def __add__(self, other: Likeness) -> Likeness:
        return Likeness(
            self.alike + other.alike, self.several + other.several, math.gcd(self.times, other.times),
            self.varied or other.varied, self.sure and other.sure,
        )  # fmt: skip

    @property
    def mostly(self) -> bool:
        """Whether most cells hold one response alone."""
        return self.alike > MOST_ALIKE * self.several

    @property
    def suspect(self) -> str | None:
        """What speaks against the member's samples being drawn one by one; None where nothing does.

        Most of its cells hold one response K times (by the responses where they were read, else by what else is known
        of them, where that is telling); no two samples of any cell differ, which makes the noise exactly 0; or all its
        rows stand there several times.
        """
        if (self.sure and self.mostly) or (0 < self.alike == self.several and self.varied):
            return f"all samples of a prompt are equal in {self.alike:,} of {self.several:,} cells"
        return f"every row stands there {self.times} times" if self.times > 1 else None


def likeness(rows: pd.DataFrame, members: int, read: bool) -> list[Likeness]:
    """The likeness of each member's rows.

    Args:
        rows: as in `find_copies`, samples numbered.
        members: how many there are.
        read: whether the table has responses.
    """
    every = _numbered(rows, ["response"] if read else COMPARED)
    return [_likeness(every.of(member), read) for member in range(members)]


def _likeness(part: _Rows, read: bool) -> Likeness:
    several = part.several()
    if not len(several.place):
        return Likeness()
    starts = several.starts
    sizes = np.diff(starts, append=len(several.cell))
    equal = np.logical_and.reduceat(several.mark == np.repeat(several.mark[starts], sizes), starts)
    times = _times(part)
    found = Likeness(int(equal.sum()), len(starts), times, bool((part.mark != part.mark[0]).any()))
    sure = read or times > 1 or not found.mostly or np.isin(part.mark, _telling(part)).mean() > MOST_ALIKE
    return replace(found, sure=bool(sure))


def doubt(found: Mapping[str, str]) -> str | None:
    """Why the noise of a table's rewards is not to be believed, of what `suspects` found; None where nothing is."""
    if not found:
        return None
    who = "; ".join(f"{name}: {why}" for name, why in list(found.items())[:4])
    more = f"; and {len(found) - 4} more members" if len(found) > 4 else ""
    return (
        f"not to be believed, because samples look like copies ({who}{more}): a cache that answers again, rows logged "
        "twice, or temperature 0"
    )


def _numbered(rows: pd.DataFrame, columns: Iterable[str] | None = None) -> _Rows:
    place = np.flatnonzero(rows["reward"].notna())
    kept = rows if len(place) == len(rows) else rows.iloc[place]
    compared = [*COMPARED, "response"] if columns is None else list(columns)
    mark = np.zeros(len(kept), dtype=np.uint64)
    for column in compared:
        if column in kept:
            values = kept[column].to_numpy()
            plain = values + 0.0 if values.dtype.kind == "f" else values  # + 0.0 turns -0.0 into 0.0
            mark = mark * np.uint64(0x9E3779B97F4A7C15) + pd.util.hash_array(plain)
    member = kept["member"].to_numpy(dtype=np.int64)
    cell = kept["prompt"].to_numpy(dtype=np.int64) * (int(member.max(initial=0)) + 1) + member
    return _Rows(place, cell, member, mark)


def _telling(rows: _Rows) -> NDArray[np.uint64]:
    """Marks that are so seldom that two equal ones in a cell are one row twice."""
    marks, cells = _cells_of_marks(rows)
    seldom = (cells - 1) <= _SELDOM * cells.sum()
    return marks[seldom] if _chance_of_equal(cells[seldom]) <= _SELDOM else marks[:0]


def _cells_of_marks(rows: _Rows) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The marks there are, and in how many cells each stands."""
    distinct = pd.DataFrame({"cell": rows.cell, "mark": rows.mark}).drop_duplicates()
    marks, cells = np.unique(distinct["mark"].to_numpy(), return_counts=True)
    return marks, cells


def _chance_of_equal(cells: NDArray[np.int64]) -> float:
    """Of two rows of different cells being equal, from how many cells hold each mark; never quite 0."""
    total = int(cells.sum())
    return float(((cells * (cells - 1)).sum() / 2 + 1) / (total * (total - 1) / 2 + 1))


def _times(rows: _Rows) -> int:
    """How often the rows stand there: m >= 2 where chance would hardly make all of them multiples of m, else 1."""
    part = rows.several()
    some = part.where(part.cell <= part.cell[:_LOOKED_AT][-1]) if len(part.cell) else part
    if _common(some)[0] < 2:  # what does not divide the counts of some cells does not divide those of all
        return 1
    times, several = _common(part)
    if times < 2:
        return 1
    log_chance = 0.0  # two rows of one cell are equal by chance as often as two of different cells, or so
    for member, cells in several.groupby("member")["cell"]:
        log_chance += cells.nunique() * np.log(_chance_of_equal(_cells_of_marks(rows.of(int(str(member))))[1]))
    return times if log_chance < np.log(_CHANCE) else 1


def _common(rows: _Rows) -> tuple[int, pd.DataFrame]:
    """What divides all counts of equal rows in a cell, 0 for no rows, and the counts: member, cell, mark, times."""
    counted = pd.DataFrame({"member": rows.member, "cell": rows.cell, "mark": rows.mark})
    counted = counted.groupby(["member", "cell", "mark"]).size().rename("times").reset_index()
    return int(np.gcd.reduce(counted["times"].to_numpy(), initial=0)), counted
