"""``erp dashboard``: the charts that compare runs, saved as a W&B workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from erp.config import DashboardConfig, validate
from erp.programs.launch import launch
from erp.tracking.dashboard import save_workspace
from erp.tracking.layout import as_text


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("dashboard", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: DashboardConfig = validate("dashboard", container)
    print(as_text() if config.dry_run else save_workspace(config.project, config.entity))
