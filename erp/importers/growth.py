"""Whether a table may take the place of what lies at its address: an earlier import of the same, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from erp.errors import ErpError, shorten
from erp.files import jsonable
from erp.table.folder import MANIFEST
from erp.table.write import manifest_of

_PARTS = (MANIFEST, "prompts.parquet", "samples", "rewards")


def require_free(out: Path, path: str, about: Mapping[str, Any]) -> None:
    """Refuse, before anything is read, to take the place of anything but an earlier import of the same kind.

    Args:
        out: the table's folder, resolved.
        path: what is imported.
        about: name and options of the source.

    Raises:
        ErpError: what lies there.
    """
    if "://" not in path and out in Path(path).expanduser().resolve().parents:
        raise ErpError(f"out = {out}: holds path = {path}, and the table would take its place; give another out")
    if not _is_taken(out):
        return
    held = _earlier(out)
    then, now = (_flat({"source": of.get("source"), "options": of.get("options")}) for of in (held["import"], about))
    if differ := [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]:
        told = "; ".join(f"{key} = {then.get(key)}, and this one has {now.get(key)}" for key in differ)
        raise ErpError(f"out = {out}: holds an import with {told}; give another out, or remove it")
    scores = {quote(str(name), safe="") for name in held.get("reward_models", ())}
    other = [found.name for found in out.iterdir() if found.name not in _PARTS]
    other += [f"rewards/{found.name}" for found in out.glob("rewards/*") if found.name not in scores]
    if other := sorted(name for name in other if not name.startswith(".")):
        raise ErpError(
            f"out = {out}: holds {shorten(other, 3)} too, which no import made and would be lost; move it, or give "
            "another out"
        )
    if not os.access(out, os.W_OK):
        raise ErpError(f"out = {out}: is write-protected; allow writing (chmod -R u+w), or give another out")


def require_grows(out: Path, reward: str, manifest: Mapping[str, Any]) -> None:
    """Refuse to take the place of an import of other scores or of files that are not there now.

    Args:
        out: the table's folder.
        reward: what its score is called.
        manifest: of the table that would take its place.

    Raises:
        ErpError: what would be lost.
    """
    if not _is_taken(out):
        return
    held = _earlier(out)
    if held.get("reward_models") != [reward]:
        raise ErpError(
            f"out = {out}: holds an import with reward = {shorten(held.get('reward_models') or ())}, and this one has "
            f"{reward}; give another out, or remove it"
        )
    now = {origin["file"] for origin in manifest["import"]["files"]}
    if lost := sorted({str(origin.get("file")) for origin in held["import"].get("files", [])} - now):
        raise ErpError(
            f"out = {out}: was made of files that are not among these: {shorten(lost, 3)}; a table grows, it does not "
            "shrink; give all of its files, or another out"
        )


def _flat(value: object, key: str = "") -> dict[str, Any]:
    """Options within options by the name that they have together."""
    if not isinstance(value, Mapping):
        return {key: jsonable(value)}
    return {name: held for own, part in value.items() for name, held in _flat(part, f"{key}.{own}".lstrip(".")).items()}


def _is_taken(out: Path) -> bool:
    return out.exists() and not (out.is_dir() and not any(out.iterdir()))


def _earlier(out: Path) -> dict[str, Any]:
    held = (manifest_of(out) if out.is_dir() else None) or {}
    if not isinstance(held.get("import"), dict):
        raise ErpError(f"out = {out}: holds something that no import made; give another name")
    return held
