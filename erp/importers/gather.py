"""A source's rows, checked value by value as they come, and put aside until all of them are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.files import whole_text
from erp.importers.documents import Documents
from erp.table.columns import Faults, distinct, number_column, show, text_column, whole_column
from erp.table.lexicon import Lexicon
from erp.table.partitions import Partitions
from erp.table.schema import MEASURE_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from erp.importers.ledger import Ledger

Repeats = Literal["error", "samples"]
NO_SCORE = "there is no score"
INFINITE = "the score is infinite"
_COUNT = "allowed is a number of at least 0"
_TEXTS = ("response", "finish_reason")
_SAID = ("prompt_id", "category", "group", "split", "reference", *_TEXTS)  # texts that need not be there
_SCHEMA = pyarrow.schema(
    [
        ("prompt", pyarrow.int32()), ("member", pyarrow.int32()), ("reason", pyarrow.int32()),
        ("reward", pyarrow.float64()),
        ("n_samples", pyarrow.int64()), *((name, pyarrow.float64()) for name in MEASURE_COLUMNS),
        *((name, pyarrow.large_string()) for name in _TEXTS), ("failed", pyarrow.bool_()),
    ]
)  # fmt: skip


class _Refused(Faults):
    """What is wrong with rows, told to the ledger; remembers which they are."""

    def __init__(self, ledger: Ledger, rows: pd.DataFrame) -> None:
        super().__init__("")
        self._ledger, self._rows = ledger, rows
        self.bad = np.zeros(len(rows), dtype=bool)

    def rows(self, bad: NDArray[np.bool_], values: pd.Series, wrong: str) -> None:
        for at in np.flatnonzero(bad & ~self.bad).tolist():
            row = self._rows.iloc[at]
            which = ", ".join(f"{key} {show(row[key])}" for key in ("model", "prompt_id") if key in row)
            self._ledger.fault(f"{values.name}: {wrong}", f"{which}: {values.name} = {show(values.iloc[at])}")
        self.bad |= bad


class Gathered:
    """Rows as they come.

    Args:
        folder: where they are put aside.
        ledger: is told of those that are no rows.
        asker: the member whose texts are taken (`Documents`).

    Attributes:
        members: names by number.
        documents: the prompts.
        keys: of every row: prompt, member, sample, whether it has one, and a hash of all that it says.
        reasons: why rows have no score, by number.
        largest: size of the largest score.
    """

    def __init__(self, folder: Path, ledger: Ledger, asker: str | None) -> None:
        self._file, self._ledger = folder / "rows.parquet", ledger
        self.members = Lexicon()
        self.documents = Documents(folder / "prompts.parquet", ledger, self.members, asker)
        self.keys = Partitions(
            {"prompt": "i4", "member": "i4", "row": "i8", "sample": "i8", "numbered": "?", "content": "u8"}
        )
        self.reasons = Lexicon()
        self.largest = 0.0
        self._count = 0
        self._writer: pyarrow.parquet.ParquetWriter | None = None

    def take(self, raw: pd.DataFrame) -> None:
        """Check raw rows, whose columns are keys of `erp.importers.base.Row`, and put the good ones aside."""
        refused = _Refused(self._ledger, raw)
        for column in ("model", "prompt"):
            text_column(raw[column], refused, required=True)
        raw = raw.assign(**{name: _written(raw[name], refused) for name in _SAID if name in raw})
        values = _values(raw, refused)
        rows = raw[~refused.bad].reset_index(drop=True)
        values = {name: value[~refused.bad] for name, value in values.items()}
        if not len(rows):
            return
        member = self.members.numbers(distinct(rows["model"].map(_whole).astype(object)))
        document, contradicts = self.documents.numbers(rows, member)
        kept = ~contradicts
        values = {name: value[kept] for name, value in values.items()}
        self._put(document[kept], member[kept], rows[kept].reset_index(drop=True), values)

    def _put(
        self, document: NDArray[np.int64], member: NDArray[np.int64], raw: pd.DataFrame, values: dict[str, NDArray[Any]]
    ) -> None:
        failed, reason = self._without_score(raw, values["reward"])
        values = {**values, "reward": np.where(reason < 0, values["reward"], np.nan), "failed": failed}
        self.largest = max(self.largest, float(np.nanmax(np.abs(values["reward"]), initial=0.0)))
        rows = pd.DataFrame({"prompt": document, "member": member, "reason": reason, **values})
        for name in _TEXTS:
            rows[name] = raw[name].map(_whole, na_action="ignore").astype(object) if name in raw else None
        sample, numbered = rows.pop("sample").to_numpy(), rows.pop("numbered").to_numpy()
        content = pd.util.hash_pandas_object(rows[[*_SCHEMA.names[3:]]], index=False).to_numpy()
        count = np.arange(self._count, self._count + len(rows))
        self._count += len(rows)
        self.keys.add({"prompt": document, "member": member, "row": count, "sample": sample, "numbered": numbered,
                       "content": content})  # fmt: skip
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._file, _SCHEMA)
        self._writer.write_table(pyarrow.Table.from_pandas(rows, schema=_SCHEMA, preserve_index=False))

    def _without_score(
        self, raw: pd.DataFrame, reward: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Which rows failed (n,), and the number of why each has no score, -1 where it has one."""
        reasons = pd.Series(None, index=raw.index, dtype=object)
        reasons[np.isinf(reward)], reasons[np.isnan(reward)] = INFINITE, NO_SCORE
        failed = np.zeros(len(raw), dtype=bool)
        for column in ("unscored", "error"):
            if column in raw:
                told = raw[column].notna().to_numpy()
                reasons[told] = raw.loc[told, column].map(str)
                failed = told if column == "error" else failed
        return failed, self.reasons.numbers(distinct(reasons))

    def __len__(self) -> int:
        return self._count

    def rows(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """All rows again, some at a time, with the number of the first."""
        if self._writer is None:
            return
        self._writer.close()
        start = 0
        for batch in pyarrow.parquet.ParquetFile(self._file, pre_buffer=False).iter_batches(1 << 16):
            yield start, batch.to_pandas()
            start += batch.num_rows


def _values(raw: pd.DataFrame, refused: _Refused) -> dict[str, NDArray[Any]]:
    """Numbers of rows; what is none is refused."""
    size = len(raw)
    values: dict[str, NDArray[Any]] = {name: np.full(size, np.nan) for name in ("reward", *MEASURE_COLUMNS)}
    values |= {"n_samples": np.ones(size, dtype=np.int64), "sample": np.zeros(size, dtype=np.int64)}
    values["numbered"] = np.zeros(size, dtype=bool)
    if "reward" in raw:
        values["reward"] = number_column(raw["reward"], refused, or_truth=True)
    for name in MEASURE_COLUMNS:
        if name in raw:
            values[name] = number_column(raw[name], refused)
            refused.rows((values[name] < 0) | np.isinf(values[name]), raw[name], _COUNT)
    if "n_samples" in raw:
        values["n_samples"] = whole_column(_filled(raw["n_samples"], 1), refused, 1)
    if "sample" in raw:
        values["numbered"] = raw["sample"].notna().to_numpy()
        values["sample"] = whole_column(_filled(raw["sample"], 0), refused, 0)
    return values


def _written(column: pd.Series, refused: _Refused) -> pd.Series:
    """A column of texts, numbers written out; what is neither is refused."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.infer_dtype(column) in ("string", "empty"):
        return column
    found = text_column(column, refused, required=False)
    return pd.Series(np.array([*found.values, None], dtype=object)[found.codes], column.index, name=column.name)


def _filled(column: pd.Series, value: int) -> pd.Series:
    return column.astype(object).where(column.notna(), value)


def _whole(value: object) -> object:
    return whole_text(value) if isinstance(value, str) else value
