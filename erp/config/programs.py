"""What each program's config is validated against: a new one is a class here, and a line in ``PROGRAMS``."""

from __future__ import annotations

from pydantic import Field

from erp.config.collect import CollectConfig
from erp.config.importing import ImportConfig
from erp.config.learn import (
    CompareConfig,
    DescribeConfig,
    EvaluateConfig,
    ExportConfig,
    ExtendConfig,
    PushConfig,
    ReportConfig,
    RouteConfig,
    ShowConfig,
    TrainConfig,
)
from erp.config.nodes import Node
from erp.config.serve import ServeConfig


class DashboardConfig(Node):
    """``erp dashboard``: the charts that compare runs, as a W&B workspace."""

    project: str = Field("erp", min_length=1)
    entity: str | None = None
    dry_run: bool = False


PROGRAMS: dict[str, type[Node]] = {
    "collect": CollectConfig,
    "import": ImportConfig,
    "describe": DescribeConfig,
    "show": ShowConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "route": RouteConfig,
    "compare": CompareConfig,
    "extend": ExtendConfig,
    "dashboard": DashboardConfig,
    "serve": ServeConfig,
    "export": ExportConfig,
    "push": PushConfig,
}
