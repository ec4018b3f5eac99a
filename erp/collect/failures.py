"""Which prompts of a unit failed, and why: a file beside its rows that is there only where some did."""

from __future__ import annotations

from collections.abc import Mapping

from erp.collect.store import Store
from erp.engines.base import Failure

Refused = dict[tuple[str, str], str]  # (prompt_id, hash of a response) -> why no score of it will ever be had


def read_failures(store: Store, name: str) -> dict[str, Failure]:
    """prompt_id -> why it failed."""
    said = store.read_json(name)
    return {
        p: Failure(why) if isinstance(why, str) else Failure(why["error"], why.get("final", True))
        for p, why in said.items()
    }


def read_refused(store: Store, name: str) -> Refused:
    """Of scoring: the responses that would be refused again. An older erp did not write which they are."""
    said = store.read_json(name)
    of_prompts = {p: why.get("responses", {}) for p, why in said.items() if not isinstance(why, str)}
    return {(p, digest): error for p, responses in of_prompts.items() for digest, error in responses.items()}


def write_failures(
    store: Store, name: str, failed: Mapping[str, Failure], refused: Mapping[tuple[str, str], str] | None = None
) -> None:
    """Write them, a text each; one that would fail again is a group, with the responses that it is about."""
    said = {p: {"error": why.error, "final": True} if why.final else why.error for p, why in failed.items()}
    of_prompts: dict[str, dict[str, str]] = {}
    for (p, digest), error in (refused or {}).items():
        of_prompts.setdefault(p, {})[digest] = error
    groups = {p: {"error": failed[p].error, "final": failed[p].final, "responses": of_prompts[p]} for p in of_prompts}
    store.write_json(name, {**said, **groups})
