"""The folder of a run: the number stands in ``config.yaml``, the first file that is written into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erp.formats.form import Form

_TABLES = {
    "table": "erp.table.read.TableFiles",
    "mini": "erp.table.mini.Mini",
    "synthetic": "erp.table.synthetic.Synthetic",
}


def said_in_full(config: Mapping[str, Any]) -> dict[str, Any]:
    """1: ``data`` names its class, in place of a ``kind``; ``cost`` says what lambda is a price of.

    It was the price of a base unit of cost (one FLOP) where nothing was said.
    """
    found, data, cost = dict(config), config.get("data"), config.get("cost")
    if isinstance(data, Mapping) and (kind := data.get("kind")) in _TABLES:
        rest = {key: value for key, value in data.items() if key != "kind"}
        found["data"] = {"name": kind, "_target_": _TABLES[kind], **rest}
    if isinstance(cost, Mapping):
        found["cost"] = {"lambda_per": "base", **cost}
    return found


def with_cost_head(config: Mapping[str, Any]) -> dict[str, Any]:
    """2: predicted costs were linear, where validation chooses by now."""
    cost = config.get("cost")
    if isinstance(cost, Mapping) and cost.get("predict") is True and "head" not in cost:
        return {**config, "cost": {**cost, "head": "linear"}}
    return dict(config)


RUN = Form(said_in_full, with_cost_head)
