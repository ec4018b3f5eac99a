"""``erp collect``: prompts x pool x reward models -> a reward table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm import tqdm

from erp.build import build
from erp.collect.collection import open_collection, write_manifest, write_reward_manifest
from erp.collect.plan import plan
from erp.collect.prompts.base import PromptSet, prompt_frame
from erp.collect.rewards.base import RewardAdapter
from erp.collect.sample import Sampler, failures, part
from erp.collect.score import Scorer, rewards_folder
from erp.collect.score import failures as score_failures
from erp.collect.store import Store
from erp.collect.units import Job, Runner, Unit, sampling_units
from erp.config import CollectConfig, validate
from erp.engines.base import Engine
from erp.errors import ErpError, shorten
from erp.programs.launch import launch
from erp.table.folder import MANIFEST


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("collect", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: CollectConfig = validate("collect", container)
    container["run_folder"] = f"{config.out.rstrip('/')}/{config.name}"
    run(config)


@dataclass(frozen=True)
class Step:
    """One step of a collection: its units, what does them, where failures are written."""

    title: str
    job: Job
    units: list[Unit]
    responses: int
    failures: str


def run(config: CollectConfig) -> str:
    """Collect, or go on with a collection; returns the table's folder.

    Raises:
        ErpError: bad input; the folder holds another collection; more prompts failed than ``max_failed`` allows.
    """
    _check_plug_points(config)
    store = Store(f"{config.out.rstrip('/')}/{config.name}")
    prompts = _prompts(config)
    sampler = Sampler(
        store.url, config.engine, list(config.pool.members or []), config.k, config.seed, config.block,
        config.weights_dir,
    )  # fmt: skip
    if config.dry_run:
        print(plan(store, config, prompts))
        return store.url
    with store.alone():
        open_collection(store, config, prompts)
        if "sample" in config.steps:
            _sample(store, config, prompts, sampler)
        if "score" in config.steps:
            _score(store, config, prompts)
    return store.url


def _check_plug_points(config: CollectConfig) -> None:
    """Every node before anything is downloaded or sampled."""
    errors = []
    for node, expect, key in (
        (config.prompts, PromptSet, "prompts"),
        (config.engine, Engine, "engine"),
        (config.runner, Runner, "runner"),
        ({k: v for k, v in config.reward_model.items() if k != "resources"}, RewardAdapter, "reward_model"),
    ):
        try:
            build(node, expect, key=key)  # type: ignore[type-abstract]
        except ErpError as error:
            errors.append(error)
    if errors:
        raise ErpError.all_of(errors)


def _prompts(config: CollectConfig) -> pd.DataFrame:
    source = build(config.prompts, PromptSet, key="prompts")
    frame = prompt_frame(source.prompts())
    for note in source.notes:
        print(f"prompts: {note}")
    return frame


def _sample(store: Store, config: CollectConfig, prompts: pd.DataFrame, sampler: Sampler) -> None:
    units = sampling_units(config.pool.members or [], -(-len(prompts) // config.block))
    parts, failed = store.names("samples"), store.names("failures/samples")
    finished = store.exists(MANIFEST) and not config.retry_failed
    todo = [
        u
        for u in units
        if part(u).rsplit("/", 1)[-1] not in parts
        or (not finished and failures(u).rsplit("/", 1)[-1] in failed)
    ]
    if not todo:
        print(f"sampling: finished already; {len(units)} units in {store.url}")
    else:
        size = {u: min(config.block, len(prompts) - u.block * config.block) * config.k for u in todo}
        _rounds(config, sampler, todo, size, "sampling", "response")
    names = [failures(u) for u in units]
    count, first = _failed(store, names)
    _refuse_too_many(config, count, len(prompts) * len(config.pool.members or []), first, store)
    write_manifest(store, config, count)
    print(f"sampling: {len(units)} units, {count} failed prompts; {store.url}")


def _score(store: Store, config: CollectConfig, prompts: pd.DataFrame) -> None:
    if not store.exists(MANIFEST):
        raise ErpError(f"steps = [score]: {store.url} is not sampled to the end; give steps=[sample] first")
    name = str(config.reward_model["name"])
    members = store.read_json(MANIFEST)["members"]
    scorer = Scorer(store.url, config.reward_model, members, config.weights_dir)
    _same_reward_model(store, scorer)
    units = [Unit(block) for block in range(-(-len(prompts) // config.block))]
    size = {u: len(scorer.todo(u)) for u in units}
    todo = [u for u in units if size[u]]
    if not todo:
        print(f"scoring by {name}: finished already; {store.url}/{rewards_folder(name)}")
    else:
        _rounds(config, scorer, todo, size, f"scoring by {name}", "response")
    count, first = _failed(store, [score_failures(name, u) for u in units])
    _refuse_too_many(config, count, len(prompts), first, store)
    write_reward_manifest(store, name, scorer.about(), count)
    print(f"scoring by {name}: {len(units)} units, {count} failed prompts; {store.url}/{rewards_folder(name)}")


def _same_reward_model(store: Store, scorer: Scorer) -> None:
    """Scores of one folder come from one reward model with one set of options."""
    file = f"{rewards_folder(scorer.name)}/collect.json"
    about = {key: value for key, value in scorer.about().items() if value is not None}
    if not store.exists(file):
        store.write_json(file, about)
        return
    held = store.read_json(file)
    if differing := sorted(key for key in {*held, *about} if held.get(key) != about.get(key)):
        raise ErpError(
            f"reward_model.name = {scorer.name}: {store.url} has scores of that name with other {shorten(differing)}; "
            f"give reward_model.name=<another>"
        )


def _rounds(
    config: CollectConfig, job: Job, units: list[Unit], size: dict[Unit, int], title: str, noun: str
) -> None:
    """Do the units; those with failures again, as often as ``retries`` says."""
    total = sum(size.values())
    tokens, seconds = 0, 0.0
    with tqdm(total=total, desc=title, unit=noun, disable=not config.progress, smoothing=0.05) as bar:
        todo = units
        for _ in range(1 + config.retries):
            again = []
            for report in build(config.runner, Runner, key="runner").run(job, todo):
                tokens, seconds = tokens + report.tokens, seconds + report.seconds
                bar.update(report.done)
                if report.tokens:
                    rate = report.tokens / max(report.seconds, 1e-9)
                    bar.set_postfix_str(f"{report.unit.member} {rate:,.0f} tokens/s")
                if report.failed:
                    again.append(report.unit)
                    bar.write(f"{title}: {report.unit.name}: {len(report.failed)} prompts failed: {_first(report.failed)}")
            todo = again
            if not todo:
                break


def _first(failed: dict[str, str]) -> str:
    return next(iter(failed.values()))[:200]


def _failed(store: Store, names: list[str]) -> tuple[int, str]:
    """How many prompts have failed, and one of the reasons."""
    count, first = 0, ""
    for name in names:
        if store.exists(name):
            failed = store.read_json(name)
            count += len(failed)
            first = first or _first(failed)
    return count, first


def _refuse_too_many(config: CollectConfig, failed: int, total: int, first: str, store: Store) -> None:
    if failed > config.max_failed * total:
        raise ErpError(
            f"max_failed = {config.max_failed}: {failed:,} of {total:,} prompts failed, such as by: {first}; what "
            f"succeeded is kept in {store.url}; mend the cause and give the same command, or allow a larger share"
        )
