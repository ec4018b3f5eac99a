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


CHECKPOINT = Form(said_in_full)
