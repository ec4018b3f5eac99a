"""Which models an address says that it has: asked once, before anything is paid for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from erp.config import Member
from erp.errors import ErpError, shorten

ANY_NAME = "llamacpp"  # who owns the one model of a server that answers by it, whatever name it is called by


@dataclass(frozen=True)
class Listed:
    """What ``/models`` says.

    Attributes:
        ids: of the models, in the server's order.
        names: the ids, and what else the models may be called.
        any_name: whether the server answers to every other name too, by its one model.
    """

    ids: tuple[str, ...]
    names: frozenset[str]
    any_name: bool


def read_models(content: bytes) -> Listed | None:
    """An answer of ``/models``; None where it is none."""
    try:
        models = json.loads(content)["data"]
        ids = tuple(str(model["id"]) for model in models)
        others = [str(alias) for model in models for alias in model.get("aliases") or ()]
        owners = {model.get("owned_by") for model in models}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return Listed(ids, frozenset((*ids, *others)), len(ids) == 1 and owners == {ANY_NAME}) if ids else None


def oddities(listed: Listed, members: Sequence[Member], where: str) -> list[str]:
    """A line for each member whose model the server does not list.

    Hosts may take names that they do not list, so that only what cannot be is refused.

    Raises:
        ErpError: members with different models are all answered by one and the same.
    """
    unknown = [member for member in members if member.weights not in listed.names]
    if listed.any_name and unknown and len({member.weights for member in members}) > 1:
        names = ", ".join(member.name for member in members)
        raise ErpError(
            f"pool.members: {names} would all be answered by {listed.ids[0]}, the one model of {where}, which answers "
            f"to any name; give each its own server (engine: {{base_url: ...}} beside its name), or the same model"
        )
    if listed.any_name:
        return [
            f"note: {member.name}: is answered by {listed.ids[0]}, the one model of {where}, which answers to any name"
            for member in unknown
        ]
    return [
        f"warning: {member.name}: {where} lists no model {member.weights}; it has "
        f"{shorten(get_close_matches(member.weights, listed.ids) or listed.ids)}"
        for member in unknown
    ]
