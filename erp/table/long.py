"""Where a long table's rows come from: files of one kind, or a dataset of the hub. Values are left as they are."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.files import whole_text
from erp.table.asked import PromptFrom
from erp.table.records import delimiter_of, rows
from erp.table.rows import under_our_names
from erp.table.schema import MEASURE_COLUMNS, REQUIRED_COLUMNS
from erp.table.shape import require_single, selection
from erp.table.shards import Shard, shards, unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_NUMBERS = ("reward", "sample", "n_samples", *MEASURE_COLUMNS)
_HUB_FILE = re.compile(r"^hf:/{1,2}datasets/[^/]+/[^/]+/.+")
_HUB = re.compile(r"^hf:/{1,2}datasets/([^/:@]+/[^/:@]+)(?::([^/]+))?$")
_SEEN = 200  # rows that are looked at for what a column holds


@dataclass(frozen=True)
class Source:
    """A long table that is not read yet.

    Attributes:
        path: a file, a folder, a pattern, or hf://datasets/<owner>/<name>[:split].
        columns: our name -> the file's name, for the columns that are named differently there.
        config_name: which configuration of a dataset of the hub.
    """

    path: str
    columns: Mapping[str, str]
    config_name: str | None = None

    @property
    def named(self) -> str:
        """How errors call it."""
        return f"data.path = {self.path}"


@dataclass(frozen=True)
class _Read:
    """What was read: a frame with the table's own names, our name -> its, and notes."""

    frame: pd.DataFrame
    chosen: Mapping[str, str]
    notes: tuple[str, ...] = ()


def long_rows(source: Source, prompt_from: PromptFrom) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rows of a long table under our column names, and notes.

    Raw values, but for conversations, of which the text is taken that is asked; index 0..n-1 = row of the file, or of
    all files, one behind the other in the order of their names.

    Raises:
        ErpError: The path cannot be read, or lacks columns.
    """
    try:
        if source.path.startswith("hf:") and not _HUB_FILE.match(source.path):
            read = _hub(source)
        else:
            path = re.sub("^hf:/+", "hf://", source.path)  # pathlib makes one stroke of two
            files = shards(source.named, path, ("parquet", "json", "csv"))
            read = {"parquet": _parquet, "json": _json, "csv": _csv}[files[0].kind](source, files)
    except ErpError:
        raise
    except Exception as error:  # parse, decode and JSON errors, and those of every cloud's client
        raise unreadable(source.named, error, "check that it is whole, of the kind its name says, and UTF-8") from error
    return under_our_names(source.named, read.frame, read.chosen, prompt_from), read.notes


def _parquet(source: Source, files: Sequence[Shard]) -> _Read:
    schemas: dict[str, pyarrow.DataType] = {}
    for shard in files:
        with shard.opened() as stream:
            schema = pyarrow.parquet.read_schema(stream)
            require_single(source.named, schema.names, source.columns)
            schemas |= {field.name: field.type for field in schema}
        schemas |= dict.fromkeys(shard.columns, pyarrow.string())
    numbers = [n for n, t in schemas.items() if pyarrow.types.is_integer(t) or pyarrow.types.is_floating(t)]
    chosen = selection(source.named, list(schemas), source.columns, numbers)
    tables = []
    for shard in files:
        with shard.opened() as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            own = [name for name in dict.fromkeys(chosen.values()) if name in file.schema_arrow.names]
            table = file.read(columns=own)
        for name, value in shard.columns.items():
            if name in chosen.values() and name not in own:
                table = table.append_column(name, pyarrow.array([value] * len(table), pyarrow.string()))
        tables.append(table)
    try:
        whole = pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise ErpError(f"{source.named}: its files have columns of different types ({error}); convert them") from error
    return _Read(whole.to_pandas(ignore_metadata=True, integer_object_nulls=True), chosen)


def _csv(source: Source, files: Sequence[Shard]) -> _Read:
    frames, signs = [], set()
    for shard in files:
        with shard.opened() as stream:
            data = io.BytesIO(stream.read())
        if not data.getbuffer().nbytes:
            continue  # no rows; a folder's other files may have some
        header = data.readline().decode("utf-8-sig")
        sign = delimiter_of(header, (*REQUIRED_COLUMNS, *source.columns.values()))
        require_single(
            source.named, next(csv.reader([header], delimiter=sign), []), source.columns
        )  # pandas renames them
        data.seek(0)
        # every cell as text and only the empty one missing: a model may be called "NA", and 007 is not 7
        frame = pd.read_csv(data, sep=sign, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
        if not isinstance(frame.index, pd.RangeIndex):  # pandas takes a surplus first cell of every row for an index
            raise ErpError(
                f"{source.named}: the rows have more cells than the header has names; "
                f"the cells are read as separated by {sign!r}; quote those that hold it"
            )
        frames.append(frame.assign(**{name: value for name, value in shard.columns.items() if name not in frame}))
        signs.add(sign)
    if not frames:
        return _nothing()
    whole = pd.concat(frames, ignore_index=True)
    seen = whole.head(_SEEN)
    numbers = [str(name) for name in seen if not pd.to_numeric(seen[name], errors="coerce").isna().all()]
    chosen = selection(source.named, [str(name) for name in whole.columns], source.columns, numbers)
    notes = tuple(f"the file's cells are separated by {sign!r}, as its header is" for sign in sorted(signs - {","}))
    return _Read(whole, chosen, notes)


def _json(source: Source, files: Sequence[Shard]) -> _Read:
    """Objects; by json and not pandas.read_json, which turns the id "007" into 7 and dates into times."""
    records = [record for _, record in rows(source.named, files)]
    if not records:
        return _nothing()
    present = list(dict.fromkeys(key for record in records for key in record))
    numbers = list(dict.fromkeys(k for r in records[:_SEEN] for k, v in r.items() if type(v) in (int, float)))
    chosen = selection(source.named, present, source.columns, numbers)
    # numbers in their own type at once; ids stay as they are, as null among them would make floats of them
    plain = {theirs for ours, theirs in chosen.items() if ours in _NUMBERS}
    columns = {
        theirs: pd.Series([_whole(r.get(theirs)) for r in records], dtype=None if theirs in plain else "object")
        for theirs in dict.fromkeys(chosen.values())
    }
    return _Read(pd.DataFrame(columns), chosen)


def _nothing() -> _Read:
    """Of files without a row: what is said of an empty table says it of them."""
    return _Read(pd.DataFrame(columns=list(REQUIRED_COLUMNS)), {name: name for name in REQUIRED_COLUMNS})


def _whole(value: object) -> object:
    return whole_text(value) if isinstance(value, str) else value


def _hub(source: Source) -> _Read:
    match = _HUB.match(source.path)
    if match is None:
        raise ErpError(f"{source.named}: not a dataset of the hub; write hf://datasets/<owner>/<name>[:split]")
    import datasets  # here, because it is slow to import and only this form of path needs it

    name, split = match.groups()
    configured = () if source.config_name is None else (source.config_name,)
    try:
        splits = [split] if split else datasets.get_dataset_split_names(name, *configured)
        data: Any = datasets.load_dataset(name, *configured, split=splits[0]) if len(splits) == 1 else None
    except Exception as error:  # the hub's client raises a dozen unrelated kinds
        advice = "check the name, the split, data.config_name and the network"
        raise unreadable(source.named, error, advice) from error
    if data is None:
        raise ErpError(
            f"{source.named}: the dataset has several splits; they are {shorten(splits)}; "
            f"name one, for example {source.path}:{splits[0]}"
        )
    types = {
        column: str(getattr(kind, "dtype", "")) for column, kind in (getattr(data, "features", None) or {}).items()
    }
    numbers = [column for column, kind in types.items() if kind.startswith(("int", "uint", "float"))]
    chosen = selection(source.named, data.column_names, source.columns, numbers)
    return _Read(data.select_columns(list(dict.fromkeys(chosen.values()))).to_pandas(), chosen)
