"""A sweep: its jobs one after another in this process, or by a launcher of Hydra's, and the record of them."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache, partial
from pathlib import Path
from typing import Any

from erp import shared
from erp.config import PROGRAMS
from erp.errors import ErpError, shorten
from erp.files import sha256_of, write_text
from erp.jobs import MOST_JOBS_CHECKED, Jobs, for_the_jobs, jobs_of
from erp.programs.commandline import Arguments, Check, Job, through_hydra
from erp.runs import run_hash
from erp.sweeps import Job as Entry
from erp.sweeps import read_sweep, record_in_sweep


def sweep(program: str, parsed: Arguments, job: Job, check: Check) -> None:
    """Do all jobs of a command, record each, and say what became of them.

    Raises:
        ErpError: every fault of the command line; of the jobs, what failed and where.
    """
    if "sweep" not in PROGRAMS[program].model_fields:
        raise ErpError(f"-m: erp {program} does one thing at a time; only erp train and erp collect sweep")
    jobs = jobs_of(program, parsed.overrides, parsed.config_file)
    check(jobs.checked)
    given = {config["sweep"] for config in jobs.checked}
    if len(given) > 1:
        raise ErpError(f"sweep = {shorten(sorted(map(str, given)))}: one sweep has one name; give one")
    # A run's own config.yaml still names the sweep that it was made in, and that one has a record already.
    named = parsed.config_file is None or any(o.startswith("sweep=") for o in parsed.overrides)
    name = (jobs.checked[0]["sweep"] if named else None) or _sweep_name(jobs.checked, parsed)
    record = records_folder(jobs.checked[0]["out"]) / "sweeps" / f"{name}.json"
    before = record.read_text(encoding="utf-8") if record.exists() else None
    record.unlink(missing_ok=True)  # what this sweep finds or makes is recorded anew
    failure: Exception | KeyboardInterrupt | None = None
    try:
        if jobs.plain and not parsed.flags:
            _one_after_another(jobs, job, name, record)
        else:
            parsed.overrides = for_the_jobs(program, parsed.overrides, parsed.config_file)
            # quoted: all digits would be a number
            through_hydra(program, parsed, ["-m"], [f"sweep='{name}'", *_for_hydra(parsed, record)], _Recorded(job))
    except (Exception, KeyboardInterrupt) as error:
        # The first failed job's, when all have ended. The record has every one.
        failure = error
    finally:
        shared.end()
    if before is not None and not record.exists():
        write_text(record, before)  # nothing was begun: an earlier sweep of this name stands as it did
        _tell(name, [], record, failure)
    else:
        _tell(name, list(read_sweep(record).jobs.values()) if record.exists() else [], record, failure)
    if program == "train":
        print(f"compare them: erp compare {shlex.quote(str(record))}")


def _tell(name: str, jobs: Sequence[Entry], record: Path, failure: Exception | KeyboardInterrupt | None) -> None:
    """Say what became of the jobs. Raises ErpError with what failed, or what ended the sweep."""
    failed = [job for job in jobs if job.status != "ok"]
    done = len(jobs) - len(failed)
    if jobs:
        print(f"sweep {name}: {done} ok, {len(failed)} failed; {record}")
    if isinstance(failure, KeyboardInterrupt):
        raise failure
    if isinstance(failure, BrokenProcessPool):
        raise ErpError(
            f"sweep {name}: a worker process was killed by the system, perhaps for memory; {done} "
            f"jobs are finished and will be found; give the same command again with fewer hydra.launcher.n_jobs"
        ) from failure
    if failed:
        lines = [f"{' '.join(j.overrides)}: {j.error}" + (f" ({j.run})" if j.run else "") for j in failed]
        raise ErpError(*lines) from failure
    if failure is not None:
        raise failure


def _one_after_another(jobs: Jobs, job: Job, name: str, record: Path) -> None:
    """Do the jobs in this process; one that fails does not keep the others. Raises the first one's error at the end."""
    failure: Exception | None = None
    for number, (overrides, composed) in enumerate(jobs.each()):
        try:
            _recorded(job, partial(_named, composed, name), overrides, number, record)
        except Exception as error:
            failure = failure or error
    if failure is not None:
        raise failure


def _named(composed: Callable[[], dict[str, Any]], name: str) -> dict[str, Any]:
    return {**composed(), "sweep": name}


def _recorded(
    job: Job, composed: Callable[[], dict[str, Any]], overrides: Sequence[str], number: int, record: Path
) -> float | None:
    """Do a job; whatever becomes of it is written to the sweep's record."""
    shared.begin()
    shown = [o for o in overrides if not o.startswith(("sweep=", "hydra."))]
    entry: dict[str, Any] = {"overrides": shown, "run": None, "status": "failed", "error": None}
    config: dict[str, Any] = {}
    try:
        config = composed()
        result = job(config)
        entry["status"] = "ok"
    except (Exception, KeyboardInterrupt) as error:
        entry["error"] = str(error) if isinstance(error, ErpError) else f"{type(error).__name__}: {error}"
        raise
    else:
        return result
    finally:
        entry["run"] = config.get("run_folder")
        record_in_sweep(record.parent.parent, record.stem, number, entry)


def _sweep_name(jobs: Sequence[dict[str, Any]], parsed: Arguments) -> str:
    """The same jobs on the same data get the same name: another sweep's would replace its record.

    Where not all jobs are known, of many or drawn ones, the command stands for them.
    """
    content = cache(sha256_of)
    hashes = sorted(run_hash(job, *_read_by(job, content)) for job in jobs)
    drawn = any(o.startswith(("hydra/sweeper", "hydra.sweeper")) or "interval(" in o for o in parsed.overrides)
    command = parsed.overrides if drawn or len(jobs) >= MOST_JOBS_CHECKED else []
    return hashlib.sha256("".join([*hashes, *command]).encode()).hexdigest()[:8]


def _read_by(job: dict[str, Any], content: Callable[[str], str]) -> list[str]:
    """What a job reads, which `run_hash` leaves to the table itself: its data's settings, and its files' content."""
    data, prices = dict(job.get("data") or {}), (job.get("cost") or {}).get("prices")
    path, votes = data.pop("path", None), job.get("votes") or {}
    voted = [json.dumps(votes, sort_keys=True), content(str(votes["path"]))] if votes.get("path") else []
    return [json.dumps(data, sort_keys=True), *(content(str(file)) if file else "" for file in (path, prices)), *voted]


def _for_hydra(parsed: Arguments, record: Path) -> list[str]:
    """Hydra's own settings where the command gives none: where its files lie, and that a larger objective is better."""
    folder = (record.parent / ".hydra" / record.stem).as_posix().replace("'", r"\'")
    mine = [f"hydra.sweep.dir='{folder}'"]
    if any(o.startswith("hydra/sweeper=optuna") for o in parsed.overrides):
        mine.append("hydra.sweeper.direction=maximize")  # Optuna's default is to minimise
    keys = {o.partition("=")[0] for o in parsed.overrides}
    return [o for o in mine if o.partition("=")[0] not in keys]


def records_folder(out: str) -> Path:
    """Where a sweep's record lies: beside the runs, or here where they lie in an object store."""
    return Path() if "://" in out else Path(out)


class _Recorded:
    """A job that a launcher of Hydra's starts, here or in another process: it is pickled where that is needed."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, config: dict[str, Any]) -> float | None:
        from hydra.core.hydra_config import HydraConfig

        _end_with_parent()
        hydra = HydraConfig.get()
        record = records_folder(config["out"]) / "sweeps" / f"{config['sweep']}.json"
        return _recorded(self.job, lambda: config, hydra.overrides.task, int(hydra.job.num), record)


@cache
def _end_with_parent() -> None:
    """A launcher's worker process ends when the one that started it is killed: nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
