"""The folder form of a reward table, as collecting writes it: prompts, samples and rewards, joined by their keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.formats.table import TABLE
from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.schema import MEASURE_COLUMNS, PROMPT_COLUMNS

MANIFEST = "manifest.json"
MEMBER_FACTS = ("input_usd_per_mtok", "output_usd_per_mtok", "active_parameters")
KEYS = ["prompt_id", "model", "sample"]


def reward_folder(root: Path, reward_model: str) -> Path:
    """Where a reward model's scores lie; its name is escaped, because names of the hub hold a slash."""
    return root / "rewards" / quote(reward_model, safe="")


def is_folder_form(path: str) -> bool:
    """Whether a path is such a folder, finished or begun; any other folder is one of long files."""
    parts = (MANIFEST, "prompts.parquet", "samples", "rewards", "collect.json")
    return "://" not in path and Path(path).is_dir() and any((Path(path) / part).exists() for part in parts)


def folder_rows(root: Path, reward_model: str | None) -> tuple[pd.DataFrame, str, tuple[str, ...]]:
    """Long rows of one reward model, its name, and notes.

    Rows are numbered over samples/part-*.parquet, in order of their names. A sample without a score has a null reward.

    Raises:
        ErpError: The folder is unfinished or unreadable, its parts do not fit, or the reward model is not there.
    """
    if not (root / MANIFEST).is_file():
        raise ErpError(
            f"data.path = {root}: holds no {MANIFEST}, which is written last: it is no reward table, or an "
            "unfinished one; give a finished table's folder, or long files"
        )
    _manifest(root)
    scores, name, higher_is_better = _reward_model(root, reward_model)
    prompts = _read(root, [root / "prompts.parquet"], ["prompt_id", "prompt"], list(PROMPT_COLUMNS[2:]))
    samples = _read(root, _parts(root / "samples"), KEYS, ["n_samples", *MEASURE_COLUMNS])
    rewards = _read(root, _parts(scores), [*KEYS, "reward"], [])
    _check_keys(root, prompts, samples, rewards)
    rows = samples.merge(rewards, on=KEYS, how="left", validate="one_to_one")
    rows = rows.merge(prompts, on="prompt_id", how="left", validate="many_to_one")
    notes = []
    if not higher_is_better:
        rows["reward"] = -rows["reward"]
        notes.append(f"lower is better for {name}: its rewards were negated")
    unused = len(prompts) - rows["prompt_id"].nunique()
    if unused:
        notes.append(f"{unused:,} of {len(prompts):,} prompts have no sample and were left out")
    return rows, name, tuple(notes)


def with_responses(root: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `response`, where the folder has it. It is most of the bytes: read where needed."""
    texts = _read(root, _parts(root / "samples"), KEYS, ["response"])
    return rows if "response" not in texts else rows.merge(texts, on=KEYS, how="left", validate="one_to_one")


def greedy_members(root: Path) -> set[str]:
    """Members that were sampled at temperature 0, as far as the manifest says: their samples are one response."""
    settings = _manifest(root).get("settings")
    members = settings.get("members") if isinstance(settings, dict) else None
    if not isinstance(members, dict):
        return set()
    decoding = {str(name): said.get("decoding") for name, said in members.items() if isinstance(said, dict)}
    return {name for name, said in decoding.items() if isinstance(said, dict) and said.get("temperature") == 0}


def member_facts(root: Path) -> dict[str, dict[str, float]]:
    """What a finished folder's manifest says of its members: prices and parameters, numbers only."""
    entries = _manifest(root).get("pool") or []
    return {
        str(entry["name"]): {key: float(entry[key]) for key in MEMBER_FACTS if isinstance(entry.get(key), int | float)}
        for entry in entries
        if isinstance(entry, dict) and "name" in entry
    }


def asked_by(root: Path, wanted: PromptFrom | None) -> PromptFrom:
    """What was asked of conversations when a finished folder was collected. Raises ErpError: another is wanted."""
    source = (_manifest(root).get("settings") or {}).get("source") or {}
    held: PromptFrom = source.get("prompt_from") or DEFAULT_RULE
    if wanted not in (None, held):
        raise ErpError(
            f"data.prompt_from = {wanted}: {root} was collected with {held}, and holds the texts alone; leave it out"
        )
    return held


def _manifest(root: Path) -> dict[str, Any]:
    return TABLE.read(_json(root / MANIFEST), f"data.path = {root / MANIFEST}")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ErpError(f"data.path = {path}: the manifest cannot be read ({error}); collect again") from error
    if not isinstance(value, dict):
        raise ErpError(f"data.path = {path}: the manifest is not a JSON object; collect again")
    return value


def _reward_model(root: Path, wanted: str | None) -> tuple[Path, str, bool]:
    """Folder of the scores, name, and whether higher is better."""
    folders: dict[str, tuple[Path, dict[str, Any]]] = {}
    unfinished = []
    for folder in sorted(path for path in (root / "rewards").glob("*") if path.is_dir()):
        if (folder / MANIFEST).is_file():
            manifest = _json(folder / MANIFEST)
            folders[str(manifest.get("reward_model", unquote(folder.name)))] = (folder, manifest)
        else:
            unfinished.append(unquote(folder.name))
    also = f" (not scored to the end: {shorten(unfinished)}; erp collect goes on with it)" if unfinished else ""
    if not folders:
        raise ErpError(f"data.path = {root}: no reward model has scored it{also}; score its samples first")
    if wanted is None and len(folders) > 1:
        raise ErpError(f"reward_model.name = null: {root} has several; they are {shorten(folders)}{also}; name one")
    name = next(iter(folders)) if wanted is None else wanted
    if name not in folders:
        raise ErpError(
            f"reward_model.name = {name}: not in {root}; allowed are {shorten(folders)}{also}; name one of them"
        )
    folder, manifest = folders[name]
    higher = manifest.get("higher_is_better", True)
    if not isinstance(higher, bool):
        raise ErpError(f"data.path = {folder / MANIFEST}: higher_is_better = {higher}: allowed are true and false")
    return folder, name, higher


def _parts(folder: Path) -> list[Path]:
    parts = sorted(folder.glob("part-*.parquet"))
    if not parts:
        raise ErpError(f"data.path = {folder}: no part-*.parquet; the collection lacks them; collect again")
    return parts


def _read(root: Path, parts: list[Path], required: list[str], optional: list[str]) -> pd.DataFrame:
    """Parts one below the other, only the columns that are used (responses would be most of the bytes)."""
    frames = []
    for part in parts:
        try:
            names = pyarrow.parquet.read_schema(part).names
            lacking = [column for column in required if column not in names]
            if lacking:
                raise ErpError(f"data.path = {part}: no column {', '.join(lacking)}; its columns are {shorten(names)}")
            chosen = [*required, *(column for column in optional if column in names)]
            frames.append(pyarrow.parquet.read_table(part, columns=chosen))
        except (OSError, pyarrow.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise ErpError(f"data.path = {part}: the file cannot be read ({reason}); collect again") from error
    try:
        table = pyarrow.concat_tables(frames, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise ErpError(f"data.path = {root}: parts have columns of different types ({error}); collect again") from error
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    return frame


def _check_keys(root: Path, prompts: pd.DataFrame, samples: pd.DataFrame, rewards: pd.DataFrame) -> None:
    """Nothing is joined by position, so keys must be unique, and nothing may hang in the air."""
    faults = []
    for frame, keys, name in (
        (prompts, ["prompt_id"], "prompts.parquet"),
        (samples, KEYS, "samples"),
        (rewards, KEYS, "rewards"),
    ):
        again = frame.duplicated(keys)
        if again.any():
            row = int(again.to_numpy().argmax())
            key = ", ".join(str(value) for value in frame.loc[row, keys])
            faults.append(
                f"data.path = {root}: {name}, row {row}, columns {', '.join(keys)} = ({key}): stands there twice "
                f"({int(again.sum()):,} such rows); keys are unique; collect again"
            )
    unknown = samples.loc[~samples["prompt_id"].isin(prompts["prompt_id"]), "prompt_id"].unique()
    if len(unknown):
        faults.append(
            f"data.path = {root}: samples name {len(unknown):,} prompts that prompts.parquet lacks: "
            f"{shorten(unknown, 3)}; collect again"
        )
    scored = rewards.merge(samples[KEYS].drop_duplicates(), on=KEYS, how="left", indicator=True)
    loose = scored["_merge"] == "left_only"
    if loose.any():
        key = ", ".join(str(value) for value in scored.loc[loose, KEYS].iloc[0])
        faults.append(
            f"data.path = {root}: {int(loose.sum()):,} rewards have no sample, the first is ({key}); collect again"
        )
    if faults:
        raise ErpError(*faults)
