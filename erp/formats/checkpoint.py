"""A checkpoint: ``state_dict``, and the ``card`` that says how to build what it is the state of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from erp.formats.form import Form

_CARD = {
    "category": "given",
    "predict_cost": False,
    "category_block": 0.0,
    "policy_state": {},
    "backbone_state": {},
    "prompt_from": "last_user",
}
_COSTS = "cost_model"
_NEIGHBOURS = ("embedding", "rewards", "neighbours", "temperature")  # what the state of a knn has


def said_in_full(content: Mapping[str, Any]) -> dict[str, Any]:
    """1: the card says what once went without saying; knn keeps twins; mean_and_spread no kind of reward."""
    state = {key: value for key, value in content["state_dict"].items() if key.rpartition(".")[2] != "binary"}
    return {**content, "card": {**_CARD, **content["card"]}, "state_dict": _with_twins(state)}


def _with_twins(state: Mapping[str, Any]) -> dict[str, Any]:
    """Every prompt of a knn as its own twin, where its state does not say which prompts have equal embeddings."""
    parts = {key.rpartition(".")[0] for key in state}
    lacking = [
        part for part in parts if f"{part}.twin" not in state and all(f"{part}.{name}" in state for name in _NEIGHBOURS)
    ]
    twins = {part: state[f"{part}.neighbours"].new_tensor(range(len(state[f"{part}.embedding"]))) for part in lacking}
    return {**state, **{f"{part}.twin": twin for part, twin in twins.items()}}


def with_cost_head(content: Mapping[str, Any]) -> dict[str, Any]:
    """2: predicted costs were linear, and bounded by 0 alone; how far they erred on validation was not kept."""
    state = dict(content["state_dict"])
    if (intercept := state.get(f"{_COSTS}.intercept")) is not None:  # a tensor, or an array of an export
        nothing, unknown = 0.0 * intercept, float("nan") * state[f"{_COSTS}.alpha"]
        state[f"{_COSTS}.logarithm"] = nothing > 0
        state[f"{_COSTS}.least"], state[f"{_COSTS}.most"] = nothing, nothing + float("inf")
        state[f"{_COSTS}.linear_error"] = state[f"{_COSTS}.log_error"] = unknown
    return {**content, "state_dict": state}


CHECKPOINT = Form(said_in_full, with_cost_head)
