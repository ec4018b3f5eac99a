"""Where rows come from: a parquet, JSON-lines or CSV file, or a dataset of the hub. Values are left as they are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.table.schema import MEASURE_COLUMNS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NUMBERS = ("reward", "sample", "n_samples", *MEASURE_COLUMNS)
_HUB = re.compile(r"^hf:/{1,2}datasets/([^/:]+/[^/:]+)(?::(.+))?$")


def long_rows(path: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Rows of a long table under our column names, raw values, index 0..n-1 = row of the file.

    Args:
        path: A .parquet, .jsonl or .csv file, or hf://datasets/<owner>/<name>[:split].
        columns: Our name -> the file's name, for the columns that are named differently there.

    Raises:
        ErpError: The path cannot be read, or lacks columns.
    """
    readers: dict[str, Callable[[str, Mapping[str, str]], pd.DataFrame]]
    readers = {".parquet": _parquet, ".jsonl": _json_lines, ".csv": _csv}
    if path.startswith("hf:"):
        return _hub(path, columns)
    file = Path(path)
    if not file.exists():
        raise ErpError(f"data.path = {path}: there is no such file or folder; give a reward table's path")
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ErpError(
            f"data.path = {path}: not a known kind of file; a reward table is a folder with a manifest.json or one of "
            f"{', '.join(readers)}; convert the file or correct the path"
        )
    try:
        return reader(path, columns).reset_index(drop=True)
    except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: parse, decode and JSON errors
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ErpError(
            f"data.path = {path}: the file cannot be read ({reason}); "
            f"check that it is a whole {file.suffix.lower()[1:]} file in UTF-8"
        ) from error


def selection(path: str, present: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Which of the file's columns are read: our name -> the file's name.

    Raises:
        ErpError: A required column is not there, or `columns` names what does not exist.
    """
    faults = []
    known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    for ours, theirs in columns.items():
        if ours not in known:
            faults.append(
                f"data.columns.{ours} = {theirs}: a reward table has no column {ours}; "
                f"allowed are {', '.join(known)}; write `ours: theirs`"
            )
        elif theirs not in present:
            faults.append(
                f"data.columns.{ours} = {theirs}: {path} has no such column; "
                f"its columns are {shorten(present, 20)}; correct the name"
            )
    lacking = [name for name in REQUIRED_COLUMNS if name not in present and name not in columns]
    if lacking:
        faults.append(
            f"data.path = {path}: no column {', '.join(lacking)}; its columns are {shorten(present, 20) or 'none'}; "
            "name the file's own columns with data.columns, for example data.columns.reward=score"
        )
    if faults:
        raise ErpError(*faults)
    wanted = {name: columns.get(name, name) for name in known}
    return {ours: theirs for ours, theirs in wanted.items() if theirs in present}


def _renamed(frame: pd.DataFrame, chosen: Mapping[str, str]) -> pd.DataFrame:
    """The chosen columns under our names; one column of the file may serve two of ours."""
    return pd.DataFrame({ours: frame[theirs] for ours, theirs in chosen.items()})


def _parquet(path: str, columns: Mapping[str, str]) -> pd.DataFrame:
    names = pyarrow.parquet.read_schema(path).names
    chosen = selection(path, names, columns)
    table = pyarrow.parquet.read_table(path, columns=list(dict.fromkeys(chosen.values())))
    return _renamed(table.to_pandas(ignore_metadata=True, integer_object_nulls=True), chosen)


def _csv(path: str, columns: Mapping[str, str]) -> pd.DataFrame:
    # every cell as text and only the empty one missing: a model may be called "NA", and 007 is not 7
    frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes a surplus first cell of every row for an index
        raise ValueError("the rows have more cells than the header has names")
    return _renamed(frame, selection(path, [str(c) for c in frame.columns], columns))


def _json_lines(path: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """Objects, one a line; json and not pandas.read_json, which turns the id "007" into 7 and dates into times."""
    records: list[dict[str, object]] = []
    with Path(path).open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number + 1} is not JSON: {error.msg}") from error
            if not isinstance(record, dict):
                raise ValueError(f"line {number + 1} is not a JSON object")
            records.append(record)
    present = list(dict.fromkeys(key for record in records for key in record))
    if not records:
        return pd.DataFrame(columns=list(REQUIRED_COLUMNS))
    chosen = selection(path, present, columns)
    return pd.DataFrame(
        {
            # numbers in their own type at once; ids stay as they are, as null among them would make floats of them
            ours: pd.Series(
                [_whole_text(record.get(theirs)) for record in records], dtype=None if ours in _NUMBERS else "object"
            )
            for ours, theirs in chosen.items()
        }
    )


def _whole_text(value: object) -> object:
    r"""The value, lone surrogates ("\ud800" in JSON) replaced: no file or tokenizer could take them."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _hub(path: str, columns: Mapping[str, str]) -> pd.DataFrame:
    match = _HUB.match(path)
    if match is None:
        raise ErpError(f"data.path = {path}: not a dataset of the hub; write hf://datasets/<owner>/<name>[:split]")
    import datasets  # here, because it is slow to import and only this form of path needs it

    name, split = match.groups()
    try:
        splits = [split] if split else datasets.get_dataset_split_names(name)
        data = datasets.load_dataset(name, split=splits[0]) if len(splits) == 1 else None
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ErpError(
            f"data.path = {path}: the dataset cannot be read ({reason}); check the name, the split and the network"
        ) from error
    if data is None:
        raise ErpError(
            f"data.path = {path}: the dataset has several splits; they are {shorten(splits)}; "
            f"name one, for example {path}:{splits[0]}"
        )
    chosen = selection(path, data.column_names, columns)
    return _renamed(data.select_columns(list(dict.fromkeys(chosen.values()))).to_pandas(), chosen)
