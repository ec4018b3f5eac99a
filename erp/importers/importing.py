"""From the files of a source to a reward table's folder: all of it or nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from erp.errors import ErpError, shorten
from erp.files import jsonable
from erp.importers.base import Importer
from erp.importers.files import find
from erp.importers.gather import Gathered, Repeats
from erp.importers.growth import require_free, require_grows
from erp.importers.ledger import Ledger
from erp.importers.settle import sample_numbers, write_rows
from erp.table.intake import LARGEST, SMALLEST
from erp.table.write import workspace, writing

_FROM = "from:"
OBSERVATIONAL = (
    "observational: each prompt was answered by the member that somebody chose for it, so members' means are of "
    "different prompts, and a difference between them may be one of prompts"
)


@dataclass(frozen=True)
class Imported:
    """What an import made.

    Attributes:
        folder: the table's.
        manifest: what its ``manifest.json`` says: prompts, members, and under ``import`` where everything came from,
            how many rows were scored or left out, and why.
    """

    folder: Path
    manifest: Mapping[str, Any]


def import_files(
    source: Importer,
    path: str,
    out: Path,
    *,
    about: Mapping[str, Any],
    reward: str | None = None,
    strict: bool = True,
    prompts: str | None = None,
    repeats: Repeats = "error",
    progress: bool = False,
) -> Imported:
    """Read a source, and write the table that it makes.

    Args:
        source: who reads the files.
        path: a file, a folder, a pattern or an archive; here or wherever fsspec reaches.
        out: the table's folder. An earlier import of the same source gives way to one of its files and more.
        about: name and options of the source, for the manifest.
        reward: what the score is called; None for what the source calls it.
        strict: whether rows that nobody understands stop the import; else they are left out, and counted.
        prompts: ``from:<member>`` takes that member's texts where members were asked different ones.
        repeats: what becomes of rows of one prompt and member without a sample number.
        progress: whether a bar is shown on a terminal.

    Raises:
        ErpError: the path, an option, rows that cannot be understood; nothing is written then.
    """
    asker = _asker(prompts)
    ledger = Ledger()
    out = out.resolve()  # a link stays one
    require_free(out, path, about)
    with tqdm(desc="reading", unit="B", unit_scale=True, disable=not (progress and sys.stderr.isatty())) as bar:
        files = find(path, source.patterns, bar.update, out)
        bar.total = sum(file.size for file in files)
        with workspace(out) as place:
            (scratch := place / "reading").mkdir()
            gathered = Gathered(scratch, ledger, asker)
            for rows in source.batches(files, ledger):
                gathered.take(rows)
            number = _settled(gathered, ledger, path, strict, asker, repeats)
            name = reward or source.reward_name()
            with writing(out, name, place) as writer:
                facts = write_rows(gathered, number, writer)
                _require_scored(facts, path)
                manifest = _manifest(facts, about, source, ledger, gathered, strict)
                require_grows(out, name, manifest)
                writer.finish(manifest)
    return Imported(out, json.loads(json.dumps(jsonable({**manifest, "reward_models": [name]}))))


def _asker(prompts: str | None) -> str | None:
    if prompts is None:
        return None
    if not prompts.startswith(_FROM) or not prompts.removeprefix(_FROM):
        raise ErpError(f"prompts = {prompts}: allowed is from:<member>, whose texts are then taken; or leave it out")
    return prompts.removeprefix(_FROM)


def _settled(gathered: Gathered, ledger: Ledger, path: str, strict: bool, asker: str | None, repeats: Repeats) -> Any:
    """The sample number of every row, once nothing speaks against the table. Raises ErpError: what does."""
    names = gathered.members.texts
    if asker is not None and names and asker not in names:
        raise ErpError(f"prompts = {_FROM}{asker}: there is no such member; members are {shorten(sorted(names))}")
    gathered.documents.require_one_text()
    number = sample_numbers(gathered, repeats, ledger)
    if ledger.faults and strict:
        lines = [f"path = {path}: {count:,} rows: {reason}; first: {'; '.join(ledger.places[reason])}"
                 for reason, count in ledger.faults.most_common()]  # fmt: skip
        raise ErpError(
            *lines,
            "strict = true: nothing was written; correct the files, or leave such rows out, counted, with strict=false",
        )
    if gathered.largest > LARGEST or 0 < gathered.largest < SMALLEST:
        raise ErpError(
            f"path = {path}: the largest score is {gathered.largest:.3g} in size; allowed is from {SMALLEST:g} to "
            f"{LARGEST:g}; give scores in another unit"
        )
    return number


def _require_scored(facts: Mapping[str, Any], path: str) -> None:
    if not facts["samples_per_cell"][1]:
        why = shorten([f"{reason} ({count:,})" for reason, count in facts["missing"].items()], 4)
        raise ErpError(f"path = {path}: not one row has a score{f': {why}' if why else ''}; give files with scores")


def _manifest(
    facts: Mapping[str, Any],
    about: Mapping[str, Any],
    source: Importer,
    ledger: Ledger,
    gathered: Gathered,
    strict: bool,
) -> dict[str, Any]:
    notes = list(ledger.notes)
    if source.observational:
        notes.insert(0, OBSERVATIONAL)
    if facts["without_text"]:
        ledger.leave_out("rows of prompts that the member whose texts are taken has not", facts["without_text"])
    if repeated := gathered.documents.repeated():
        notes.append(repeated)
    for what, counted in (("have no score", facts["missing"]), ("were left out as not understood", ledger.faults)):
        if counted:
            told = shorten([f"{reason} ({count:,})" for reason, count in sorted(counted.items())], 5)
            notes.append(f"{sum(counted.values()):,} imported rows {what}: {told}")
    sums: dict[tuple[str, str | None], str] = {}
    for file in ledger.files:
        if (file.address, file.inner) not in sums:
            sums[file.address, file.inner] = file.sha256()
    origins = [
        {**origin, "sha256": sums[file.address, file.inner]}
        for origin, file in zip(ledger.origins, ledger.files, strict=True)
    ]
    return {
        **{name: facts[name] for name in ("prompts", "samples", "members")},
        "notes": notes,
        "observational": source.observational,
        "import": {
            **about,
            "strict": strict,
            "files": origins,
            "samples_per_cell": facts["samples_per_cell"],
            "missing": facts["missing"],
            "left_out": dict(sorted(ledger.left_out.items())),
            "not_understood": dict(sorted(ledger.faults.items())),
            "coverage": facts["coverage"],
        },
    }
