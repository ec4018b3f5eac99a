"""Run folders read back: what every run is, and what it earned on every test prompt."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.config import validate
from erp.decisions.choice import choose
from erp.errors import ErpError, one_line
from erp.evaluation.comparison.contenders import KnownRun, Runs, TestedRun, panel_key
from erp.results import MOST, Content, look_up, value_of
from erp.runs import NOT_IDENTITY, RunFolder, read_kept
from erp.units import unit_of

# What makes no other contender of a run: which split it is on, its seed, and how sure its own report says it is. The
# kind of split does: another share of test, or a category never seen, is another question.
NOT_SETTINGS = (*NOT_IDENTITY, "seed", "split.seed", "split.category", "bootstrap")
# What decides beside kind and seed which prompts are test, by kind; near-duplicates are hashed as one.
TESTED_BY = {"group": ("test", "near_duplicates"), "prompt": ("test",), "category": ("category",)}
TEXTS, NUMBERS = ["prompt_id", "model"], ["predicted", "observed", "predicted_cost", "cost"]  # of the predictions


def read_tested(runs: Runs) -> tuple[list[KnownRun], list[str]]:
    """What every run is, with its test prompts where they can be read; and a line for each run where they cannot."""
    found, untested = [], []
    for folder, results in runs:
        known, why_not = _read_known(folder, results)
        try:
            known = _read_tested(known, results)
        except ErpError as error:
            why_not = why_not or str(error)
        found.append(known)
        if why_not is not None:
            untested.append(one_line(f"{folder}: {why_not}"))
    return found, untested


def _read_known(folder: Path, results: Content) -> tuple[KnownRun, str | None]:
    """A run without its prompts; and what is wrong with its config, where that cannot be read."""
    run, why_not = results["run"], None
    try:
        config = _config(RunFolder(folder))
    except ErpError as error:
        config, why_not = {}, str(error)
    config = _in_shown_units(config, str(look_up(results, "cost", "unit")))
    settings = {key: text for key, text in config.items() if not _is_no_setting(key)}
    seeds = run["split_seed"], run["seed"]
    about = (folder, panel_key(results), run["router"], run["backbone"], settings, _split(run, config), *seeds)
    return KnownRun(*about), why_not


def _split(run: Content, config: Mapping[str, str]) -> str:
    """What decides which prompts are test; without a config what ``results.json`` knows of it."""
    by = run.get("split_by") or json.loads(config.get("split.by", "null"))
    more = [f"{key}={config.get(f'split.{key}')}" for key in TESTED_BY.get(by, ())]
    return ", ".join([f"by={by}", *more, f"seed={run['split_seed']}"])


def _config(path: RunFolder) -> dict[str, str]:
    """The run's config by dotted key, values as JSON."""
    config = path.load_config()
    with suppress(ErpError):  # a run of another version may lack keys that have a default by now, or have more
        config = validate("train", config).model_dump(mode="json", by_alias=True)
    return dict(_flat(config))


def _in_shown_units(config: Mapping[str, str], unit: str) -> dict[str, str]:
    """The config with its lambdas per shown unit of cost: runs of before named them per base unit."""
    found = dict(config)
    if found.pop("cost.lambda_per", None) == '"base"':
        for key in ("policy.lambda", "router.lambda"):
            value = json.loads(found.get(key, "null"))
            if isinstance(value, int | float):
                found[key] = json.dumps(float(f"{value * unit_of(unit).size:.12g}"))
    return found


def _is_no_setting(key: str) -> bool:
    return any(f"{key}.".startswith(f"{no}.") for no in NOT_SETTINGS)


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(_whole(value), default=str, ensure_ascii=False)


def _whole(value: Any) -> Any:
    """0 for 0.0, in lists too: as settings they are one."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _read_tested(known: KnownRun, results: Content) -> TestedRun:
    """A run at lambda = 0, prompt by prompt. Raises ErpError with the reason why there is none."""
    path, members = RunFolder(known.folder), list(known.panel[2])
    if "routing" in results and results["routing"] is None:
        raise ErpError("no test prompt has a reward of every member; train again with pool.complete=auto")
    single = look_up(results, "routing", "best_single", "member")
    if single not in members:
        raise ErpError("results.json names no best single member of the pool; train again")
    ids, (predicted, observed, predicted_cost, cost) = _complete(path, members)
    at = (np.arange(len(observed)), choose(predicted, predicted_cost, 0.0))
    reward, said = observed[at], value_of(results, "routing", "router", "reward")
    if not (len(reward) and math.isclose(reward.mean(), said, rel_tol=1e-9, abs_tol=1e-9)):
        raise ErpError("predictions.parquet gives another reward than results.json; restore the one of this run")
    split = _read_kept(path.split, ["prompt_id", "group_key"]).drop_duplicates("prompt_id")
    groups = split.set_index("prompt_id")["group_key"].reindex(ids)
    if groups.isna().any():
        raise ErpError("split.parquet lacks prompts of predictions.parquet; restore the one of this run")
    told, first = value_of(results, "routing", "router", "cost"), look_up(results, "cost", "read_first")
    if first is None:  # results of before it was told apart: the router's cost has it
        first = max(told - cost[at].mean(), 0.0)
    paid = cost[at] + first
    if not math.isclose(paid.mean(), told, rel_tol=1e-9, abs_tol=1e-12):
        raise ErpError("predictions.parquet gives another cost than results.json; restore the one of this run")
    return TestedRun(
        **vars(known), ids=np.asarray(ids, dtype=object), groups=groups.to_numpy(dtype=object), observed=observed,
        reward=reward, cost=paid, single=observed[:, members.index(single)],
    )  # fmt: skip


def _complete(path: RunFolder, members: list[str]) -> tuple[pd.Index[Any], NDArray[np.float64]]:
    """Ids (N,) of the test prompts whose cells are all there, and `NUMBERS` as (4, N, M)."""
    frame = _read_kept(path.predictions, TEXTS, NUMBERS, [("split", "==", "test")])
    rows, ids = pd.factorize(frame["prompt_id"])
    columns = pd.Index(members).get_indexer(pd.Index(frame["model"]))
    cells = len(np.unique(rows * len(members) + columns))
    if (columns < 0).any() or not cells == len(frame) == len(ids) * len(members):
        raise ErpError("predictions.parquet does not have every test prompt once for every member; restore it")
    matrices = np.empty((4, len(ids), len(members)))
    for matrix, name in zip(matrices, NUMBERS, strict=True):
        matrix[rows, columns] = frame[name]
    if (np.abs(matrices) > MOST).any():
        raise ErpError("predictions.parquet holds what is no finite number; restore it")
    complete = ~np.isnan(matrices[1]).any(axis=1)
    return pd.Index(ids)[complete], matrices[:, complete]


def _read_kept(*arguments: Any) -> pd.DataFrame:
    try:
        return read_kept(*arguments)
    except ValueError as error:
        raise ErpError(f"{error}; restore it or train again") from None
