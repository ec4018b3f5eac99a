"""One W&B run for one run folder: opened, filled and finished, and never the reason why a run fails."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from erp.config import Tracking
from erp.errors import ErpError
from erp.tracking.artifacts import model_artifact, table_artifact
from erp.tracking.summary import choices, headline, summary
from erp.tracking.tables import Rows, curve_rows, member_rows, prediction_rows, routing_rows

if TYPE_CHECKING:
    from wandb import Artifact, Run

    from erp.table.schema import RewardTable

TAG_LENGTH = 64  # W&B takes no longer ones
# What metrics of training are drawn over, and what of a curve stands in the summary (`val/loss.min`).
AXES: dict[str, dict[str, Any]] = {
    "train/loss": {"step_metric": "epoch", "summary": "min"},
    "val/loss": {"step_metric": "epoch", "summary": "min"},
    "val/r2": {"step_metric": "epoch", "summary": "max"},
}


class Tracker:
    """One W&B run, or nothing at all where tracking is off.

    What W&B does not take is said once on stderr and left out: the run folder has everything.
    """

    def __init__(self, run: Run | None, folder: Path, artifacts: bool = False, on_server: bool = False) -> None:
        self._run = run
        self._on_server = on_server
        self._folder = folder
        self._artifacts = artifacts
        self._refused: set[str] = set()

    def log(self, values: Mapping[str, float], *, again: bool = False) -> None:
        """Add a row to the run's history; again where a process before this one made the epoch.

        A server has such a row already, under the same id. A copy on disk is begun anew.
        """
        run = self._run
        if run is not None and not (again and self._on_server):
            self._offer("the metrics of training", lambda: run.log(dict(values)))

    def begin(self, data: Mapping[str, Any], table: RewardTable, name: str) -> None:
        """Say what training's metrics are drawn over, and which reward table the run is made from."""
        run = self._run
        if run is None:
            return
        for metric, settings in AXES.items():
            self._offer("the axes of charts", partial(run.define_metric, metric, **settings))
        if self._artifacts:
            beside = Path(run.dir).parent
            self._offer("the table's artifact", lambda: _use(run, *table_artifact(data, table, name, beside)))

    def log_results(self, results: Mapping[str, Any]) -> None:
        """Send what a finished run folder holds: the summary, the tables, the figures and the trained router."""
        run = self._run
        if run is None:
            return
        # In the history too, which is where Bayesian sweeps and some charts look.
        self._offer("the headline", lambda: run.log({k: v for k, v in headline(results).items() if v is not None}))
        self._offer("the summary", lambda: run.summary.update(summary(results)))
        predictions = self._folder / "predictions.parquet"
        self._offer("the routing table", lambda: _log_table(run, "routing", routing_rows(results)))
        self._offer("the curves", lambda: _log_table(run, "curves", curve_rows(results)))
        self._offer("the table of members", lambda: _log_table(run, "members", member_rows(results)))
        self._offer("the figures", lambda: _log_figures(run, sorted(self._folder.glob("figures/*.png"))))
        if self._artifacts:
            self._offer("the predictions", lambda: _log_table(run, "predictions", prediction_rows(predictions)))
            beside = Path(run.dir).parent
            self._offer(
                "the router's artifact", lambda: run.log_artifact(model_artifact(self._folder, results, beside))
            )

    def _offer(self, what: str, send: Callable[[], object]) -> None:
        """Let W&B have something. Whatever goes wrong there, a full disk or a dead service, is not the run's fault."""
        try:
            send()
        except Exception as error:
            if what not in self._refused:
                self._refused.add(what)
                _say(f"W&B did not take {what} ({_reason(error)}); the run folder has it all")


@contextmanager
def tracked(
    tracking: Tracking, folder: Path, config: Mapping[str, Any], table: RewardTable, table_name: str
) -> Iterator[Tracker]:
    """Open the W&B run of a run folder, under the folder's own id, and finish it whatever happens.

    Under a W&B agent its sweep's run id, project and entity stand in place of ours: the sweep would not see the run
    otherwise. A run that goes on after it was stopped goes on under its id there too: on a server the run itself, on
    disk in a new copy that takes the place of the unfinished one, as no copy can be added to.

    A second ``wandb.init`` without a finish silently returns the first run: hence one place, and a ``with``.

    Args:
        tracking: whether, and where to.
        folder: of the run; its name ends in the run's hash.
        config: resolved; goes to W&B with the names of what was chosen in it (``choices``).
        table: that the run reads.
        table_name: how it is called.

    Raises:
        ErpError: it should be sent as it goes, and W&B does not let us in.
    """
    if tracking.mode == "off":
        yield Tracker(None, folder)
        return
    folder = folder.resolve()  # W&B's service may be another process's, with another working directory
    run = _opened(tracking, folder, config, choices(config, table.reward_model, table_name))
    tracker = Tracker(run, folder, tracking.artifacts, on_server=tracking.mode == "online")
    if run is None:
        yield tracker
        return
    exit_code = 1
    try:
        tracker.begin(config["data"], table, table_name)
        yield tracker
        exit_code = 0
    finally:
        _finish(run, exit_code)


def asked_by_agent() -> bool:
    """Whether a W&B agent started this process, for one job of its sweep."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def _opened(tracking: Tracking, folder: Path, config: Mapping[str, Any], chosen: Mapping[str, str]) -> Run | None:
    import wandb

    assert tracking.mode != "off"
    agent = asked_by_agent()
    if not agent and tracking.mode == "offline":
        for unfinished in folder.glob(f"wandb/offline-run-*-{folder.name[-10:]}"):
            shutil.rmtree(unfinished, ignore_errors=True)
    tags = [*tracking.tags, *(f"{group}={name}"[:TAG_LENGTH] for group, name in chosen.items())]
    try:
        return wandb.init(
            project=None if agent else tracking.project,
            entity=None if agent else tracking.entity,
            id=None if agent else folder.name[-10:],
            group=config.get("sweep") or os.environ.get("WANDB_SWEEP_ID"), job_type="train", tags=tags,
            mode=tracking.mode, name=folder.name, config={**config, "choices": dict(chosen)}, dir=str(folder),
            resume=None if agent else "allow", reinit="finish_previous",
            # No list of all that is installed, which is slow to make: what made the numbers stands in the summary.
            settings=wandb.Settings(silent=True, console="off", x_save_requirements=False),
        )  # fmt: skip
    except Exception as error:
        if tracking.mode == "online" and isinstance(error, wandb.errors.CommError | wandb.errors.UsageError):
            raise ErpError(
                f"tracking.mode = online: W&B did not start ({_reason(error)}); "
                f"log in (`wandb login`) where that is why, or take tracking=wandb to record offline, or tracking=off"
            ) from None
        _say(f"W&B did not start ({_reason(error)}); the run goes on without it")
        return None


def _log_table(run: Run, name: str, rows: Rows) -> None:
    import wandb

    # Of a column that may hold None W&B finds the type anew for every cell, which takes longer than all the rest.
    optional = [any(row[k] is None for row in rows["data"]) for k in range(len(rows["columns"]))]
    run.log({f"tables/{name}": wandb.Table(**rows, optional=optional)})


def _log_figures(run: Run, figures: Sequence[Path]) -> None:
    import wandb

    if figures:
        run.log({f"figures/{figure.stem}": wandb.Image(str(figure)) for figure in figures})


def _use(run: Run, artifact: Artifact, alias: str) -> None:
    # `use_artifact` refuses to work offline. Of a new artifact it does this, and waits until it is there.
    run._log_artifact(artifact, aliases=[alias], is_user_created=True, use_after_commit=True)


def _finish(run: Run, exit_code: int) -> None:
    try:
        run.finish(exit_code=exit_code)
    except Exception as error:
        _say(f"W&B did not finish its copy ({_reason(error)}); the run folder has it all")


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
