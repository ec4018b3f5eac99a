"""Configs of runs as earlier versions wrote them, and what keys are called now that were called otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REPLACED = {"data.kind": "choose data=<option>"}
"""Keys that there were once -> what to do now."""

_KINDS = {
    "table": "erp.table.read.TableFiles",
    "mini": "erp.table.mini.Mini",
    "synthetic": "erp.table.synthetic.Synthetic",
}


def with_data_target(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with ``data`` as a node with a class, in place of one that has a ``kind``."""
    data = config.get("data")
    if not isinstance(data, Mapping) or data.get("kind") not in _KINDS:
        return dict(config)
    rest = {name: value for name, value in data.items() if name != "kind"}
    return {**config, "data": {"name": data["kind"], "_target_": _KINDS[data["kind"]], **rest}}
