"""What a dashboard would see of a run, read from the file W&B leaves offline, by W&B's own reader."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from wandb.util import get_core_path

from erp.programs.train import train

QUICK = (
    *("data=synthetic", "data.prompts=120", "data.members=2", "data.samples=2", "backbone=hashing"),
    *("bootstrap.draws=100", "trainer.progress=false", "figures=false"),
)


def quick(out: Path, *more: str):
    """A small run of the real program; a test that looks at figures asks for them."""
    return train([*QUICK, f"out={out}", *more])


def recorded(folder: Path) -> "Recorded":
    """The only offline run of a run folder."""
    (run,) = every(folder)
    return run


def every(folder: Path) -> list["Recorded"]:
    """All offline runs of a run folder, in the order in which they were made."""
    return [Recorded(file) for file in sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))]


class Recorded:
    """One offline run."""

    def __init__(self, file: Path) -> None:
        self.records = records(file)
        self.folder = file.parent
        run = self.of("run")[0]
        self.id, self.project, self.name = run["run_id"], run["project"], run["display_name"]
        self.group, self.tags, self.job_type = run.get("run_group"), run.get("tags", []), run.get("job_type")
        self.sweep = run.get("sweep_id")
        self.config = {key: value for key, value in run["config"]["update"].items() if key != "_wandb"}
        self.history = [row["item"] for row in self.of("history")]
        self.summary = {key: value for record in self.of("summary") for key, value in record["update"].items()}
        self.artifacts = {artifact["name"]: artifact for artifact in self.of("artifact")}
        self.exit_code = self.of("exit")[-1]["exit_code"]

    def of(self, kind: str) -> list[dict]:
        """The records of a kind."""
        return [record[kind] for record in self.records if record["type"] == kind]

    def media(self, key: str) -> dict:
        """A table's or figure's entry in the summary, whose parts are keys of their own there."""
        return {k.removeprefix(f"{key}."): v for k, v in self.summary.items() if k.startswith(f"{key}.")}

    def table(self, name: str) -> dict[str, list]:
        """A table's columns, from the file beside the records."""
        entry = self.media(f"tables/{name}")
        assert entry["_type"] == "table-file"
        stored = json.loads((self.folder / "files" / entry["path"]).read_text())
        assert np.shape(stored["data"]) == (entry["nrows"], entry["ncols"])
        return dict(zip(stored["columns"], map(list, zip(*stored["data"], strict=True)), strict=True))


def records(file: Path) -> list[dict]:
    """The records of a `.wandb` file.

    W&B's service closes the file after `finish` has returned, a few milliseconds later: reading has to wait for the
    last record, which `--follow` does.
    """
    command = [get_core_path(), "leet", "inspect", "--no-observability", "--json", "--follow", "--idle-timeout", "20s"]
    done = subprocess.run(
        [*command, "--run-file", str(file), str(file.parent.parent)], capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def points(rows: Iterable[dict], key: str) -> list[float]:
    """A metric's values, in order."""
    return [row[key] for row in rows if key in row]
