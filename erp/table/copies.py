"""Rows that are copies of others and no samples, and members whose samples are all one response.

A copy is told from two samples that happen to be equal: by how seldom rows of *different* cells are. Rows are compared
by all that was read of them: reward, tokens, cost, n_samples, and the response where the file has it.
"""

from __future__ import annotations

from dataclasses import dataclass
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
MOST_ALIKE = 0.5  # share of a member's cells that hold one and the same response, from which its noise is not believed


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows with a reward: number of their cell and member, and of what stands in them (n,); equal number, equal row."""

    place: NDArray[np.int64]
    cell: NDArray[np.int64]
    member: NDArray[np.int64]
    mark: NDArray[np.int64]

    def of(self, member: int) -> _Rows:
        """One member's."""
        kept = self.member == member
        return _Rows(self.place[kept], self.cell[kept], self.member[kept], self.mark[kept])


def find_copies(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows repeat an earlier one and are no samples of their own (n,), in a table that does not number samples.

    Two kinds. *The table, or a member, stands there m times*: in every cell of more than one row each distinct row
    occurs a multiple of m >= 2 times, and chance would hardly do that; of each, one in m is kept. *A row stands there
    again* that is unlike those of other cells (a response, a count of tokens, a score with decimals); one is kept. That
    two rows are both "passed" is no sign of a copy.

    Args:
        rows: Of the long form: prompt_id, model and the columns that are compared; a missing reward is no copy.
    """
    copies = np.zeros(len(rows), dtype=bool)
    every = _numbered(rows)
    again = pd.DataFrame({"cell": every.cell, "mark": every.mark}).duplicated().to_numpy()
    if not again.any():
        return copies
    for part in (every, *(every.of(member) for member in np.unique(every.member))):
        times = _times(part)
        if times > 1:
            earlier = pd.DataFrame({"cell": part.cell, "mark": part.mark}).groupby(["cell", "mark"]).cumcount()
            many = pd.Series(1, index=earlier.index).groupby([part.cell, part.mark]).transform("size")
            copies[part.place[(earlier >= (many // times).clip(lower=1)).to_numpy()]] = True
            if part is every:
                return copies
    copies[every.place[again & _telling(every)[every.mark]]] = True
    return copies


def suspects(rows: pd.DataFrame) -> dict[str, str]:
    """Members whose samples are hardly drawn one by one: name -> what speaks against it.

    Most of its cells hold one response K times (by the responses where they were read, else by what else is known of
    them, where that is telling); no two samples of any cell differ, which makes the noise exactly 0; or all its rows
    stand there several times.

    Args:
        rows: Of the long form, samples numbered.
    """
    every = _numbered(rows, ["response"] if _has_responses(rows) else COMPARED)
    names = sorted(rows["model"].dropna().unique())
    found = {}
    for member in np.unique(every.member):
        part = every.of(member)
        (alike, several), times = _alike(part), _times(part)
        sure = _has_responses(rows) or times > 1 or _telling(part)[part.mark].mean() > MOST_ALIKE
        if (sure and alike > MOST_ALIKE * several) or (0 < alike == several and len(np.unique(part.mark)) > 1):
            found[str(names[member])] = f"all samples of a prompt are equal in {alike:,} of {several:,} cells"
        elif times > 1:
            found[str(names[member])] = f"every row stands there {times} times"
    return found


def mostly_alike(rows: pd.DataFrame) -> bool:
    """Whether some member's samples may be one response in most cells, so that the responses are worth reading."""
    every = _numbered(rows, COMPARED)
    counts = (_alike(every.of(member)) for member in np.unique(every.member))
    return any(alike > MOST_ALIKE * several for alike, several in counts)


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


def _alike(rows: _Rows) -> tuple[int, int]:
    """How many cells of two rows or more hold equal rows alone, and how many such cells there are."""
    cells = pd.DataFrame({"cell": rows.cell, "mark": rows.mark}).groupby("cell")["mark"].agg(["size", "nunique"])
    several = cells[cells["size"] > 1]
    return int((several["nunique"] == 1).sum()), len(several)


def _has_responses(rows: pd.DataFrame) -> bool:
    return "response" in rows and bool(rows["response"].notna().any())


def _numbered(rows: pd.DataFrame, columns: Iterable[str] | None = None) -> _Rows:
    seen = rows["reward"].notna() & rows["prompt_id"].notna() & rows["model"].notna()
    kept = rows[seen.to_numpy()]
    compared = [*COMPARED, "response"] if columns is None else list(columns)
    marks = [pd.factorize(kept[column], use_na_sentinel=False)[0] for column in compared if column in kept]
    member = pd.factorize(kept["model"], sort=True)[0].astype(np.int64)
    prompt = pd.factorize(kept["prompt_id"])[0].astype(np.int64)
    cell = prompt * (int(member.max(initial=0)) + 1) + member
    return _Rows(np.flatnonzero(seen.to_numpy()), cell, member, _one_number(marks, len(kept)))


def _one_number(codes: list[NDArray[np.int64]], size: int) -> NDArray[np.int64]:
    """A number for each distinct combination of codes (n,)."""
    number = np.zeros(size, dtype=np.int64)
    for code in codes:
        number = np.unique(number * (int(code.max(initial=0)) + 1) + code, return_inverse=True)[1].astype(np.int64)
    return number


def _telling(rows: _Rows) -> NDArray[np.bool_]:
    """Which marks (their number + 1,) are so seldom that two equal ones in a cell are one row twice."""
    cells = _cells_of_marks(rows)
    seldom = (cells - 1) <= _SELDOM * cells.sum()
    return np.asarray(seldom & (_chance_of_equal(cells[seldom]) <= _SELDOM))


def _cells_of_marks(rows: _Rows) -> NDArray[np.int64]:
    """In how many cells each mark stands (marks,)."""
    distinct = pd.DataFrame({"cell": rows.cell, "mark": rows.mark}).drop_duplicates()
    return np.bincount(distinct["mark"].to_numpy(), minlength=int(rows.mark.max(initial=-1)) + 1)


def _chance_of_equal(cells: NDArray[np.int64]) -> float:
    """Of two rows of different cells being equal, from how many cells hold each mark; never quite 0."""
    total = int(cells.sum())
    return float(((cells * (cells - 1)).sum() / 2 + 1) / (total * (total - 1) / 2 + 1))


def _times(rows: _Rows) -> int:
    """How often the rows stand there: m >= 2 where chance would hardly make all of them multiples of m, else 1."""
    counted = pd.DataFrame({"cell": rows.cell, "member": rows.member, "mark": rows.mark})
    counted = counted.groupby(["member", "cell", "mark"]).size().rename("times").reset_index()
    several = counted[counted.groupby("cell")["times"].transform("sum") > 1]
    times = int(np.gcd.reduce(several["times"].to_numpy(), initial=0))
    if times < 2:
        return 1
    log_chance = 0.0  # two rows of one cell are equal by chance as often as two of different cells, or so
    for member, cells in several.groupby("member")["cell"]:
        log_chance += cells.nunique() * np.log(_chance_of_equal(_cells_of_marks(rows.of(int(str(member))))))
    return times if log_chance < np.log(_CHANCE) else 1
