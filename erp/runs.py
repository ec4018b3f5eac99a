"""Run identity and the run folder: what makes two commands the same run, and whether it is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import yaml
from filelock import Timeout

from erp.errors import ErpError, one_line
from erp.files import locked, plain, read_json, read_yaml, write_json, write_text
from erp.results import require_sound
from erp.units import with_shown_lambdas

# What changes where or how a run is carried out, but not what it computes. The table stands for `data`.
NOT_IDENTITY = (
    "data",
    "out",
    "cache_dir",
    "weights_dir",
    "sweep",
    "trust",
    "figures",
    "tracking",
    "cost.prices",
    "pool.complete",  # the members that follow from it stand for it
    "split.from",  # the parts that follow from it stand for it
    "trainer.accelerator",
    "trainer.progress",
)


def run_hash(config: Mapping[str, Any], *contents: str) -> str:
    """Ten hex digits that name a run: the resolved config without paths, devices, tracking, and contents' hashes."""
    kept = deepcopy(dict(config))
    for dotted in NOT_IDENTITY:
        *parents, last = dotted.split(".")
        node: Any = kept
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    text = json.dumps([plain(kept), *contents], sort_keys=True, allow_nan=True)  # lambda = inf is not lambda = null
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class RunFolder:
    """One run on disk: ``config.yaml``, ``status.json``, ``checkpoint.ckpt``, ``results.json`` and the rest."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.results = path / "results.json"
        self.checkpoint = path / "checkpoint.ckpt"
        self.split = path / "split.parquet"
        self.origin = path / "origin.json"
        self.predictions = path / "predictions.parquet"
        self.figures = path / "figures"

    @property
    def finished(self) -> bool:
        """Whether the run ended well, and its status and results can still be read: if not, it is made again."""
        try:
            status, _ = read_json(self.status), read_json(self.results)
        except (OSError, ValueError):
            return False
        return status.get("status") == "ok"

    def load_config(self) -> dict[str, Any]:
        """The resolved config the run was made from. Raises ErpError where there is none."""
        if not self.config.exists():
            raise ErpError(f"run = {self.path}: no config.yaml there; give a run folder that `erp train` printed")
        try:
            value = read_yaml(self.config.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ErpError(
                f"run = {self.path}: config.yaml cannot be read ({reason}); restore it or train again"
            ) from None
        if not isinstance(value, dict):
            raise ErpError(f"run = {self.path}: config.yaml is no mapping; restore it or train again")
        return value

    def load_results(self) -> dict[str, Any]:
        """The content of ``results.json``, lambdas per shown unit of cost whenever it was written.

        Raises:
            ErpError: it cannot be read, or is not what a later command needs.
        """
        try:
            results = read_json(self.results)
            require_sound(results)
        except (OSError, ValueError) as error:
            reason = one_line(error)[:200]
            raise ErpError(
                f"run = {self.path}: results.json cannot be read ({reason}); restore it, or delete the folder and "
                f"train again"
            ) from None
        return with_shown_lambdas(results)

    def load_split(self, key: str = "run") -> pd.DataFrame:
        """Which prompts the router has seen: ``prompt_id, split, text_key, group_key``.

        Args:
            key: the config key that named the folder.

        Raises:
            ErpError: the file is not there, or cannot be read.
        """
        columns = ["prompt_id", "split", "text_key", "group_key"]
        try:
            return pd.read_parquet(self.split, columns=columns)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            reason = "it is not there" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200]
            raise ErpError(
                f"{key} = {self.path}: split.parquet cannot be read ({reason}), so nobody can tell which prompts the "
                f"router has seen; restore it or train again"
            ) from None

    @contextmanager
    def running(self, config: Mapping[str, Any]) -> Iterator[bool]:
        """Hold the folder for one process; yields whether the run is still to be made.

        ``config.yaml`` is written first, ``status.json`` says ``running``, then ``ok``, or ``failed`` and why.

        Raises:
            ErpError: another process is making this very run, or there can be no such folder.
        """
        make_folder(self.path, self.path.parent)
        try:
            with locked(self.path / "run", timeout_s=0):
                if self.finished:
                    yield False
                    return
                write_text(self.config, yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True))
                write_json(self.status, {"status": "running"})
                try:
                    yield True
                except BaseException as error:
                    write_json(self.status, {"status": "failed", "error": f"{type(error).__name__}: {error}"})
                    raise
                write_json(self.status, {"status": "ok"})
        except Timeout:
            raise ErpError(
                f"run = {self.path}: another process is making this run; wait for it, or give another `out`"
            ) from None


def make_folder(folder: Path, out: Path) -> None:
    """Make a folder under ``out`` with its parents. Raises ErpError where the system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ErpError(f"out = {out}: {folder} cannot be made ({error.strerror}); give another out") from None


def record_in_sweep(out: Path, sweep: str, job: int, entry: Mapping[str, Any]) -> Path:
    """Add one job to ``<out>/sweeps/<sweep>.json``, safely beside other jobs; returns the file."""
    path = out / "sweeps" / f"{sweep}.json"
    with locked(path):
        jobs: dict[str, Any] = read_json(path)["jobs"] if path.exists() else {}
        jobs[str(job)] = dict(entry)
        jobs = dict(sorted(jobs.items(), key=lambda item: int(item[0])))
        runs = list(dict.fromkeys(job["run"] for job in jobs.values() if job["run"]))
        write_json(path, {"sweep": sweep, "runs": runs, "jobs": jobs})
    return path
