"""What a table that is whole says of itself: its manifests, written last."""

from __future__ import annotations

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from erp.collect.collection import PROMPTS
from erp.collect.score import Scorer, rewards_folder
from erp.collect.store import Store
from erp.formats.table import TABLE
from erp.table.folder import MANIFEST

_PACKAGES = ("erp", "torch", "transformers", "xllamacpp", "vllm", "reasoning_gym", "datasets")


def write_reward_manifest(store: Store, job: Scorer, about: dict[str, Any], failed: int) -> None:
    """Say what gave the scores, and what happened while scoring. Written when all responses are scored."""
    folder = rewards_folder(job.name)
    logs = [store.read_json(f"log/{folder}/{entry}") for entry in sorted(store.names(f"log/{folder}"))]
    counts = sum((Counter(said["counts"]) for said in logs), Counter[str]())
    known = all(said.get("scored") is not None for said in logs)  # an older erp's did not say
    scored = sum(said["scored"] for said in logs) if known else None
    # the workers', not that of who waits for them
    devices = sorted({device for said in logs for device in said.get("devices", [])})
    at = {"device": ", ".join(devices)} if devices else {}
    store.write_json(
        f"{folder}/{MANIFEST}",
        {
            "reward_model": job.name, **about, **at, "counts": counts, "scored": scored, "failed_prompts": failed,
            "notes": job.notes(counts, scored), "seconds": round(sum(said["seconds"] for said in logs), 1),
        },
    )  # fmt: skip


def read_manifest(store: Store) -> dict[str, Any]:
    """What a finished table says of itself. Raises ErpError where a newer erp wrote it."""
    return TABLE.read(store.read_json(MANIFEST), f"out = {store.url}: {MANIFEST}")


def facts_changed(store: Store, held: dict[str, Any]) -> bool:
    """Whether prices, parameters or prompts were given otherwise than the finished table's manifest says."""
    manifest = read_manifest(store)
    prompts = (manifest.get("settings") or {}).get("prompts")
    priced = manifest["pool"] == _pool(held) and manifest["prices_as_of"] == held["prices_as_of"]
    return not priced or prompts != held["prompts"]


def _pool(held: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, **facts} for name, facts in held["facts"].items()]


def write_manifest(store: Store, held: dict[str, Any], failed: int) -> None:
    """Say that the table is whole, what it holds, and what a reader needs to price its answers."""
    seconds = sum(store.read_json(f"log/samples/{name}")["seconds"] for name in store.names("log/samples"))
    store.write_json(
        MANIFEST,
        TABLE.numbered(
            {
                "prompts": store.count_rows(PROMPTS),
                "members": list(held["members"]),
                "k": held["k"],
                "failed_prompts": failed,
                "pool": _pool(held),
                "prices_as_of": held["prices_as_of"],
                "sampled_in_seconds": round(seconds, 1),
                "made_with": {"python": platform.python_version(), **_versions()},
                "settings": {key: held[key] for key in ("source", "prompts", "seed", "block", "added", "members")},
            }
        ),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
