"""Which prompts of a unit failed, and why: a file beside its rows that is there only where some did."""

from __future__ import annotations

from collections.abc import Mapping

from erp.collect.store import Store
from erp.engines.base import Failure


def read_failures(store: Store, name: str) -> dict[str, Failure]:
    """prompt_id -> why it failed."""
    said = store.read_json(name)
    return {p: Failure(why) if isinstance(why, str) else Failure(why["error"], final=True) for p, why in said.items()}


def write_failures(store: Store, name: str, failed: Mapping[str, Failure]) -> None:
    """Write them, a text each; one that would fail again is a group."""
    said = {p: {"error": why.error, "final": True} if why.final else why.error for p, why in failed.items()}
    store.write_json(name, said)
