"""The two steps of a collection: which units are left, what becomes of them, and what is said at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from erp.build import build
from erp.collect import score
from erp.collect.checks import warnings
from erp.collect.collection import reopen, same_reward_model
from erp.collect.failures import read_failures
from erp.collect.growth import sampled_with_less
from erp.collect.journal import forget, kept
from erp.collect.manifests import facts_changed, read_manifest, write_manifest, write_reward_manifest
from erp.collect.sample import Sampler
from erp.collect.score import Scorer
from erp.collect.stopping import Stop, interruptible
from erp.collect.store import Store
from erp.collect.units import Blocks, Job, Runner, Unit, sampling_units
from erp.config import CollectConfig, Member
from erp.engines.base import Engine
from erp.errors import ErpError, shorten
from erp.table.folder import MANIFEST

BARREN = 3  # units in a row of which nothing comes: then something is wrong that trying the next will not mend


def sample_all(store: Store, config: CollectConfig, blocks: Blocks, held: dict[str, Any]) -> str:
    """Sample what is left of every member of the pool; returns what became of it in a line, after what is odd.

    ``held`` is what the collection is made from, perhaps more members than this pool's.

    Raises:
        ErpError: units were lost, or more prompts failed than ``max_failed`` allows; what succeeded is kept.
    """
    assert config.engine is not None  # the schema's affair
    members = list(config.pool.members or [])
    units = sampling_units(members, len(blocks.rows))
    done, failed = store.names("samples"), store.names("failures/samples")
    finished = store.exists(MANIFEST)
    retried = config.retry_failed or not finished
    waiting = _failing(store, "failures/samples", [u for u in units if u.file in failed], config.retry_failed)
    begun, short = store.names("journal/samples"), sampled_with_less(store, held, units)
    todo = [
        u
        for u in units
        if (u in waiting and retried)
        or (u.part not in done and u.file not in failed)
        or u in short
        or f"{u.name}.jsonl" in begun  # answers that no part has yet, whatever they were asked for
    ]
    if todo:
        reopen(store)
        finished = False
        job = Sampler(
            store.url, config.engine, members, config.k, config.seed, blocks, _absolute(config.weights_dir),
            config.retry_failed, config.retries,
        )  # fmt: skip
        _ready(config, {u.member for u in todo})
        size = {u: waiting.get(u) or blocks.held_by(u.block) for u in todo}
        lines = kept(store, "journal/samples")
        there = sum(lines.get(f"{u.name}.jsonl", 0) for u in todo)
        _done(config, job, todo, {u: count * config.k for u, count in size.items()}, {*waiting}, there)
    everything = [Unit(block, name) for name in held["members"] for block in range(len(blocks.rows))]
    done, failed = store.names("samples"), store.names("failures/samples")
    of_failed = [unit for unit in everything if unit.file in failed]
    count = _refuse_too_many(config, store, "failures/samples", of_failed, blocks.prompts * len(held["members"]))
    short = sampled_with_less(store, held, everything)
    lacking = dict.fromkeys(u.member for u in everything if u in short or (u.part not in done and u.file not in failed))
    if lacking:
        return f"{len(units)} units sampled; unfinished: {shorten(lacking)}, which are not of this pool: {store.url}"
    if not finished or facts_changed(store, held):
        forget(store, "journal/samples")
        write_manifest(store, held, count)
    odd = warnings(store, held, len(blocks.rows), done) if todo else []
    return "\n".join([*odd, f"{_counted(todo, units, 'sampled')}, {count} failed prompts: {store.url}"])


def _ready(config: CollectConfig, wanted: set[str | None]) -> None:
    """Ask every engine whether it can be asked, so that a member's server that is down is no surprise after hours.

    Where workers run elsewhere, what they reach is not to be seen from here.
    """
    if not build(config.runner, Runner, key="runner").here:
        return
    assert config.engine is not None
    engines: list[tuple[dict[str, Any], list[Member]]] = []
    for member in config.pool.members or []:
        if member.name in wanted:
            node = member.engine_in(config.engine)
            own = next((members for other, members in engines if other == node), None)
            if own is None:
                engines.append((node, [member]))
            else:
                own.append(member)
    for node, members in engines:
        for line in build(node, Engine, key="engine").ready(members):
            tqdm.write(line)


def score_all(store: Store, config: CollectConfig, blocks: Blocks) -> str:
    """Score what has no score yet; returns what became of it in a line.

    Raises:
        ErpError: the responses are not all there; units were lost; more prompts failed than ``max_failed`` allows.
    """
    if not store.exists(MANIFEST):
        raise ErpError(
            f"steps = [score]: {store.url} is not sampled to the end; give steps=[sample] with all of its members first"
        )
    sampled = read_manifest(store)
    members, weights = sampled["members"], _absolute(config.weights_dir)
    job = Scorer(store.url, config.reward_model, members, blocks, weights, config.retry_failed, config.retries)
    about = same_reward_model(store, job)
    units = [Unit(block) for block in range(len(blocks.rows))]
    where = f"{score.rewards_folder(job.name)}"
    finished = store.exists(f"{where}/{MANIFEST}")
    size = job.pending_counts(units, finished)
    todo = [u for u in units if u in size]
    if todo:
        store.remove(f"{where}/{MANIFEST}")
        _done(config, job, todo, size, {*job.failed})
    failed = store.names(f"failures/{where}")
    count = _refuse_too_many(config, store, f"failures/{where}", [u for u in units if u.file in failed], blocks.prompts)
    outcome = job.outcome(units)
    if todo or not finished:
        _refuse_too_few(config, job, outcome)
        write_reward_manifest(store, job, about, count)
    if not store.exists(MANIFEST) or read_manifest(store) != sampled:  # the lock on samples was free until here
        store.remove(f"{where}/{MANIFEST}")
        raise ErpError(
            f"steps = [score]: more was sampled in {store.url} while {job.name} scored it; what it scored is kept; "
            f"give the same command when the sampling is done"
        )
    if todo or not finished:
        forget(store, f"journal/{where}")
    outdated = f"note: {job.outdated:,} scores by {job.name} were of responses that have changed; they were asked again"
    return "\n".join(
        [
            *([outdated] if job.outdated else []),
            f"{_counted(todo, units, f'scored by {job.name}')}, {count} failed prompts: {store.url}",
            *_means(outcome),
            *_notes(store.read_json(f"{where}/{MANIFEST}")),
            f"look at it: erp describe data=table data.path={store.url} reward_model.name={job.name}",
        ]
    )


def _done(
    config: CollectConfig, job: Job, units: Sequence[Unit], size: dict[Unit, int], failed_before: set[Unit],
    there: int = 0,
) -> None:  # fmt: skip
    """Do the units, of which some responses may be ``there``.

    Raises:
        ErpError: some were lost, or nothing comes of any; of those that failed before nothing may well come again.
    """
    runner = build(config.runner, Runner, key="runner")
    lost, said, barren = dict[Unit, str](), set[str](), 0
    pause = 0.1 if sys.stderr.isatty() else 30.0  # a log file wants a line now and then
    stop: Stop = job.stop if runner.in_process else (lambda: False)
    with (
        interruptible(stop),
        tqdm(
            total=sum(size.values()),
            initial=there * runner.in_process,
            desc=job.title,
            unit="response",
            mininterval=pause,
            disable=not config.progress,
        ) as bar,
    ):
        job.tick = bar.update if runner.in_process else None
        for report in runner.run(job, units):
            if job.tick is None or not job.ticks:
                bar.update(report.done)
            if report.tokens:
                bar.set_postfix_str(f"{report.unit.member} {report.tokens / report.seconds:,.0f} tokens/s")
            if report.lost is not None:
                lost[report.unit] = report.lost
            elif report.failed:
                prompt_id, failure = next(iter(report.failed.items()))
                reason = failure.error[:200]
                if (kind := re.sub(r"\d+", "", reason)) not in said:  # once, in whichever round
                    said.add(kind)
                    failures = f"{len(report.failed)} prompts failed, such as {prompt_id}: {reason}"
                    bar.write(f"{report.unit.name}: {failures}", file=sys.stderr)
            if report.unit not in failed_before:
                barren = barren + 1 if report.failed and not report.done else 0
            if report.failed:
                failed_before.add(report.unit)
            if barren == BARREN:
                raise ErpError(
                    f"{job.title}: nothing came of {BARREN} units one after the other, the last by: {reason}; what "
                    f"succeeded is kept; mend the cause (is the server up, its address right?) and go on with the "
                    f"same command"
                )
    if lost:
        unit, why = next(iter(lost.items()))
        raise ErpError(
            f"runner: {len(lost)} units were not done, such as {unit.name}: {why}; see why (memory?), "
            f"then give the same command: it does these only"
        )


def _absolute(folder: str | None) -> str | None:
    """Workers may stand in other folders than this process."""
    return None if folder is None else str(Path(folder).expanduser().absolute())


def _counted(todo: Sequence[Unit], units: Sequence[Unit], done: str) -> str:
    return f"{len(todo):,} of {len(units):,} units {done}" if todo else f"{len(units):,} units {done} already"


def _refuse_too_many(config: CollectConfig, store: Store, folder: str, units: Sequence[Unit], total: int) -> int:
    """How many prompts of units with failures have failed. Raises ErpError where ``max_failed`` allows fewer."""
    count, refused, first = 0, 0, ""
    for unit in units:
        failed = read_failures(store, f"{folder}/{unit.file}")
        count += len(failed)
        refused += sum(why.final for why in failed.values())
        first = first or next(f"{why.error[:200]} (prompt {p})" for p, why in failed.items())
    if count > config.max_failed * total:
        again = (
            f" with retry_failed=true ({refused:,} were refused, and are asked again by that alone)" if refused else ""
        )
        raise ErpError(
            f"max_failed = {config.max_failed}: {count:,} of {total:,} prompts failed, such as by: {first}; what "
            f"succeeded is kept in {store.url}; mend the cause and give the same command{again}, or allow a larger "
            f"share"
        )
    return count


def _failing(store: Store, folder: str, units: Sequence[Unit], refused_too: bool) -> dict[Unit, int]:
    """How many prompts of each unit failed and are asked again."""
    failed = {unit: read_failures(store, f"{folder}/{unit.file}") for unit in units}
    counts = {unit: sum(refused_too or not why.final for why in of_it.values()) for unit, of_it in failed.items()}
    return {unit: count for unit, count in counts.items() if count}


def _notes(manifest: dict[str, Any]) -> list[str]:
    """What a reward model's manifest says that every reader of its scores must know."""
    return [f"note: {note}" for note in (manifest.get("note"), *(manifest.get("notes") or ())) if note]


def _means(outcome: pd.DataFrame) -> list[str]:
    """Every member's mean score, and how many are missing: what one wants to see first."""
    width = max(map(len, outcome.index), default=0)
    return [
        f"  {name:<{width}}  mean {mean:.4f}" + (f", {size - had:,} of {size:,} missing" if size > had else "")
        for name, mean, had, size in outcome[["mean", "had", "size"]].itertuples(name=None)
    ]


def _refuse_too_few(config: CollectConfig, job: Scorer, outcome: pd.DataFrame) -> None:
    """Raise ErpError where more scores are missing than ``max_missing`` allows."""
    had, size = int(outcome["had"].sum()), int(outcome["size"].sum())
    if size - had > config.max_missing * size:
        raise ErpError(
            f"max_missing = {config.max_missing}: {size - had:,} of {size:,} responses have no usable score by "
            f"{job.name}{job.example}; allow a larger share, or mend the reward model's options under another "
            f"reward_model.name"
        )
