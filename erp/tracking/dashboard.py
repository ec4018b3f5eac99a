"""The layout as a W&B workspace. Needs wandb-workspaces (``erp[dashboard]``); saving it needs a login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from erp.errors import ErpError
from erp.tracking.layout import COLUMNS, SECTIONS, Panel

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import PanelTypes
    from wandb_workspaces.workspaces.interface import Workspace


def save_workspace(project: str, entity: str | None) -> str:
    """Save the dashboard as a new view of a project; returns its address.

    Raises:
        ErpError: the package is missing, or W&B does not let us in or refuses.
    """
    import wandb

    try:
        workspace = build_workspace(project, "")
    except ImportError:
        raise ErpError(
            "dashboard: wandb-workspaces is not installed; `pip install 'erp[dashboard]'`, or dry_run=true to print "
            "the layout"
        ) from None
    try:
        workspace.entity = entity or str(wandb.Api().default_entity)
        workspace.save()  # type: ignore[no-untyped-call]
        return str(workspace.url)
    except (wandb.errors.Error, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ErpError(
            f"project = {project}: W&B did not save the dashboard ({reason}); `wandb login`, give a project and an "
            f"entity that are yours, or dry_run=true to print the layout"
        ) from None


def build_workspace(project: str, entity: str) -> Workspace:
    """The layout as a workspace that is not saved yet."""
    from wandb_workspaces.workspaces import interface as ws

    return ws.Workspace(
        entity=entity,
        project=project,
        name="Expected reward prediction",
        sections=[
            ws.Section(name=section.question, panels=[_panel(panel) for panel in section.panels], is_open=True)
            for section in SECTIONS
        ],
        runset_settings=ws.RunsetSettings(pinned_columns=[f"summary:{key}" for key in COLUMNS]),
    )


def _panel(panel: Panel) -> PanelTypes:
    from wandb_workspaces.reports.v2 import interface as wr

    def named(key: str) -> wr.Config | wr.SummaryMetric:
        return wr.Config(key) if key.startswith("choices.") else wr.SummaryMetric(key)

    keys: list[Any] = list(panel.keys)
    title = panel.title
    match panel.kind:
        case "bars":
            by = None if panel.by is None else wr.Config(panel.by)
            # Of runs that agree in what they are grouped by: their mean, with its standard error as a whisker.
            return wr.BarPlot(title=title, metrics=keys, groupby=by, groupby_aggfunc="mean", groupby_rangefunc="stderr")
        case "scatter":
            return wr.ScatterPlot(title=title, x=wr.SummaryMetric(keys[0]), y=wr.SummaryMetric(keys[1]))
        case "columns":
            columns = [wr.ParallelCoordinatesPlotColumn(named(key)) for key in keys]
            return wr.ParallelCoordinatesPlot(title=title, columns=columns)
        case "importance":
            return wr.ParameterImportancePlot(with_respect_to=keys[0])
        case "history":
            return wr.LinePlot(title=title, x=panel.by, y=keys)
        case "figure":
            return wr.MediaBrowser(title=title, media_keys=keys)
        case "table lines" | "table scatter":
            lines = panel.kind == "table lines"
            return wr.CustomChart(
                query={"summaryTable": {"tableKey": panel.table}},
                chart_name="wandb/line/v0" if lines else "wandb/scatter/v0",
                chart_fields=dict(zip(("x", "y", "stroke"), keys, strict=False)),
                chart_strings={"title": title},
            )
