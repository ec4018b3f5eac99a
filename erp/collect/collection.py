"""What a collection is made from, checked against what its folder holds; its manifest, written last."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from erp.collect.score import Scorer, rewards_folder
from erp.collect.store import Store
from erp.config import CollectConfig, Member
from erp.errors import ErpError, shorten
from erp.files import jsonable
from erp.table.folder import MANIFEST
from erp.table.folder import MEMBER_FACTS as FACTS

SETTINGS = "collect.json"
# What a member's responses do not depend on: it may change between two runs of one collection.
_PACKAGES = ("erp", "torch", "transformers", "xllamacpp", "vllm", "reasoning_gym", "datasets")


def member_settings(config: CollectConfig, member: Member) -> dict[str, Any]:
    """All that a member's responses depend on, as JSON."""
    said = member.model_dump(mode="json", exclude={*FACTS, "resources"}, exclude_defaults=True)
    return {**said, "decoding": member.decoding.model_dump(mode="json"), "engine": config.engine["_target_"]}


def settings(config: CollectConfig, prompts: pd.DataFrame) -> dict[str, Any]:
    """All that the responses depend on, as JSON."""
    members = config.pool.members or []
    digest = hashlib.sha256(prompts.to_json(orient="split", index=False).encode()).hexdigest()
    return {
        "prompts": digest,
        "k": config.k,
        "seed": config.seed,
        "block": config.block,
        "members": {member.name: member_settings(config, member) for member in members},
    }


def open_collection(store: Store, config: CollectConfig, prompts: pd.DataFrame) -> None:
    """Write what the collection is made from, or check that the folder was made from the same.

    Members may be added to a collection, finished or not: what is there stays. Everything else has to be the same.

    Raises:
        ErpError: the folder holds something else, one line for each setting that differs.
    """
    wanted = settings(config, prompts)
    if not store.exists(SETTINGS):
        if store.exists(MANIFEST) or store.exists("prompts.parquet"):
            raise ErpError(f"out = {store.url}: holds a table that was not collected here; give another name")
        store.write_frame("prompts.parquet", prompts)
        store.write_json(SETTINGS, wanted)
        return
    held = store.read_json(SETTINGS)
    advice = f"{store.url} was collected otherwise; give another name, or the same settings"
    faults = [
        f"{key} = {wanted[key]}: the table has {key} = {held[key]}; {advice}"
        for key in ("k", "seed", "block")
        if held[key] != wanted[key]
    ]
    if held["prompts"] != wanted["prompts"]:
        faults.append(f"prompts: are not those of the table (other texts, ids or references); {advice}")
    for name, said in wanted["members"].items():
        before = held["members"].get(name, said)
        differing = sorted(key for key in {*said, *before} if said.get(key) != before.get(key))
        if differing:
            faults.append(f"pool.members.{name}: differs in {shorten(differing)}; {advice}")
    if faults:
        raise ErpError(*faults)
    if new := [name for name in wanted["members"] if name not in held["members"]]:
        store.remove(MANIFEST)  # unfinished again
        store.write_json(SETTINGS, {**held, "members": {**held["members"], **{n: wanted["members"][n] for n in new}}})


def same_reward_model(store: Store, scorer: Scorer) -> dict[str, Any]:
    """What gives the scores. Raises ErpError where the folder has scores of that name from something else."""
    file, about = f"{rewards_folder(scorer.name)}/{SETTINGS}", jsonable(scorer.about())
    if not store.exists(file):
        store.write_json(file, about)
        return about
    held = store.read_json(file)
    where = {"device"}  # may differ between two runs of one scoring
    if differing := sorted(key for key in {*held, *about} - where if held.get(key) != about.get(key)):
        raise ErpError(
            f"reward_model.name = {scorer.name}: {store.url} has scores of that name with other {shorten(differing)}; "
            f"give reward_model.name=<another>"
        )
    return about


def write_reward_manifest(store: Store, name: str, about: dict[str, Any], failed: int) -> None:
    """Say what gave the scores, and what happened while scoring. Written when all responses are scored."""
    folder = rewards_folder(name)
    counts: dict[str, int] = {}
    seconds = 0.0
    for entry in sorted(store.names(f"log/{folder}")):
        said = store.read_json(f"log/{folder}/{entry}")
        seconds += said["seconds"]
        for key, count in said["counts"].items():
            counts[key] = counts.get(key, 0) + count
    store.write_json(
        f"{folder}/{MANIFEST}",
        {"reward_model": name, **about, "counts": counts, "failed_prompts": failed, "seconds": round(seconds, 1)},
    )


def write_manifest(store: Store, config: CollectConfig, failed: int) -> None:
    """Say that the table is whole, what it holds, and what a reader needs to price its answers."""
    held = store.read_json(SETTINGS)
    facts: dict[str, dict[str, Any]] = {name: {} for name in held["members"]}
    if store.exists(MANIFEST):
        facts.update({m["name"]: m for m in store.read_json(MANIFEST)["pool"]})
    for member in config.pool.members or []:
        facts[member.name] = {"name": member.name, **{key: getattr(member, key) for key in FACTS}}
    seconds = sum(store.read_json(f"log/samples/{name}")["seconds"] for name in store.names("log/samples"))
    store.write_json(
        MANIFEST,
        {
            "format": "erp-reward-table",
            "version": 1,
            "prompts": len(store.read_frame("prompts.parquet", ["prompt_id"])),
            "members": list(held["members"]),
            "k": held["k"],
            "failed_prompts": failed,
            "pool": [fact for fact in facts.values() if fact],
            "prices_as_of": config.pool.prices_as_of,
            "sampled_in_seconds": round(seconds, 1),
            "made_with": {"python": platform.python_version(), **_versions()},
            "settings": held,
        },
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
