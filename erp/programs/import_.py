"""``erp import``: scores that somebody has already -> a reward table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erp.build import LABEL, as_built, build
from erp.config import ImportConfig, validate
from erp.errors import ErpError, one_line
from erp.files import read_yaml
from erp.importers.base import Importer
from erp.importers.importing import Imported, import_files
from erp.programs.launch import launch
from erp.table.foreign import import_hint

MOST_SHOWN = 20  # categories and members of the coverage that is printed; the manifest has all


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("import", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: ImportConfig = validate("import", container)
    imported = run(config)
    about = imported.manifest["import"]
    if about["not_understood"]:
        left = ", ".join(f"{one_line(reason)} ({count:,})" for reason, count in about["not_understood"].items())
        print(f"erp import: left out as not understood: {left}", file=sys.stderr)
    print(as_text(imported))


def run(config: ImportConfig) -> Imported:
    """Import a source's files into a table's folder.

    Raises:
        ErpError: every fault; nothing is written then.
    """
    source = build(config.source, Importer, key="source")
    options = as_built(config.source, Importer, key="source")
    about = {"source": options.pop(LABEL, options["_target_"]),
             "options": {**options, "prompts": config.prompts, "repeats": config.repeats}}  # fmt: skip
    out = Path(config.out or f"tables/{name_of(config.path)}").expanduser().absolute()
    try:
        return import_files(
            source, config.path, out, about=about, reward=config.reward, strict=config.strict, prompts=config.prompts,
            repeats=config.repeats, progress=config.progress,
        )  # fmt: skip
    except ErpError as error:
        hint = import_hint(config.path)
        if hint is None or f"source={about['source']} " in hint:
            raise
        raise ErpError(*error.faults, f"path = {config.path}: {hint}") from None


def import_table(source: str, path: str | Path, **options: Any) -> Imported:
    """Import scores that you have already.

    Args:
        source: an option of the config group ``source``: ``wide``, ``lm_eval``, ``inspect``, ...
        path: a file, a folder, a pattern or an archive.
        options: keys of `erp.config.ImportConfig` (``out``, ``strict``, ``prompts``, ``repeats``, ``reward``), and of
            the source: ``members=["a", "b"]``.

    Raises:
        ErpError: every fault; nothing is written then.
    """
    from erp.compose import conf_folder
    from erp.compose import options as known

    if source not in known("source"):
        raise ErpError(f"source = {source}: there is no such option; choose one of {', '.join(known('source'))}")
    node = read_yaml((conf_folder() / "source" / f"{source}.yaml").read_text(encoding="utf-8"))
    own = {name: options.pop(name) for name in list(options) if name in ImportConfig.model_fields}
    if isinstance(own.get("out"), Path):
        own["out"] = str(own["out"])
    config: ImportConfig = validate("import", {**own, "source": {**node, **options}, "path": str(path)})
    return run(config)


def name_of(path: str) -> str:
    """What a table is called that is made of a path: its last part, without suffixes and patterns."""
    parts = [part for part in path.replace("\\", "/").rstrip("/").split("/") if part and "*" not in part]
    last = parts[-1] if parts else "imported"
    return last.split(".")[0] or last.strip(".") or "imported"


def as_text(imported: Imported) -> str:
    """What `erp import` prints."""
    manifest = imported.manifest
    about = manifest["import"]
    low, high = about["samples_per_cell"]
    k = f"K = {low}" if low == high else f"K = {low} to {high}"
    lines = [
        f"{manifest['prompts']:,} prompts x {len(manifest['members'])} members, {k}, {manifest['samples']:,} rows, "
        f"reward {one_line(manifest['reward_models'][0])}",
        *[f"note: {one_line(note)}" for note in manifest["notes"]],
        *[f"left out: {one_line(reason)}: {count:,}" for reason, count in about["left_out"].items()],
        "",
        *_coverage(about["coverage"]),
        "",
        f"table: {imported.folder}",
        f"next: erp describe data=table {shlex.quote(f'data.path={imported.folder}')}",
    ]
    return "\n".join(lines)


def _coverage(coverage: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[str]:
    """Members x categories: scored, and where there are any, missing and errors."""
    counts: dict[str, int] = {}
    for row in coverage.values():
        for category, found in row.items():
            counts[category] = counts.get(category, 0) + sum(found.values())
    shown = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_SHOWN]
    members = list(coverage)[:MOST_SHOWN]
    cells = [[one_line(member), *(_cell(coverage[member].get(category)) for category in shown)] for member in members]
    header = ["rows: scored / missing / errors", *map(one_line, shown)]
    widths = [max(len(row[i]) for row in [header, *cells]) for i in range(len(header))]
    lines = []
    for line in [header, *cells]:
        numbers = [f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"{line[0]:<{widths[0]}}", *numbers]))
    more = [f"{len(found) - MOST_SHOWN} more {what}" for what, found in (("members", coverage), ("categories", counts))
            if len(found) > MOST_SHOWN]  # fmt: skip
    return [*lines, *([f"... and {' and '.join(more)}; manifest.json has all"] if more else [])]


def _cell(found: Mapping[str, int] | None) -> str:
    if found is None:
        return "-"
    parts = [found["scored"], found["missing"], found["errors"]]
    return f"{parts[0]:,}" if not any(parts[1:]) else " / ".join(f"{part:,}" for part in parts)
