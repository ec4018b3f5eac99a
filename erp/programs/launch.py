"""How a program gets its config: one job directly, a sweep through Hydra's launcher; every fault named first."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from erp.compose import (
    MOST_JOBS_CHECKED,
    check_sweep,
    compose,
    conf_folder,
    for_the_jobs,
    only_named_variables,
    plain,
    stored,
    swept_in_file,
)
from erp.config import PROGRAMS
from erp.config.typed import quoted, typed
from erp.errors import ErpError, shorten
from erp.files import sha256_of, write_text
from erp.runs import run_hash
from erp.sweeps import read_sweep, record_in_sweep

Job = Callable[[dict[str, Any]], float | None]
Check = Callable[[Sequence[dict[str, Any]]], None]


@dataclass
class Arguments:
    """A command line, sorted: Hydra's flags, overrides, and the config file a run is repeated from."""

    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    config_file: Path | None = None
    sweep: bool = False


def parse(arguments: Sequence[str]) -> Arguments:
    """Sort a command line. Raises ErpError for what is neither a flag nor ``key=value``."""
    parsed = Arguments()
    rest = iter(arguments)
    for argument in rest:
        if argument in ("-m", "--multirun"):
            parsed.sweep = True
        elif argument.startswith("config="):
            parsed.config_file = _file(argument.removeprefix("config="))
        elif argument.split("=")[0] in ("--config-dir", "-cd"):
            folder = Path(argument.partition("=")[2] or next(rest, "")).expanduser()
            if not folder.is_dir():
                raise ErpError(f"--config-dir = {folder}: there is no such folder; give one with config groups in it")
            parsed.overrides.append(f"hydra.searchpath=[{quoted(f'file://{folder.resolve()}')}]")
        elif argument.startswith("-") or (parsed.flags and "=" not in argument):
            parsed.flags.append(argument)
        elif "=" in argument or argument.startswith("~"):
            parsed.overrides.append(argument)
        else:
            raise ErpError(f"{argument}: is not key=value; see --help")
    parsed.overrides = typed(parsed.overrides, parsed.sweep)
    return parsed


def _file(value: str) -> Path:
    """The file of ``config=``, also where it was quoted as Hydra wants other values. Raises ErpError."""
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    for text in (value, bare):
        if (file := Path(text).expanduser()).is_file():
            return file
    raise ErpError(f"config = {bare}: there is no such file; give the config.yaml of a run folder")


def launch(program: str, arguments: Sequence[str], job: Job, check: Check = lambda _: None) -> None:
    """Run ``job`` on the composed config, once, or for every combination of a sweep (``-m``).

    Args:
        program: its name.
        arguments: the command line after it.
        job: takes a composed config.
        check: takes those of all jobs of a sweep, before the first starts.

    Raises:
        ErpError: every fault of the command line; after a sweep, what failed and where.
    """
    parsed = parse(arguments)
    if parsed.sweep:
        _sweep(program, parsed, job, check)
    elif any(o.startswith("experiment=") for o in parsed.overrides) and swept_in_file(program, parsed.overrides):
        raise ErpError(
            "experiment: the file holds a sweep; give -m for all of its runs, or the keys of one run yourself"
        )
    elif parsed.flags:
        compose(program, parsed.overrides, parsed.config_file)  # faults first, in our words
        _through_hydra(program, parsed, [], [], job)
    else:
        job(compose(program, parsed.overrides, parsed.config_file))


def _sweep(program: str, parsed: Arguments, job: Job, check: Check) -> None:
    if "sweep" not in PROGRAMS[program].model_fields:
        raise ErpError(f"-m: erp {program} does one thing at a time; only erp train and erp collect sweep")
    jobs_to_do = check_sweep(program, parsed.overrides, parsed.config_file)
    check(jobs_to_do)
    given = {job["sweep"] for job in jobs_to_do}
    if len(given) > 1:
        raise ErpError(f"sweep = {shorten(sorted(map(str, given)))}: one sweep has one name; give one")
    # A run's own config.yaml still names the sweep that it was made in, and that one has a record already.
    named = parsed.config_file is None or any(o.startswith("sweep=") for o in parsed.overrides)
    sweep = (jobs_to_do[0]["sweep"] if named else None) or _sweep_name(jobs_to_do, parsed)
    record = records_folder(jobs_to_do[0]["out"]) / "sweeps" / f"{sweep}.json"
    before = record.read_text(encoding="utf-8") if record.exists() else None
    record.unlink(missing_ok=True)  # what this sweep finds or makes is recorded anew
    failure: Exception | KeyboardInterrupt | None = None
    try:
        # quoted: all digits would be a number
        parsed.overrides = for_the_jobs(program, parsed.overrides, parsed.config_file)
        _through_hydra(program, parsed, ["-m"], [f"sweep='{sweep}'", *_for_hydra(parsed, record)], _Recorded(job))
    except (Exception, KeyboardInterrupt) as error:
        # Hydra raises the first failed job's error when all have ended. The record has every one.
        failure = error
    jobs = list(read_sweep(record).jobs.values()) if record.exists() else []
    failed = [job for job in jobs if job.status != "ok"]
    if jobs:
        print(f"sweep {sweep}: {len(jobs) - len(failed)} ok, {len(failed)} failed; {record}")
    elif before is not None:
        write_text(record, before)  # nothing was begun: an earlier sweep of this name stands as it did
    if isinstance(failure, KeyboardInterrupt):
        raise failure
    if isinstance(failure, BrokenProcessPool):
        raise ErpError(
            f"sweep {sweep}: a worker process was killed by the system, perhaps for memory; {len(jobs) - len(failed)} "
            f"jobs are finished and will be found; give the same command again with fewer hydra.launcher.n_jobs"
        ) from failure
    if failed:
        lines = [f"{' '.join(j.overrides)}: {j.error}" + (f" ({j.run})" if j.run else "") for j in failed]
        raise ErpError(*lines) from failure
    if failure is not None:
        raise failure
    if program == "train":
        print(f"compare them: erp compare {shlex.quote(str(record))}")


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
    path = data.pop("path", None)
    return [json.dumps(data, sort_keys=True), *(content(str(file)) if file else "" for file in (path, prices))]


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
    """A sweep's job: whatever becomes of it is written to the sweep's record. Pickled by launchers that need it."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, config: dict[str, Any]) -> float | None:
        from hydra.core.hydra_config import HydraConfig

        _end_with_parent()
        hydra = HydraConfig.get()
        overrides = [o for o in hydra.overrides.task if not o.startswith("sweep=")]
        entry: dict[str, Any] = {"overrides": overrides, "run": None, "status": "failed", "error": None}
        try:
            result = self.job(config)
            entry["status"] = "ok"
        except (Exception, KeyboardInterrupt) as error:
            entry["error"] = str(error) if isinstance(error, ErpError) else f"{type(error).__name__}: {error}"
            raise
        else:
            return result
        finally:
            entry["run"] = config.get("run_folder")
            record_in_sweep(records_folder(config["out"]), config["sweep"], int(hydra.job.num), entry)


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


def _through_hydra(program: str, parsed: Arguments, flags: Sequence[str], overrides: Sequence[str], job: Job) -> None:
    """Let Hydra's own main parse flags, compose and launch, with its output folders and log files off."""
    import hydra
    from omegaconf import DictConfig, OmegaConf

    given = [*parsed.overrides, *overrides]

    def task(config: DictConfig) -> float | None:
        with only_named_variables(given):
            container = plain(OmegaConf.to_container(config, resolve=True))
        return job(container)

    name = program if parsed.config_file is None else stored(parsed.config_file)
    off = [
        "hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none",
        "hydra.sweep.subdir=.",
    ]  # fmt: skip
    before = sys.argv
    # Flags last: one that takes a value must not take an override for it.
    sys.argv = [f"erp {program}", *off, *given, *parsed.flags, *flags]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=name)(task)()
    finally:
        sys.argv = before
