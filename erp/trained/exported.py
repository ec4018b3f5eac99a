"""What a checkpoint holds as a folder to share: tensors in ``router.safetensors``, plain values in ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erp.files import read_json, replacing, sha256_file, write_json

if TYPE_CHECKING:
    from torch import Tensor

TENSORS = "router.safetensors"
CONFIG = "config.json"
_CARD = "card"  # tensors of the card are named by their place in it; no part of a bundle has this name
_TENSOR, _NUMBER = "$tensor", "$number"  # what JSON has no word for: the name of a tensor, an infinity


def write_exported(content: Mapping[str, Any], tensors: Path) -> None:
    """Write a checkpoint's numbered content as two files; the one without the other is refused later."""
    from safetensors.torch import save_file  # here: an export is read without torch where its router needs none

    found = dict(content["state_dict"])
    card = _without_tensors(content["card"], _CARD, found)
    # A file of its own for each: two names of one tensor are refused by the format.
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in found.items()}
    with replacing(tensors) as temporary:
        save_file(own, temporary)
    rest = {name: value for name, value in content.items() if name not in ("state_dict", "card")}
    write_json(tensors.with_name(CONFIG), {**rest, "sha256": sha256_file(tensors), "card": card})


def read_exported(tensors: Path, load: Callable[[Path], Mapping[str, Any]]) -> dict[str, Any]:
    """The content as it was; nothing in the files is run.

    Args:
        tensors: the file.
        load: reads it: safetensors' own function for tensors, or for arrays.

    Raises:
        Exception: of many kinds, where a file is damaged or missing.
    """
    content = read_json(tensors.with_name(CONFIG))
    if content.pop("sha256", None) != sha256_file(tensors):
        raise ValueError(f"it is not the file that {CONFIG} was written with: its sha256 differs")
    # Copied out of the mapped file: aligned, so that products have the same last bits, and closed.
    found = {name: deepcopy(tensor) for name, tensor in load(tensors).items()}
    card = _with_tensors(content.get("card"), found)
    state = {name: tensor for name, tensor in found.items() if not name.startswith(f"{_CARD}.")}
    return {**content, "card": card, "state_dict": state}


def _without_tensors(value: Any, place: str, found: dict[str, Tensor]) -> Any:
    """Plain JSON values; tensors go into ``found``, under their place."""
    from torch import Tensor

    if isinstance(value, Tensor):
        found[place] = value
        return {_TENSOR: place}
    if isinstance(value, Mapping):
        return {name: _without_tensors(item, f"{place}.{name}", found) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, f"{place}.{i}", found) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return {_NUMBER: str(value)}
    return value


def _with_tensors(value: Any, found: Mapping[str, Any]) -> Any:
    if isinstance(value, dict) and len(value) == 1:
        ((name, item),) = value.items()
        if name == _TENSOR:
            return found[item]
        if name == _NUMBER:
            return float(item)
    if isinstance(value, dict):
        return {name: _with_tensors(item, found) for name, item in value.items()}
    return [_with_tensors(item, found) for item in value] if isinstance(value, list) else value
