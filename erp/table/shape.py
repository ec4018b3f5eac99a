"""Which columns of a long table are read, and what to do with a table of another shape."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from erp.errors import ErpError, shorten
from erp.table.schema import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def selection(
    named: str, present: Sequence[str], columns: Mapping[str, str], numbers: Sequence[str] = ()
) -> dict[str, str]:
    """Which of the file's columns are read: our name -> the file's name.

    Without a column ``prompt``, that of conversations is read: ``messages``.

    Args:
        named: how errors call the table.
        present: the file's columns.
        columns: our name -> the file's, as the user said.
        numbers: those of the file's columns that hold numbers.

    Raises:
        ErpError: A required column is not there, or `columns` names what does not exist.
    """
    faults = []
    known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    if "prompt" not in present and "prompt" not in columns and "messages" in present:
        columns = {**columns, "prompt": "messages"}
    for ours, theirs in columns.items():
        if ours not in known:
            faults.append(
                f"data.columns.{ours} = {theirs}: a reward table has no column {ours}; "
                f"allowed are {', '.join(known)}; write `ours: theirs`"
            )
        elif theirs not in present:
            faults.append(
                f"data.columns.{ours} = {theirs}: the table has no such column; "
                f"its columns are {shorten(present, 20)}; correct the name"
            )
    lacking = [name for name in REQUIRED_COLUMNS if name not in present and name not in columns]
    if lacking:
        advice = _respelt(present, lacking)
        if advice is None and {"model", "reward"} <= set(lacking):
            advice = _wide(named, columns, numbers)
        faults.append(
            f"{named}: no column {', '.join(lacking)}; its columns are {shorten(present, 20) or 'none'}; "
            + (advice or "name the file's own columns with data.columns, for example data.columns.reward=score")
        )
    if faults:
        raise ErpError(*faults)
    wanted = {name: columns.get(name, name) for name in known}
    return {ours: theirs for ours, theirs in wanted.items() if theirs in present}


def require_single(named: str, names: Sequence[str], columns: Mapping[str, str]) -> None:
    """Refuse a file that has a column of ours twice: which of the two is meant, it does not say. Raises ErpError."""
    ours = dict.fromkeys([*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *columns.values()])
    twice = [name for name in ours if list(names).count(name) > 1]
    if twice:
        raise ErpError(*(f"{named}: has two columns {name} or more; one is allowed; drop the others" for name in twice))


def _respelt(present: Sequence[str], lacking: Sequence[str]) -> str | None:
    """How to name columns that are ours but for case and white space; None where one that is lacking is not there."""
    plain = {name.strip().lower(): name for name in present}
    if not set(lacking) <= plain.keys():
        return None
    return (
        f"{', '.join(repr(plain[name]) for name in lacking)} differ in case or white space alone; rename them, in "
        "pandas df.columns = df.columns.str.strip().str.lower()"
    )


def _wide(named: str, columns: Mapping[str, str], numbers: Sequence[str]) -> str | None:
    """How to make a long table of a wide one; None unless it looks like one: two columns of numbers or more."""
    ours = {*OPTIONAL_COLUMNS, *REQUIRED_COLUMNS, *columns.values()}
    models = [name for name in numbers if name not in ours]
    if len(models) < 2:
        return None
    quoted = ",".join(name if re.fullmatch(r"[\w.-]+", name) else f'"{name}"' for name in models)
    command = shlex.join(["erp", "import", f"path={named.partition(' = ')[2]}", f"source.members=[{quoted}]"])
    return (
        f"it looks wide: a row for each prompt and a column for each model ({shorten(models, 4)}); a long table has a "
        f"row for each reward: {command} makes one; leave out columns that are no model's"
    )
