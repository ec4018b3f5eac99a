"""``erp collect``: prompts x pool x reward models -> a reward table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from erp.build import build
from erp.collect.collection import SETTINGS, open_collection, prompts_of
from erp.collect.growth import blocks_of
from erp.collect.pairs import unanswered
from erp.collect.plan import plan, summary
from erp.collect.prompts.base import PromptSet
from erp.collect.rewards.base import RewardAdapter
from erp.collect.score import adapter_node
from erp.collect.steps import sample_all, score_all
from erp.collect.store import Store
from erp.collect.units import Runner
from erp.config import CollectConfig, validate
from erp.engines.base import Engine
from erp.errors import ErpError
from erp.programs.launch import launch
from erp.runs import make_folder


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("collect", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: CollectConfig = validate("collect", container)
    container["run_folder"] = table_url(config)  # what a sweep's record names
    run(config)


def run(config: CollectConfig) -> str:
    """Collect, or go on with a collection; returns the table's folder.

    Raises:
        ErpError: bad input; the folder holds another collection; more prompts failed than ``max_failed`` allows.
    """
    adapter = _check_plug_points(config)
    store = Store(table_url(config))
    source = build(config.prompts, PromptSet, key="prompts")
    prompts = prompts_of(store, config, source)
    for note in source.notes:
        print(f"prompts: {note}")
    adapter.check(unanswered(prompts))
    _check_against(adapter, config, store)
    if config.dry_run:
        held, prompts = open_collection(store, config, prompts, write=False)
        print(plan(store, config, prompts, held))
        return store.url
    if "://" not in store.url:
        make_folder(Path(store.url), Path(config.out))
    with store.alone():
        held, prompts = open_collection(store, config, prompts)
        blocks, said = blocks_of(held), summary(store, config, prompts, held) if "sample" in config.steps else ""
        del prompts  # there may be millions: from here on some are read at a time
        pyarrow.default_memory_pool().release_unused()
        if said:
            print(said)
        if "sample" in config.steps:
            print(sample_all(store, config, blocks, held))
    if "score" in config.steps:
        with store.alone(str(config.reward_model["name"])):  # others may score at the same time
            print(score_all(store, config, blocks))
    return store.url


def _check_against(adapter: RewardAdapter, config: CollectConfig, store: Store) -> None:
    """Raise ErpError where responses would be compared with those of nobody, or with more than there are."""
    held: dict[str, Any] = store.read_json(SETTINGS) if store.exists(SETTINGS) else {"members": {}, "k": 0}
    sampled = [member.name for member in config.pool.members or []] if "sample" in config.steps else []
    members, k = [*dict.fromkeys([*held["members"], *sampled])], max(held["k"], config.k if sampled else 0)
    if adapter.against is None or not members:
        return
    if adapter.rivals > k:
        raise ErpError(
            f"reward_model.rivals = {adapter.rivals}: a member has k = {k} responses to a prompt; give no more"
        )
    if adapter.against not in members:
        raise ErpError(
            f"reward_model.against = {adapter.against}: is no member of the table; allowed are {', '.join(members)}; "
            f"name one"
        )


def table_url(config: CollectConfig) -> str:
    """Where the table lies; a path is made absolute, because workers may stand in other folders."""
    url = f"{config.out.rstrip('/')}/{config.table}"
    return url if "://" in url else str(Path(url).expanduser().absolute())


def _check_plug_points(config: CollectConfig) -> RewardAdapter:
    """Every node before anything is downloaded or sampled. Raises ErpError with the faults of all."""
    errors: list[ErpError] = []
    nodes: list[tuple[dict[str, Any], type, str]] = [
        (config.prompts, PromptSet, "prompts"),
        (config.runner, Runner, "runner"),
        (adapter_node(config.reward_model), RewardAdapter, "reward_model"),
    ]
    if config.engine is not None:
        nodes.insert(1, (config.engine, Engine, "engine"))
        own = [member for member in config.pool.members or [] if member.engine]
        nodes[2:2] = [(m.engine_in(config.engine), Engine, f"pool.members.{m.name}.engine") for m in own]
    built: Any = None
    for node, expect, key in nodes:
        try:
            built = build(node, expect, key=key)
        except ErpError as error:
            errors.append(error)
    if errors:
        raise ErpError.all_of(errors)
    assert isinstance(built, RewardAdapter)
    return built
