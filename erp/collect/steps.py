"""The two steps of a collection: which units are left, rounds until nothing fails, and what is said at the end."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from tqdm import tqdm

from erp.build import build
from erp.collect import sample, score
from erp.collect.collection import same_reward_model, write_manifest, write_reward_manifest
from erp.collect.sample import Sampler
from erp.collect.score import Scorer
from erp.collect.store import Store
from erp.collect.units import Job, Runner, Unit, sampling_units
from erp.config import CollectConfig
from erp.errors import ErpError
from erp.table.folder import MANIFEST


def sample_all(store: Store, config: CollectConfig, prompts: pd.DataFrame) -> str:
    """Sample what is left of every member; returns what became of it in a line.

    Raises:
        ErpError: more prompts failed than ``max_failed`` allows; what succeeded is kept.
    """
    members = list(config.pool.members or [])
    units = sampling_units(members, -(-len(prompts) // config.block))
    parts, failed = store.names("samples"), store.names("failures/samples")
    retried = config.retry_failed or not store.exists(MANIFEST)
    todo = [u for u in units if _file(sample.part(u)) not in parts or (retried and _file(sample.failures(u)) in failed)]
    if todo:
        job = Sampler(
            store.url, config.engine, members, config.k, config.seed, config.block, config.weights_dir
        )  # fmt: skip
        size = {u: min(config.block, len(prompts) - u.block * config.block) * config.k for u in todo}
        _rounds(config, job, todo, size, "sampling")
    count, reason = _failed(store, [sample.failures(u) for u in units])
    _refuse_too_many(config, store, count, len(prompts) * len(members), reason)
    parts, failed = store.names("samples"), store.names("failures/samples")
    lost = [u.name for u in units if _file(sample.part(u)) not in parts and _file(sample.failures(u)) not in failed]
    _refuse_lost(lost)
    write_manifest(store, config, count)
    state = "sampled" if todo else "sampled already"
    return f"{len(units)} units {state}, {count} failed prompts: {store.url}"


def score_all(store: Store, config: CollectConfig, prompts: pd.DataFrame) -> str:
    """Score what has no score yet; returns what became of it in a line.

    Raises:
        ErpError: the responses are not all there; or more prompts failed than ``max_failed`` allows.
    """
    if not store.exists(MANIFEST):
        raise ErpError(f"steps = [score]: {store.url} is not sampled to the end; give steps=[sample] first")
    members = store.read_json(MANIFEST)["members"]
    job = Scorer(store.url, config.reward_model, members, config.weights_dir)
    about = same_reward_model(store, job)
    units = [Unit(block) for block in range(-(-len(prompts) // config.block))]
    size = {u: len(job.pending(u)) for u in units}
    todo = [u for u in units if size[u]]
    if todo:
        _rounds(config, job, todo, size, f"scoring by {job.name}")
    count, reason = _failed(store, [score.failures(job.name, u) for u in units])
    _refuse_too_many(config, store, count, len(prompts), reason)
    _refuse_lost([u.name for u in units if not count and len(job.pending(u))])
    write_reward_manifest(store, job.name, about, count)
    state = "scored" if todo else "scored already"
    return f"{len(units)} units {state} by {job.name}, {count} failed prompts: {store.url}"


def _rounds(config: CollectConfig, job: Job, units: Sequence[Unit], size: dict[Unit, int], title: str) -> None:
    """Do the units; those with failures again, as often as ``retries`` says."""
    runner = build(config.runner, Runner, key="runner")
    todo = list(units)
    with tqdm(total=sum(size.values()), desc=title, unit="response", disable=not config.progress) as bar:
        for _ in range(1 + config.retries):
            again = []
            for report in runner.run(job, todo):
                bar.update(report.done)
                if report.tokens:
                    bar.set_postfix_str(f"{report.unit.member} {report.tokens / report.seconds:,.0f} tokens/s")
                if report.failed:
                    again.append(report.unit)
                    reason = next(iter(report.failed.values()))[:200]
                    bar.write(f"{report.unit.name}: {len(report.failed)} prompts failed: {reason}", file=sys.stderr)
            todo = again
            if not todo:
                break


def _file(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _failed(store: Store, names: Sequence[str]) -> tuple[int, str]:
    """How many prompts have failed, and one of the reasons."""
    count, first = 0, ""
    there = store.names(names[0].rsplit("/", 1)[0]) if names else set()
    for name in names:
        if _file(name) in there:
            failed = store.read_json(name)
            count += len(failed)
            first = first or next(iter(failed.values()))[:200]
    return count, first


def _refuse_too_many(config: CollectConfig, store: Store, failed: int, total: int, reason: str) -> None:
    if failed > config.max_failed * total:
        raise ErpError(
            f"max_failed = {config.max_failed}: {failed:,} of {total:,} prompts failed, such as by: {reason}; what "
            f"succeeded is kept in {store.url}; mend the cause and give the same command, or allow a larger share"
        )


def _refuse_lost(lost: Sequence[str]) -> None:
    if lost:
        raise ErpError(
            f"runner: {len(lost)} units were not done, such as {lost[0]}: their workers were lost; see why (memory?), "
            f"then give the same command: it does these only"
        )
