"""Writing a reward table in its folder form, so that it opens in `datasets`, pandas or DuckDB."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError
from erp.files import write_json
from erp.formats.table import TABLE
from erp.table.folder import MANIFEST, reward_folder
from erp.table.schema import MEASURE_COLUMNS, PROMPT_COLUMNS, RewardTable

if TYPE_CHECKING:
    from pathlib import Path


def write_table(table: RewardTable, folder: Path) -> None:
    """Write the table as a folder: all of it or nothing, manifest last.

    A folder that already holds this very table is left as it is.

    Raises:
        ErpError: The folder holds something else, or is a file.
    """
    fingerprint = table.fingerprint()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if _fingerprint_of(folder) == fingerprint:
            return
        raise ErpError(
            f"folder = {folder}: it is not empty and does not hold this table; "
            "allowed are a new or an empty folder; choose another or remove it"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    try:
        _write_parts(table, partial)
        write_json(
            partial / MANIFEST,
            TABLE.numbered(
                {
                    "fingerprint": fingerprint,
                    "prompts": len(table.prompts),
                    "samples": len(table.samples),
                    "members": list(table.members),
                    "reward_models": [table.reward_model],
                }
            ),
        )
        partial.replace(folder)  # takes the place of an empty folder too
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fingerprint_of(folder: Path) -> object:
    """The fingerprint that a finished folder's manifest states, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest.get("fingerprint") if isinstance(manifest, dict) else None


def _write_parts(table: RewardTable, folder: Path) -> None:
    scores = reward_folder(folder, table.reward_model)
    (folder / "samples").mkdir(parents=True)
    scores.mkdir(parents=True)
    prompts = table.prompts[list(PROMPT_COLUMNS)].astype("str")  # null columns would have no type in parquet
    prompts.to_parquet(folder / "prompts.parquet", index=False)
    rows = table.samples[["sample", "reward", "n_samples", *MEASURE_COLUMNS]].copy()
    ids = table.prompts["prompt_id"].to_numpy(dtype=object)
    rows.insert(0, "prompt_id", ids[table.samples["prompt"].to_numpy()])
    rows.insert(1, "model", np.array(table.members, dtype=object)[table.samples["member"].to_numpy()])
    rows = rows.astype({"prompt_id": "str", "model": "str"})
    rows.drop(columns="reward").to_parquet(folder / "samples" / "part-00000.parquet", index=False)
    rows[["prompt_id", "model", "sample", "reward"]].to_parquet(scores / "part-00000.parquet", index=False)
    write_json(scores / MANIFEST, {"reward_model": table.reward_model, "higher_is_better": True})
