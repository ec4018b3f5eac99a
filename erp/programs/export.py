"""``erp export``: a trained router as a folder to share, with a card that says what it is worth."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from erp.config import ExportConfig, validate
from erp.errors import ErpError, shorten
from erp.files import replacing, whole_text, write_text
from erp.programs.launch import launch
from erp.report.card import router_card
from erp.results import whole
from erp.runs import RunFolder, make_folder
from erp.trained import drift
from erp.trained.checkpoint import save_bundle
from erp.trained.exported import TENSORS
from erp.trained.hub import FILES, README, located
from erp.trained.router import load


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("export", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    print(run(validate("export", container)))


def run(config: ExportConfig) -> Path:
    """Write the folder; returns it.

    Raises:
        ErpError: the run cannot be opened, its results cannot be told, or ``out`` holds something else.
    """
    folder = RunFolder(located(config.run, trust=config.trust))
    if (folder.path / TENSORS).exists():
        raise ErpError(
            f"run = {config.run}: is an export already; copy the folder, or give the run that it was made of"
        )
    trained = load(folder.path, config.trust, config.weights_dir)
    with folder.retold():
        card = router_card(whole(folder.load_results()), trained.reads_category, trained.card.prompt_from)
    out = RunFolder(Path(config.out).expanduser())
    _require_ours(out, config.out)
    make_folder(out.path, out.path)
    if folder.origin.exists():
        with replacing(out.origin) as temporary:
            shutil.copyfile(folder.origin, temporary)
    save_bundle(trained.bundle, out.path / TENSORS)
    drift.carry(folder, out)
    write_text(out.path / README, whole_text(card))
    return out.path


def _require_ours(out: RunFolder, given: str) -> None:
    """Only an earlier export is written over. Raises ErpError."""
    found = sorted(file.name for file in out.path.iterdir()) if out.path.is_dir() else []
    if others := [name for name in found if name not in FILES]:
        raise ErpError(f"out = {given}: holds {shorten(others)}; give a new folder, or one of an earlier export")
