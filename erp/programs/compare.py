"""``erp compare``: finished runs side by side, and the differences between them."""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erp.compose import compose
from erp.config import CompareConfig, validate
from erp.errors import ErpError, one_line
from erp.evaluation.comparison.compare import compare_runs
from erp.evaluation.comparison.pairs import pair_up
from erp.evaluation.comparison.tested import read_tested
from erp.files import as_csv, jsonable, read_json
from erp.findings import Comparison
from erp.report.comparisons.latex import contenders_to_latex, members_to_latex, pairs_to_latex
from erp.report.comparisons.write import as_markdown, write_comparison
from erp.runs import RunFolder, make_folder
from erp.sweeps import read_sweep


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
    overrides = [argument for argument in arguments if _is_override(argument)]
    paths = [argument for argument in arguments if argument not in overrides]
    config: CompareConfig = validate("compare", compose("compare", overrides))
    _require_table(config)
    found = find_runs([*paths, *config.runs], Path(config.out))
    if found.faults:
        raise ErpError(*found.faults)
    for line in found.skipped:
        print(f"left out: {one_line(line)}", file=sys.stderr)
    if not found.runs:
        where = f"{len(found.skipped)} left out" if found.skipped else f"out = {config.out}"
        raise ErpError(f"runs: none of them is finished ({where}); run `erp train` first, or give other folders")
    content = list(found.runs.items())
    known, untested = read_tested(content)
    for line in untested:
        print(f"not in the pairs: {line}", file=sys.stderr)
    comparison = compare_runs(content, pair_up(known, **config.bootstrap.model_dump()), untested, found.skipped)
    folder = comparison_folder(found, Path(config.out))
    write_comparison(comparison, folder, config.figures)
    for line in comparison.pairs.notes:
        print(one_line(line), file=sys.stderr)
    print(shown(comparison, folder, config.output, config.table))
    print("\n".join(map(str, sorted(path for path in folder.iterdir() if path.is_file()))), file=sys.stderr)


def _require_table(config: CompareConfig) -> None:
    """Refuse a table that the output does not have."""
    if config.table is None or config.output in ("csv", "json"):
        return
    if config.output != "latex":
        raise ErpError(
            f"table = {config.table}: output = {config.output} shows all tables; give output=csv, output=json or "
            "output=latex with it"
        )
    if config.table in ("runs", "curves"):
        raise ErpError(
            f"table = {config.table}: is not made for output = latex; contenders, pairs and members are; give one of "
            "these, or output=csv"
        )


def comparison_folder(found: Found, out: Path) -> Path:
    """A folder named after the runs."""
    names = "\n".join(sorted(path.name for path in found.runs))
    folder = out / "comparisons" / hashlib.sha256(names.encode()).hexdigest()[:10]
    make_folder(folder, out)
    return folder


def find_runs(paths: Sequence[str], out: Path) -> Found:
    """The finished runs that run folders and sweep files lead to; of none given, all directly under ``out``."""
    found = Found()
    if not paths:
        if not out.is_dir():
            found.faults.append(f"out = {out}: there is no such folder; give run folders, or out=<where runs are>")
            return found
        for folder in sorted(path for path in out.iterdir() if _is_run(path)):
            _add_run(folder, found)
    for text in paths:
        path = Path(text)
        if path.is_file():
            _add_sweep(path, found)
        elif _is_run(path):
            _add_run(path, found)
        elif path.is_dir() and path.parent.name == "evaluations":
            found.faults.append(
                f"runs = {path}: the folder is an evaluation, and only runs are compared; give {path.parent.parent}"
            )
        elif path.is_dir():
            found.faults.append(
                f"runs = {path}: the folder is no run (it has no config.yaml); for all runs under it give "
                f"{shlex.quote(f'out={path}')}"
            )
        else:
            found.faults.append(f"runs = {path}: there is no such run folder or sweep file; check the path")
    return found


def _is_run(folder: Path) -> bool:
    """Whether a run was made there, damaged or not; an evaluation has results too, but no status."""
    return any((folder / name).is_file() for name in ("config.yaml", "status.json"))


def _is_override(argument: str) -> bool:
    """Whether an argument is ``key=value``, not a path that has a = in it."""
    key = argument.partition("=")[0]
    known = key.lstrip("+~").split(".")[0] in CompareConfig.model_fields
    return "=" in argument and (known or not ("/" in key or Path(argument).exists()))


def _add_sweep(path: Path, found: Found) -> None:
    """The runs of a sweep file, also when it was moved together with them; jobs that failed are named."""
    try:
        sweep = read_sweep(path)
    except ErpError as error:
        found.faults.append(str(error))
        return
    except (OSError, ValueError):
        found.faults.append(f"runs = {path}: is no sweep file; give a run folder, or <out>/sweeps/<sweep>.json")
        return
    failed = [job for job in sweep.jobs.values() if job.status != "ok"]
    for text in sweep.runs:
        moved = path.parent.parent / Path(text).name
        folder = Path(text) if Path(text).exists() else moved
        if any(job.run == text for job in failed) and not RunFolder(folder).finished:
            continue
        if _is_run(folder):
            _add_run(folder, found)
        else:
            found.skipped.append(f"{text}: listed in {path}, but not there, nor at {moved}; restore it or rerun")
    for job in failed:
        if not any(folder.name == Path(job.run or "").name for folder in found.runs):  # or finished since
            about = " ".join([*job.overrides, *([f"({job.run})"] if job.run else [])])
            found.skipped.append(f"{about}: {job.status}: {job.error}")


def _add_run(path: Path, found: Found) -> None:
    folder = RunFolder(path)
    if any(path.resolve() == known.resolve() for known in found.runs):
        return
    try:
        status = read_json(folder.status) if folder.status.exists() else {}
    except (OSError, ValueError) as error:
        found.skipped.append(f"{path}: its status.json cannot be read ({error}); delete the folder and train again")
        return
    if status.get("status") == "ok" and folder.results.exists():
        try:
            found.runs[path] = folder.load_results()
        except ErpError as error:
            found.skipped.append(str(error).removeprefix("run = "))
        return
    failed = status.get("status") == "failed"
    state = f"failed: {status.get('error')}" if failed else "not finished; the same `erp train` goes on with it"
    found.skipped.append(f"{path}: {state}")


def shown(comparison: Comparison, folder: Path, output: str, table: str | None) -> str:
    """What goes to the terminal: all tables for a reader, or the one that goes to the next program or a paper."""
    pairs = comparison.pairs
    if output == "markdown":
        return as_markdown(comparison).rstrip("\n")
    if output == "html":
        return (folder / "comparison.html").read_text(encoding="utf-8").rstrip("\n")
    if output == "latex":
        if table == "members":
            return members_to_latex(comparison.members)
        return pairs_to_latex(pairs) if table == "pairs" else contenders_to_latex(pairs)
    tables = {
        "contenders": pairs.contenders, "pairs": pairs.pairs, "members": comparison.members,
        "curves": comparison.points,
    }  # fmt: skip
    chosen = tables.get(table or "runs", comparison.runs)
    if output == "csv":
        return as_csv(chosen).rstrip("\n")
    return json.dumps(jsonable(chosen.to_dict("records")), indent=2, ensure_ascii=False, allow_nan=False)
