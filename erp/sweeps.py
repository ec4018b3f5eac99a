"""The record of a sweep: what ties its jobs together, and what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from erp.files import locked, read_json, write_json
from erp.formats.sweep import SWEEP


class _Read(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Job(_Read):
    """One job of a sweep."""

    overrides: list[str] = []
    run: str | None = None
    status: str | None = None
    error: str | None = None


class Sweep(_Read):
    """The record of a sweep: its runs' folders, and its jobs by number."""

    runs: list[str]
    jobs: dict[str, Job] = {}


def read_sweep(path: Path) -> Sweep:
    """A record. Raises OSError and ValueError where it is none, and ErpError where a newer erp wrote it."""
    return Sweep.model_validate(SWEEP.read(read_json(path), f"sweep = {path}"))


def record_in_sweep(out: Path, sweep: str, job: int, entry: Mapping[str, Any]) -> Path:
    """Add one job to ``<out>/sweeps/<sweep>.json``, safely beside other jobs; returns the file."""
    path = out / "sweeps" / f"{sweep}.json"
    with locked(path):
        jobs: dict[str, Any] = SWEEP.read(read_json(path), str(path))["jobs"] if path.exists() else {}
        jobs[str(job)] = dict(entry)
        jobs = dict(sorted(jobs.items(), key=lambda item: int(item[0])))
        runs = list(dict.fromkeys(job["run"] for job in jobs.values() if job["run"]))
        write_json(path, SWEEP.numbered({"sweep": sweep, "runs": runs, "jobs": jobs}))
    return path
