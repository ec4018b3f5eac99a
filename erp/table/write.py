"""Writing a reward table in its folder form, so that it opens in `datasets`, pandas or DuckDB."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError
from erp.files import write_json
from erp.formats.table import TABLE
from erp.table.folder import KEYS, MANIFEST, reward_folder
from erp.table.schema import MEASURE_COLUMNS, PROMPT_COLUMNS, RewardTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PART_ROWS = 1 << 21  # of a part
EARLIER, LOCK = "earlier", "lock"  # in a workspace: the folder that was there before, and the file that is locked


class TableWriter:
    """The parts of a folder as they come, in a folder that is not there yet.

    Args:
        folder: where they go.
        reward_model: whose rewards they are.
    """

    def __init__(self, folder: Path, reward_model: str) -> None:
        self.folder = folder
        self.reward_model = reward_model
        self.rewards = reward_folder(folder, reward_model)
        (folder / "samples").mkdir(parents=True)
        self.rewards.mkdir(parents=True)
        self._open: dict[str, pyarrow.parquet.ParquetWriter] = {}
        self._parts = self._rows = 0

    def add_prompts(self, prompts: pd.DataFrame) -> None:
        """Prompts, in the columns of `erp.table.schema.PROMPT_COLUMNS`; each once, over all calls."""
        texts = prompts[list(PROMPT_COLUMNS)].astype("str")  # null columns would have no type in parquet
        self._write("prompts.parquet", pyarrow.Table.from_pandas(texts, preserve_index=False))

    def add_samples(self, rows: pd.DataFrame) -> None:
        """Samples: prompt_id, model, sample, reward, and whatever else is known of each, always the same columns."""
        if self._rows >= PART_ROWS:
            self._close(".parquet", but="prompts.parquet")
            self._parts, self._rows = self._parts + 1, 0
        self._rows += len(rows)
        part = f"part-{self._parts:05d}.parquet"
        table = pyarrow.Table.from_pandas(rows, preserve_index=False)
        self._write(f"samples/{part}", table.drop_columns("reward"))
        self._write(f"{self.rewards.relative_to(self.folder)}/{part}", table.select([*KEYS, "reward"]))

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Close the parts, and write the manifests."""
        self._close("")
        write_json(self.rewards / MANIFEST, {"reward_model": self.reward_model, "higher_is_better": True})
        write_json(self.folder / MANIFEST, TABLE.numbered({**manifest, "reward_models": [self.reward_model]}))

    def close(self) -> None:
        """Close the parts, as far as they are written."""
        self._close("")

    def _write(self, name: str, table: pyarrow.Table) -> None:
        if name not in self._open:
            self._open[name] = pyarrow.parquet.ParquetWriter(self.folder / name, table.schema)
        self._open[name].write_table(table)

    def _close(self, suffix: str, but: str = "") -> None:
        for name in [name for name in self._open if name.endswith(suffix) and name != but]:
            self._open.pop(name).close()


@contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A hidden folder beside a folder, for what is to take its place; one process has it, and leaves nothing.

    What a killed process left there is cleared away; a folder that it had put aside is put back.

    Raises:
        ErpError: another process has it.
    """
    place = folder.parent / f".{folder.name}.writing"
    lock = _lock_of(place)
    try:
        if (place / EARLIER).exists() and not folder.exists():
            (place / EARLIER).replace(folder)
        for left in place.iterdir():
            if left.name != LOCK:
                shutil.rmtree(left, ignore_errors=True)
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def _lock_of(place: Path) -> int:
    """The open and locked file of a workspace; the system unlocks it when a process dies."""
    while True:
        place.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # whoever had it has removed it meanwhile
            lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (place / LOCK).stat().st_ino == os.fstat(lock).st_ino:
                    return lock
            except BlockingIOError:
                os.close(lock)
                folder = place.with_name(place.name[1:].removesuffix(".writing"))
                raise ErpError(
                    f"out = {folder}: another process is writing it; wait for it, or give another name"
                ) from None
            os.close(lock)


@contextmanager
def writing(folder: Path, reward_model: str, place: Path) -> Iterator[TableWriter]:
    """Write a folder that appears whole or not at all; it takes the place of an earlier one.

    Args:
        folder: the table's.
        reward_model: whose rewards they are.
        place: its `workspace`.
    """
    writer = TableWriter(place / "table", reward_model)
    try:
        yield writer
        if folder.exists() and any(folder.iterdir()):
            folder.replace(place / EARLIER)
        writer.folder.replace(folder)  # takes the place of an empty folder too
    finally:
        writer.close()
        if (place / EARLIER).exists() and not folder.exists():
            (place / EARLIER).replace(folder)


def write_table(table: RewardTable, folder: Path) -> None:
    """Write the table as a folder: all of it or nothing, manifest last.

    A folder that already holds this very table is left as it is.

    Raises:
        ErpError: The folder holds something else, or is a file.
    """
    fingerprint = table.fingerprint()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if (manifest_of(folder) or {}).get("fingerprint") == fingerprint:
            return
        raise ErpError(
            f"folder = {folder}: it is not empty and does not hold this table; "
            "allowed are a new or an empty folder; choose another or remove it"
        )
    rows = table.samples[["sample", "reward", "n_samples", *MEASURE_COLUMNS]].copy()
    ids = table.prompts["prompt_id"].to_numpy(dtype=object)
    rows.insert(0, "prompt_id", ids[table.samples["prompt"].to_numpy()])
    rows.insert(1, "model", np.array(table.members, dtype=object)[table.samples["member"].to_numpy()])
    with workspace(folder) as place, writing(folder, table.reward_model, place) as writer:
        writer.add_prompts(table.prompts)
        writer.add_samples(rows.astype({"prompt_id": "str", "model": "str"}))
        writer.finish(
            {
                "fingerprint": fingerprint,
                "prompts": len(table.prompts),
                "samples": len(table.samples),
                "members": list(table.members),
            }
        )


def manifest_of(folder: Path) -> dict[str, Any] | None:
    """What a finished folder's manifest says; None where there is none."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) else None
