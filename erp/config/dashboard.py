"""The schema of ``erp dashboard``."""

from __future__ import annotations

from pydantic import Field

from erp.config.nodes import Node


class DashboardConfig(Node):
    """``erp dashboard``: the charts that compare runs, as a W&B workspace."""

    project: str = Field("erp", min_length=1)
    entity: str | None = None
    dry_run: bool = False
