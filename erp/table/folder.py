"""The folder form of a reward table, as collecting writes it: prompts, samples and rewards, joined by their keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from erp.errors import ErpError, shorten
from erp.formats.table import TABLE
from erp.table.asked import DEFAULT_RULE, PromptFrom

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


@dataclass(frozen=True)
class Scores:
    """A reward model's scores in a folder: its name, where they lie, whether higher is better, what to know of them."""

    reward_model: str
    folder: Path
    higher_is_better: bool
    notes: tuple[str, ...] = ()


def scores_of(root: Path, reward_model: str | None) -> Scores:
    """The scores of the reward model asked for, or of the only one.

    Raises:
        ErpError: The folder is unfinished or unreadable, or the reward model is not there.
    """
    if not (root / MANIFEST).is_file() and (root / "collect.json").is_file():
        raise ErpError(
            f"data.path = {root}: holds no {MANIFEST}, which is written last: erp collect has not sampled it to "
            "the end; give its command again, or a finished table's folder"
        )
    if not (root / MANIFEST).is_file():
        raise ErpError(
            f"data.path = {root}: holds no {MANIFEST}, which is written last: it is no reward table, or an "
            "unfinished one; give a finished table's folder, or long files"
        )
    _manifest(root)
    return _scores(root, reward_model)


def greedy_members(root: Path) -> set[str]:
    """Members that were sampled at temperature 0, as far as the manifest says: their samples are one response."""
    return {name for name, said in decodings(root).items() if said.get("temperature") == 0}


def decodings(root: Path) -> dict[str, dict[str, Any]]:
    """How each member's responses were sampled, as far as the manifest says."""
    settings = _manifest(root).get("settings")
    members = settings.get("members") if isinstance(settings, dict) else None
    if not isinstance(members, dict):
        return {}
    decoding = {str(name): said.get("decoding") for name, said in members.items() if isinstance(said, dict)}
    return {name: said for name, said in decoding.items() if isinstance(said, dict)}


def member_facts(root: Path) -> dict[str, dict[str, float]]:
    """What a finished folder's manifest says of its members: prices and parameters, numbers only."""
    entries = _manifest(root).get("pool") or []
    return {
        str(entry["name"]): {key: float(entry[key]) for key in MEMBER_FACTS if isinstance(entry.get(key), int | float)}
        for entry in entries
        if isinstance(entry, dict) and "name" in entry
    }


def manifest_notes(root: Path) -> tuple[str, ...]:
    """What a finished folder's manifest says that every reader of the table must know."""
    return tuple(map(str, _manifest(root).get("notes") or ()))


def is_observational(root: Path) -> bool:
    """Whether, as a finished folder's manifest says, each prompt was answered by whom somebody chose for it."""
    return _manifest(root).get("observational") is True


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


def _scores(root: Path, wanted: str | None) -> Scores:
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
    notes = [manifest.get("note"), *(manifest.get("notes") or ())]
    return Scores(name, folder, higher, tuple(f"{name}: {note}" for note in notes if note))
