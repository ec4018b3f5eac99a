"""``erp push``: a trained router onto the hub, as ``erp export`` writes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from erp.config import ExportConfig, PushConfig, validate
from erp.errors import ErpError
from erp.programs import export
from erp.programs.launch import launch
from erp.trained.exported import TENSORS
from erp.trained.hub import pushed, require_name
from erp.trained.router import load


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("push", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: PushConfig = validate("push", container)
    commit = run(config)
    print(f"hf://{config.to}@{commit}")
    print(f'note: erp.load("hf://{config.to}", revision="{commit}")', file=sys.stderr)


def run(config: PushConfig) -> str:
    """Upload; returns the commit.

    Raises:
        ErpError: no token, a run that cannot be exported or read without trust, or the hub does not take it.
    """
    require_name(config.to)
    token = _token(config.token_env)
    with TemporaryDirectory() as scratch:
        folder = Path(config.run)
        if not (folder / TENSORS).exists():
            out = str(Path(scratch) / "router")
            folder = export.run(ExportConfig(run=config.run, out=out, weights_dir=config.weights_dir))
        load(folder, weights_dir=config.weights_dir)  # as whoever fetches it does
        return pushed(folder, config.to, token, config.private, config.message)


def _token(variable: str) -> str:
    """What a variable holds. Raises ErpError, without the token."""
    token = os.environ.get(variable, "").strip()
    if not token:
        raise ErpError(f"token_env = {variable}: is not set; make a token in the hub's settings and export it under it")
    if not (token.isascii() and token.isprintable()):  # an HTTP library's own complaint would quote it
        raise ErpError(f"token_env = {variable}: its value is no token (odd characters); set it again")
    return token
