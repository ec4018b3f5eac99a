"""Keys and classes with another name by now: folders are read under the new one, whoever types the old is told it."""

from __future__ import annotations

from typing import Any

KEYS = {"data.kind": "choose data=<option>"}
"""Dotted key that there was -> what to do now, behind "there is no such key any more; "."""

TARGETS: dict[str, str] = {"erp.collect.runners.ray.RayRunner": "erp.collect.runners.ray_data.RayDataRunner"}
"""Dotted path of a class that a ``_target_`` named -> where it is now."""


def with_new_targets(node: Any) -> Any:
    """Nested values with every ``_target_`` under its new name."""
    if isinstance(node, dict):
        found = {key: with_new_targets(value) for key, value in node.items()}
        target = found.get("_target_")
        return found | {"_target_": TARGETS[target]} if isinstance(target, str) and target in TARGETS else found
    return [with_new_targets(value) for value in node] if isinstance(node, list) else node
