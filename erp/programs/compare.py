"""``erp compare``: finished runs in one table and one figure."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from erp.compose import compose
from erp.config import CompareConfig, validate
from erp.errors import ErpError
from erp.files import read_json, replacing, write_text
from erp.report.comparison import compare, draw_comparison, to_json, to_markdown
from erp.report.facts import one_line
from erp.report.text import escaped
from erp.runs import RunFolder, make_folder


@dataclass
class Found:
    """What the given paths led to.

    Attributes:
        runs: results of every finished run, by folder.
        skipped: a line for every run that is left out, and why.
        faults: a line for every path that leads to no run.
    """

    runs: dict[Path, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> None:
    """The command.

    Raises:
        ErpError: a fault of the command line, all paths that are no run, or no run that is finished.
    """
    flags = [argument for argument in arguments if argument.startswith("-")]
    if flags:
        raise ErpError(
            *[f"{flag}: erp compare has no flags; give run folders, sweep files and key=value" for flag in flags]
        )
    paths = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    config: CompareConfig = validate("compare", compose("compare", overrides))
    found = find_runs([*paths, *config.runs], Path(config.out))
    if found.faults:
        raise ErpError(*found.faults)
    for line in found.skipped:
        print(f"left out: {line}", file=sys.stderr)
    if not found.runs:
        where = f"{len(found.skipped)} left out" if found.skipped else f"out = {config.out}"
        raise ErpError(f"runs: none of them is finished ({where}); run `erp train` first, or give other folders")
    frame, folder = write_comparison(found, Path(config.out))
    print(shown(frame, config.output))
    print("\n".join(str(folder / name) for name in ("comparison.md", "comparison.csv", "curves.png")), file=sys.stderr)


def find_runs(paths: Sequence[str], out: Path) -> Found:
    """The finished runs that run folders and sweep files lead to; of none given, all directly under ``out``."""
    found = Found()
    if not paths:
        if not out.is_dir():
            found.faults.append(f"out = {out}: there is no such folder; give run folders, or out=<where runs are>")
            return found
        for folder in sorted(path for path in out.iterdir() if (path / "config.yaml").is_file()):
            _add_run(folder, found)
    for text in paths:
        path = Path(text)
        if path.is_file():
            _add_sweep(path, found)
        elif (path / "config.yaml").is_file():
            _add_run(path, found)
        elif path.is_dir() and path.parent.name == "evaluations":
            found.faults.append(
                f"runs = {path}: the folder is an evaluation, and only runs are compared; give {path.parent.parent}"
            )
        elif path.is_dir():
            found.faults.append(
                f"runs = {path}: the folder is no run (it has no config.yaml); for all runs under it give out={path}"
            )
        else:
            found.faults.append(f"runs = {path}: there is no such run folder or sweep file; check the path")
    return found


def _add_sweep(path: Path, found: Found) -> None:
    """The runs of a sweep file, also when it was moved together with them; jobs that failed are named."""
    try:
        sweep = read_json(path)
        folders, jobs = list(sweep["runs"]), dict(sweep.get("jobs", {}))
    except (ValueError, KeyError, TypeError):
        found.faults.append(f"runs = {path}: is no sweep file; give a run folder, or <out>/sweeps/<sweep>.json")
        return
    failed = [job for job in jobs.values() if job.get("status") != "ok"]
    for text in folders:
        moved = path.parent.parent / Path(text).name
        folder = Path(text) if Path(text).exists() else moved
        if any(job.get("run") == text for job in failed) and not RunFolder(folder).finished:
            continue
        if (folder / "config.yaml").is_file():
            _add_run(folder, found)
        else:
            found.faults.append(f"runs = {text}: listed in {path}, but not there, nor at {moved}; restore it or rerun")
    for job in failed:
        if not any(folder.name == Path(job.get("run") or "").name for folder in found.runs):  # or finished since
            about = " ".join([*job.get("overrides", []), *([f"({job['run']})"] if job.get("run") else [])])
            found.skipped.append(one_line(f"{about}: {job.get('status')}: {job.get('error')}"))


def _add_run(path: Path, found: Found) -> None:
    folder = RunFolder(path)
    if any(path.resolve() == known.resolve() for known in found.runs):
        return
    try:
        status = read_json(folder.status) if folder.status.exists() else {}
        if status.get("status") == "ok" and folder.results.exists():
            results = read_json(folder.results)
            compare([(str(path), results)])  # every number the comparison needs is there
            found.runs[path] = results
            return
    except (ValueError, KeyError, TypeError):
        found.skipped.append(
            f"{path}: its status.json or results.json cannot be read; delete the folder and train again"
        )
        return
    failed = status.get("status") == "failed"
    state = (
        one_line(f"failed: {status.get('error')}") if failed else "not finished; the same `erp train` goes on with it"
    )
    found.skipped.append(f"{path}: {state}")


def write_comparison(found: Found, out: Path) -> tuple[pd.DataFrame, Path]:
    """Write table and figure to a folder named after the runs; returns the table and the folder."""
    runs = [(str(path), results) for path, results in found.runs.items()]
    names = "\n".join(sorted(path.name for path in found.runs))
    folder = out / "comparisons" / hashlib.sha256(names.encode()).hexdigest()[:10]
    frame = compare(runs)
    make_folder(folder, out)
    with replacing(folder / "comparison.csv") as temporary:
        frame.to_csv(temporary, index=False)
    draw_comparison(runs, folder / "curves.png")
    left_out = ["Left out:\n\n" + "\n".join(f"- {escaped(line)}" for line in found.skipped)] if found.skipped else []
    parts = [
        f"# {len(runs)} runs compared",
        to_markdown(frame),
        "At lambda = 0 on test prompts. `gain` is the router's reward less that of the best single member, chosen on "
        "train; in brackets its interval, from a paired bootstrap over groups of prompts. Runs with different split "
        "seeds have different test prompts: compare their gains, not their rewards.",
        "![Reward against cost of all runs](curves.png)",
        *left_out,
    ]
    write_text(folder / "comparison.md", "\n\n".join(parts) + "\n")
    return frame, folder


def shown(frame: pd.DataFrame, output: str) -> str:
    """The table as it goes to the terminal or the next program."""
    if output == "csv":
        return str(frame.to_csv(index=False)).rstrip("\n")
    if output == "json":
        return json.dumps(to_json(frame), indent=2, ensure_ascii=False, allow_nan=False)
    return to_markdown(frame)
