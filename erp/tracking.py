"""Weights & Biases: a copy of a run for the dashboard. The only importer of wandb; nothing is read back from it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from erp.config import Tracking
from erp.errors import ErpError

if TYPE_CHECKING:
    from pytorch_lightning.loggers import WandbLogger
    from wandb import Run

# Nested results become flat summary keys; these parts are tables, curves or texts and travel as such.
NOT_SUMMARY = ("run", "curves", "interval", "shares", "verdict", "level")


class Tracker:
    """One W&B run, or nothing at all where tracking is off."""

    def __init__(self, run: Run | None) -> None:
        self._run = run

    def lightning_logger(self) -> WandbLogger | None:
        """The logger that hands Lightning's metrics to the same run."""
        if self._run is None:
            return None
        from pytorch_lightning.loggers import WandbLogger

        return WandbLogger(experiment=self._run, save_dir=self._run.dir)

    def log_results(self, results: Mapping[str, Any], figures: Sequence[Path]) -> None:
        """Send the summary, the routing table, the curves and the figures."""
        if self._run is None:
            return
        import wandb

        summary = {k: v for k, v in results.items() if k not in NOT_SUMMARY}
        try:
            self._run.summary.update(flattened(summary))
            rows, curves = wandb.Table(**routing_rows(results)), wandb.Table(**curve_rows(results))
            self._run.log({"tables/routing": rows, "tables/curves": curves})
            self._run.log({f"figures/{figure.stem}": wandb.Image(str(figure)) for figure in figures})
        except wandb.errors.Error as error:  # a copy that fails does not fail the run
            tqdm.write(f"W&B did not take the results ({error}); the run folder has them all", file=sys.stderr)


@contextmanager
def tracked(
    tracking: Tracking, run_id: str, name: str, folder: Path, config: Mapping[str, Any], group: str | None
) -> Iterator[Tracker]:
    """Open the W&B run of a run folder, under the folder's own id, and finish it whatever happens.

    A second ``wandb.init`` without a finish silently returns the first run: hence one place, and a ``with``.
    """
    if tracking.mode == "off":
        yield Tracker(None)
        return
    import wandb

    try:
        run = wandb.init(
            project=tracking.project, entity=tracking.entity, mode=tracking.mode, id=run_id, name=name, group=group,
            tags=[*tracking.tags, *choices(config)], config=dict(config), dir=str(folder), resume="allow",
            reinit="finish_previous", settings=wandb.Settings(silent=True, console="off"),
        )  # fmt: skip
    except (wandb.errors.CommError, wandb.errors.UsageError) as error:
        raise ErpError(
            f"tracking.mode = {tracking.mode}: W&B did not start ({str(error).splitlines()[0]}); "
            f"`wandb login`, or tracking=wandb to record offline, or tracking=off"
        ) from None
    with run:
        yield Tracker(run)


def choices(config: Mapping[str, Any]) -> list[str]:
    """Tags that say which options were chosen: ``router=ridge`` and so on."""
    return [f"{group}={config[group]['name']}" for group in ("router", "backbone", "policy") if "name" in config[group]]


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, float | str | None]:
    """Nested mappings as slash-separated keys; lists are left out."""
    flat: dict[str, float | str | None] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}/"))
        elif value is None or isinstance(value, int | float | str):
            flat[f"{prefix}{key}"] = value
    return flat


def routing_rows(results: Mapping[str, Any]) -> dict[str, Any]:
    """The rows at lambda = 0, members included, as a table."""
    rows: list[tuple[str, Any]] = [
        (k, v) for k, v in results["routing"].items() if isinstance(v, dict) and "reward" in v
    ]
    rows += [(f"member: {name}", row) for name, row in results["routing"]["members"].items()]
    gains = [row["gain_vs_best_single"] for _, row in rows]
    data = [
        [name, row["reward"], row["cost"], gain["mean"], gain["low"], gain["high"], row.get("headroom_recovered")]
        for (name, row), gain in zip(rows, gains, strict=True)
    ]
    return {"columns": ["row", "reward", "cost", "gain", "gain_low", "gain_high", "headroom_recovered"], "data": data}


def curve_rows(results: Mapping[str, Any]) -> dict[str, Any]:
    """Every reward-cost curve as one long table; lambda is None at infinity."""
    data = [
        [name, *point]
        for name, curve in results["curves"].items()
        for point in zip(curve["lambda"], curve["cost"], curve["reward"], strict=True)
    ]
    return {"columns": ["curve", "lambda", "cost", "reward"], "data": data}
