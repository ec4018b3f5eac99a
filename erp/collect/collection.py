"""What a collection is made from, checked against what its folder holds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from erp.build import as_built, build
from erp.collect.growth import Beside, beside, block_of, forget_silent, sampled_members, without_silent
from erp.collect.journal import forget
from erp.collect.prompts.base import AT_ONCE, PromptSet, prompt_frame, prompts_hash, with_ids_of
from erp.collect.score import Scorer, rewards_folder
from erp.collect.store import Store
from erp.config import CollectConfig, Member
from erp.engines.base import Engine
from erp.errors import ErpError, shorten
from erp.files import jsonable
from erp.table.asked import DEFAULT_RULE
from erp.table.folder import MANIFEST, MEMBER_FACTS

SETTINGS = "collect.json"
PROMPTS = "prompts.parquet"


def open_collection(
    store: Store, config: CollectConfig, prompts: pd.DataFrame, write: bool = True
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Check that the folder was made from the same settings, or begin it.

    Sampling may add members, prompts and samples of a prompt (``k``) to a collection, finished or not: what is there
    stays, in its order. Prices and parameters may change, and prompts' categories and references be corrected: no
    response depends on them. So may all that is said of a member that never answered, and everything where none has.
    All else has to be the same.

    A dry run only checks: ``write=False``.

    Returns:
        What the collection is made from, and its prompts.

    Raises:
        ErpError: the folder holds something else, one line for each setting that differs.
    """
    wanted, samples = _settings(config, prompts), "sample" in config.steps  # scoring takes the members that are there
    there = store.exists(SETTINGS)
    sampled = sampled_members(store) if there else set[str]()
    if not there and (store.exists(MANIFEST) or store.exists(PROMPTS)):
        raise ErpError(f"out = {store.url}: holds a table that was not collected here; give another name")
    if not there or (samples and not sampled):
        if write:
            _begin(store, wanted, prompts)
        return wanted, prompts
    found_there, before = _held(store, wanted["prompts"], prompts, write)
    held = without_silent(found_there, wanted, sampled) if samples else found_there
    found = Beside(before, prompts.iloc[:0], [], {})
    if held["prompts"] != wanted["prompts"]:
        found = beside(before, prompts)
    before, more = found.held, found.more
    _refuse_others(store, config, held, wanted, more, found.other)
    new = {name: said for name, said in wanted["members"].items() if samples and name not in held["members"]}
    members = {**held["members"], **new}
    merged = {
        **held,
        "members": members,
        "facts": {**held["facts"], **{name: told for name, told in wanted["facts"].items() if name in members}},
        "source": {key: said for key, said in wanted["source"].items() if key != "send" or key in held["source"]},
        "prompts": wanted["prompts"],
        "prices_as_of": wanted["prices_as_of"] or held["prices_as_of"],
    }
    if "reference" in found.corrected:
        merged["references"] = held.get("references", 0) + 1
    if wanted["k"] > held["k"]:
        merged |= {"k": wanted["k"], "fewer_samples": min(held["k"], held.get("fewer_samples", held["k"]))}
    if (size := len(before) + len(more)) > sum(held["added"]):
        merged["added"] = [*held["added"], size - sum(held["added"])]
    prompts = pd.concat([before, more], ignore_index=True) if len(more) else before
    if write:
        _write(store, found_there, merged, found, prompts)
    return merged, prompts


def _begin(store: Store, wanted: dict[str, Any], prompts: pd.DataFrame) -> None:
    """Write what a collection is made from, over what one had of which nothing came."""
    if store.exists(SETTINGS):
        before = store.read_json(SETTINGS)
        if before == wanted and store.exists(PROMPTS):
            return
        reopen(store)
        forget_silent(store, set(before["members"]))
        store.remove(PROMPTS)  # first: settings without prompts are a collection that is being begun
    store.write_json(SETTINGS, wanted)
    store.write_frame(PROMPTS, prompts, AT_ONCE)


def _write(store: Store, held: dict[str, Any], merged: dict[str, Any], found: Beside, prompts: pd.DataFrame) -> None:
    """Keep what was added and corrected, in an order that may end anywhere."""
    if silent := {name for name, said in held["members"].items() if merged["members"].get(name) != said}:
        forget_silent(store, silent)
    if merged["k"] > held["k"] or merged["added"] != held["added"]:
        reopen(store)
    if "reference" in found.corrected:  # first: no score by these is then taken for one by those before
        store.write_json(SETTINGS, {**held, "references": merged["references"]})
    # then prompts, so that what the settings count is there
    if len(found.more) or found.corrected or not store.exists(PROMPTS):
        store.write_frame(PROMPTS, prompts, AT_ONCE)
    if merged != held:
        store.write_json(SETTINGS, merged)


def _held(store: Store, wanted: str, prompts: pd.DataFrame, write: bool) -> tuple[dict[str, Any], pd.DataFrame]:
    """What a collection was made from, and its prompts: the very ``prompts`` where their hash is the ``wanted`` one."""
    held, before = store.read_json(SETTINGS), prompts
    if store.exists(PROMPTS):  # else it was killed between the two
        same = held["prompts"] == wanted and store.count_rows(PROMPTS) == len(prompts)
        before = prompts if same else store.read_frame(PROMPTS)
        if write and store.largest_group(PROMPTS) > AT_ONCE:  # an older erp's: a block could not be read alone
            store.write_frame(PROMPTS, before, AT_ONCE)
    if "added" not in held:  # an older erp's, whose prompts all came at a time: said before there are more
        held["added"] = [len(before)]
        if write:
            store.write_json(SETTINGS, held)
    return held, before


def prompts_of(store: Store, config: CollectConfig, source: PromptSet) -> pd.DataFrame:
    """The prompts: those the collection has, where they can be no others, else from their source."""
    if store.exists(SETTINGS):
        held = store.read_json(SETTINGS)["source"]
        source.go_on(held)
        asked = {key: value for key, value in _source(config).items() if key != "send" or key in held}
        rule = {"prompt_from": DEFAULT_RULE}  # of collections that were begun before there was a choice
        if source.fixed and store.exists(PROMPTS) and rule | held == rule | asked:
            return store.read_frame(PROMPTS)
    prompts = prompt_frame(source.prompts())
    if not store.exists(PROMPTS) or store.read_frame(PROMPTS, ["prompt_id"]).equals(prompts[["prompt_id"]]):
        return prompts
    return with_ids_of(store.read_frame(PROMPTS), prompts)


def _settings(config: CollectConfig, prompts: pd.DataFrame) -> dict[str, Any]:
    """All that the responses depend on, and what is told of the members, as JSON."""
    members = config.pool.members or []
    node = config.engine
    engines = {m.name: None if node is None else engine_settings(m.engine_in(node)) for m in members}
    facts = {m.name: {key: getattr(m, key) for key in MEMBER_FACTS if getattr(m, key) is not None} for m in members}
    settings: dict[str, Any] = jsonable(
        {
            "source": _source(config),
            "prompts": prompts_hash(prompts),
            "k": config.k,
            "seed": config.seed,
            "block": config.block or block_of(len(prompts)),
            "added": [len(prompts)],
            "members": {m.name: {**_member_settings(m), "engine": engines[m.name]} for m in members},
            "facts": facts,
            "prices_as_of": config.pool.prices_as_of,
        }
    )
    return settings


def _source(config: CollectConfig) -> dict[str, Any]:
    """Where the prompts come from, defaults spelled out."""
    said: dict[str, Any] = jsonable(as_built(config.prompts, PromptSet, key="prompts"))
    return {key: value for key, value in said.items() if key != "name"}


def _member_settings(member: Member) -> dict[str, Any]:
    said = member.model_dump(mode="json", exclude={*MEMBER_FACTS, "resources", "engine"}, exclude_defaults=True)
    return {**said, "decoding": member.decoding.model_dump(mode="json")}


def engine_settings(node: dict[str, Any]) -> dict[str, Any]:
    """What of an engine's node its responses depend on, defaults spelled out: not how fast, or where, it works."""
    pace = build(node, Engine, key="engine").pace
    return {key: value for key, value in as_built(node, Engine, key="engine").items() if key not in {*pace, "name"}}


def _spelled_out(held: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Settings of an engine that an older erp held, with the options that it did not have: as they always were."""
    if held["_target_"] != node["_target_"]:
        return held
    pace = build(node, Engine, key="engine").pace
    settings: dict[str, Any] = jsonable(engine_settings({key: node[key] for key in pace & node.keys()} | held))
    return settings


def _refuse_others(
    store: Store, config: CollectConfig, held: dict[str, Any], wanted: dict[str, Any], more: pd.DataFrame,
    other: list[str],
) -> None:  # fmt: skip
    advice = f"{store.url} was collected otherwise; give another name, or the same settings"
    faults = [
        f"{key} = {wanted[key]}: the table has {key} = {held[key]}; {advice}"
        for key, differs in (
            ("k", wanted["k"] < held["k"] or (wanted["k"] > held["k"] and "sample" not in config.steps)),
            ("seed", wanted["seed"] != held["seed"]),
            ("block", config.block not in (None, held["block"])),
        )
        if differs
    ]
    if len(more) and "sample" not in config.steps:
        faults.append(
            f"prompts: {len(more):,} are not in the table: {shorten(more['prompt_id'])}; {store.url} is only scored by "
            f"steps=[score]; give steps=[sample,score], or the table's prompts"
        )
    if other:
        faults.append(
            f"prompts: {len(other):,} of the table's are not what they were, or are not there: {shorten(other)} "
            f"(text, group, split, or a category or reference that is gone); prompts may be added, and categories and "
            f"references corrected; {advice}"
        )
    for member in config.pool.members or []:
        name, said = member.name, wanted["members"][member.name]
        before = held["members"].get(name, said)
        if config.engine is None:  # only scored now
            before = {**before, "engine": None}
        elif before["engine"] is not None:
            before = {**before, "engine": _spelled_out(before["engine"], member.engine_in(config.engine))}
        differing = sorted(key for key in {*said, *before} if said.get(key) != before.get(key))
        if differing:
            faults.append(f"pool.members.{name}: differs in {shorten(differing)}; {advice}")
    if faults:
        raise ErpError(*faults)


def reopen(store: Store) -> None:
    """More is about to be sampled: the table, and the scores of every reward model, are unfinished again."""
    store.remove(MANIFEST)
    for folder in store.folders("rewards"):
        store.remove(f"rewards/{folder}/{MANIFEST}")


def same_reward_model(store: Store, scorer: Scorer) -> dict[str, Any]:
    """What gives the scores. Raises ErpError where the folder has scores of that name from something else."""
    folder, about = rewards_folder(scorer.name), jsonable(scorer.about())
    if scorer.reads_references and (corrected := store.read_json(SETTINGS).get("references")):
        about["references"] = corrected  # how often they have been
    file, there = f"{folder}/{SETTINGS}", store.names(folder)
    held = store.read_json(file) if SETTINGS in there else about
    where = {"device", "base_url", "note"}  # may differ between two runs of one scoring
    differing = sorted(key for key in {*held, *about} - where if held.get(key) != about.get(key))
    if not any(name.startswith("part-") for name in there):  # nothing is written yet, whatever was tried
        if differing:
            forget(store, f"journal/{folder}")
        store.write_json(file, about)
    elif differing == ["references"]:
        raise ErpError(
            f"reward_model.name = {scorer.name}: its scores are by references that were corrected since; they stay; "
            f"give those by the new ones a name of their own: reward_model.name={scorer.name}_{about['references'] + 1}"
        )
    elif differing:
        raise ErpError(
            f"reward_model.name = {scorer.name}: {store.url} has scores of that name with other {shorten(differing)}; "
            f"give reward_model.name=<another>"
        )
    return dict(about)
