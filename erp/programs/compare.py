"""``erp compare``: finished runs side by side, and the differences between them."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow

from erp.compose import compose
from erp.config import CompareConfig, validate
from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.files import read_json, replacing, write_text
from erp.report.comparison import (
    compare,
    draw_comparison,
    draw_differences,
    pairs_to_markdown,
    panel_key,
    to_json,
    to_markdown,
)
from erp.report.facts import number, one_line
from erp.report.pairs import Pairs, TestedRun, pair_up
from erp.report.text import escaped
from erp.runs import NOT_IDENTITY, RunFolder, make_folder

# What makes no other contender of a run: its seeds, and how sure its own report says it is.
NOT_SETTINGS = (*NOT_IDENTITY, "seed", "split.seed", "bootstrap")


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
    if config.table != "runs" and config.output == "markdown":
        raise ErpError(
            f"table = {config.table}: output = markdown shows all tables; give output=csv or output=json with it"
        )
    found = find_runs([*paths, *config.runs], Path(config.out))
    if found.faults:
        raise ErpError(*found.faults)
    for line in found.skipped:
        print(f"left out: {line}", file=sys.stderr)
    if not found.runs:
        where = f"{len(found.skipped)} left out" if found.skipped else f"out = {config.out}"
        raise ErpError(f"runs: none of them is finished ({where}); run `erp train` first, or give other folders")
    tested, unpaired = read_tested(found.runs)
    for line in unpaired:
        print(f"not in the pairs: {line}", file=sys.stderr)
    pairs = pair_up(tested, **config.bootstrap.model_dump())
    frame, folder = write_comparison(found, pairs, unpaired, Path(config.out))
    for line in pairs.notes:
        print(line, file=sys.stderr)
    print(shown(frame, pairs, config.output, config.table))
    print("\n".join(map(str, sorted(path for path in folder.iterdir() if path.is_file()))), file=sys.stderr)


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


def read_tested(runs: Mapping[Path, Mapping[str, Any]]) -> tuple[list[TestedRun], list[str]]:
    """What every run earned on every test prompt, and a line for each run of which it cannot be told."""
    tested, unpaired = [], []
    for folder, results in runs.items():
        try:
            tested.append(_read_tested(folder, results))
        except ErpError as error:
            unpaired.append(one_line(f"{folder}: {error}"))
    return tested, unpaired


def _read_tested(folder: Path, results: Mapping[str, Any]) -> TestedRun:
    """A run at lambda = 0, prompt by prompt. Raises ErpError with the reason why there is none."""
    path, run, routing = RunFolder(folder), results["run"], results["routing"]
    wanted = ["prompt_id", "model", "predicted", "observed", "predicted_cost", "cost"]
    frame = _read_parquet(path.predictions, wanted, [("split", "==", "test")])
    rows, ids = pd.factorize(frame["prompt_id"])
    columns = pd.Index(run["members"]).get_indexer(pd.Index(frame["model"]))
    cells = len(np.unique(rows * len(run["members"]) + columns))
    if (columns < 0).any() or not cells == len(frame) == len(ids) * len(run["members"]):
        raise ErpError("predictions.parquet does not have every test prompt once for every member; restore it")
    matrices = np.empty((4, len(ids), len(run["members"])))
    for matrix, name in zip(matrices, wanted[2:], strict=True):
        matrix[rows, columns] = frame[name]
    complete = ~np.isnan(matrices[1]).any(axis=1)
    predicted, observed, predicted_cost, cost = matrices[:, complete]
    at = (np.arange(len(observed)), choose(predicted, predicted_cost, 0.0))
    reward, said = observed[at], number(routing["router"]["reward"])
    if not (len(reward) and math.isclose(reward.mean(), said, rel_tol=1e-9, abs_tol=1e-9)):
        raise ErpError("predictions.parquet gives another reward than results.json; restore the one of this run")
    split = _read_parquet(path.split, ["prompt_id", "group_key"]).drop_duplicates("prompt_id")
    groups = split.set_index("prompt_id")["group_key"].reindex(ids[complete])
    if groups.isna().any():
        raise ErpError("split.parquet lacks prompts of predictions.parquet; restore the one of this run")
    return TestedRun(
        folder, panel_key(results), run["router"], run["backbone"], _settings(path), run["split_seed"], run["seed"],
        np.asarray(ids[complete], dtype=object), groups.to_numpy(dtype=object), observed, reward, cost[at],
        observed[:, run["members"].index(routing["best_single"]["member"])],
    )  # fmt: skip


def _read_parquet(path: Path, columns: list[str], filters: list[tuple[str, str, str]] | None = None) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=columns, filters=filters)
    except (OSError, ValueError, KeyError, pyarrow.ArrowException) as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({str(error)[:200]})"
        raise ErpError(f"{path.name} {why}; restore it or train again") from None


def _settings(path: RunFolder) -> dict[str, str]:
    """The run's config by dotted key, values as JSON, without what makes no other contender."""
    config = path.load_config()
    with suppress(ErpError):  # a run of another version may lack keys that have a default by now, or have more
        config = validate("train", config).model_dump(mode="json", by_alias=True)
    return {key: text for key, text in _flat(config) if not any(f"{key}.".startswith(f"{no}.") for no in NOT_SETTINGS)}


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value, default=str, ensure_ascii=False)


def write_comparison(found: Found, pairs: Pairs, unpaired: Sequence[str], out: Path) -> tuple[pd.DataFrame, Path]:
    """Write tables and figures to a folder named after the runs; returns the table of runs and the folder."""
    runs = [(str(path), results) for path, results in found.runs.items()]
    names = "\n".join(sorted(path.name for path in found.runs))
    folder = out / "comparisons" / hashlib.sha256(names.encode()).hexdigest()[:10]
    frame = compare(runs)
    make_folder(folder, out)
    for name, table in (("comparison", frame), ("contenders", pairs.contenders), ("pairs", pairs.pairs)):
        with replacing(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    draw_comparison(runs, folder / "curves.png")
    (folder / "differences.png").unlink(missing_ok=True)  # of the same runs, when there was more of them
    paired = []
    if len(pairs.contenders):
        draw_differences(pairs, runs, folder / "differences.png")
        paired = [pairs_to_markdown(pairs), "![Gains over best single of all contenders](differences.png)"]
    parts = [
        f"# {len(runs)} runs compared",
        *paired,
        *([_listed("To know about the pairs", pairs.notes)] if pairs.notes else []),
        *([_listed("Not in the pairs", unpaired)] if unpaired else []),
        "## Runs",
        to_markdown(frame),
        "At lambda = 0 on test prompts. `gain` is the router's reward less that of the best single member, chosen on "
        "train; in brackets its interval, from a paired bootstrap over groups of prompts. Runs with different split "
        "seeds have different test prompts: compare their gains, not their rewards.",
        "![Reward against cost of all runs](curves.png)",
        *([_listed("Left out", found.skipped)] if found.skipped else []),
    ]
    write_text(folder / "comparison.md", "\n\n".join(parts) + "\n")
    return frame, folder


def _listed(heading: str, lines: Sequence[str]) -> str:
    return f"{heading}:\n\n" + "\n".join(f"- {escaped(line)}" for line in lines)


def shown(frame: pd.DataFrame, pairs: Pairs, output: str, table: str = "runs") -> str:
    """What goes to the terminal, or of csv and json the one table that goes to the next program."""
    if output == "markdown":
        runs = to_markdown(frame)
        return f"{pairs_to_markdown(pairs)}\n\n## Runs\n\n{runs}" if len(pairs.contenders) else runs
    chosen = {"runs": frame, "contenders": pairs.contenders, "pairs": pairs.pairs}[table]
    if output == "csv":
        return str(chosen.to_csv(index=False)).rstrip("\n")
    return json.dumps(to_json(chosen), indent=2, ensure_ascii=False, allow_nan=False)
