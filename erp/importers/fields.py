"""What stands in a record of somebody else's file, read as what it should be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from erp.errors import shorten, visible
from erp.importers.ledger import Ledger
from erp.values import truth_as_number

Record = Mapping[str, Any]

MISSING = ("", "n/a", "na", "null", "none", "nan", "-", "--", "?", "#n/a")  # what people write for no score
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


class Misread(Exception):  # noqa: N818 - what it is, not a fault of ours
    """A record, or what it says of one member, that cannot be understood.

    Attributes:
        reason: the same words for all of its kind.
        detail: what stands there.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def held(record: Record, key: str) -> Any:
    """What stands under a key, perhaps None. Raises Misread: there is no such key."""
    if key not in record:
        raise Misread(f"no {key}", f"there are {shorten([str(name) for name in record], 8) or 'no keys'}")
    return record[key]


def text(record: Record, key: str) -> str:
    """A text that must be there. Raises Misread: it is none, or blank."""
    value = held(record, key)
    if not isinstance(value, str) or not value.strip():
        raise Misread(f"{key} is no text", f"{key} = {shown(value)}")
    return value


def maybe_text(record: Record, key: str) -> str | None:
    """A text, or None where there is none."""
    value = record.get(key)
    return value if isinstance(value, str) and value.strip() else None


def label(record: Record, key: str) -> str:
    """A name or a number that tells things apart, as text. Raises Misread: it is neither."""
    value = held(record, key)
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    plain = isinstance(value, str | int | np.integer) and not isinstance(value, bool)
    try:
        name = str(value) if plain else ""
    except ValueError:  # an integer of more digits than Python writes
        name = ""
    if not name.strip():
        raise Misread(f"{key} is no name", f"{key} = {shown(value)}")
    return name


def mapping(record: Record, key: str) -> Record:
    """An object. Raises Misread: it is none."""
    value = held(record, key)
    if not isinstance(value, Mapping):
        raise Misread(f"{key} is no object", f"{key} = {shown(value)}")
    return value


def maybe_mapping(value: object) -> Record:
    """An object, or an empty one where there is none."""
    return value if isinstance(value, Mapping) else {}


def inner(record: Record, key: str) -> Record:
    """An object, or an empty one where something else stands."""
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def objects(record: Record, key: str) -> list[Record]:
    """A list of objects. Raises Misread: it is none."""
    value = held(record, key)
    if not isinstance(value, list | np.ndarray) or not all(isinstance(item, Mapping) for item in value):
        raise Misread(f"{key} is no list of objects", f"{key} = {shown(value)}")
    return list(value)


def is_missing(value: object) -> bool:
    """Whether nothing stands there: null, NaN, infinity, an empty cell, "N/A" and the like."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return value is None or value is pd.NA or (isinstance(value, float | np.floating) and not math.isfinite(value))


def number(value: object, called: str) -> float | None:
    """A number, true or false; None for null, NaN, infinity, an empty cell and "N/A".

    Args:
        value: what stands there.
        called: what errors call it.

    Raises:
        Misread: it is something else.
    """
    if is_missing(value):
        return None
    found = truth_as_number(value)
    if isinstance(found, bool | int | float | np.number | np.bool_):
        return _finite(found)
    if isinstance(found, str) and "_" not in found:
        try:
            return _finite(float(found))
        except ValueError:
            pass
    raise Misread(f"{called} is no number", f"{called} = {shown(value)}")


def known_cost(cost: object, answered: bool, ledger: Ledger) -> Any:
    """A cost in USD as it stands there; unknown where 0 is said of a response that has tokens."""
    if answered and cost in (0, "0", "0.0"):
        ledger.note("A cost of 0 beside a response with tokens is unknown, not free.")
        return None
    return cost


def split_of(name: str) -> tuple[str, str | None]:
    """A file's name without its suffix and the word that says its split, and that split: ``mmlu_test.csv``."""
    words = re.split(r"([-_.])", name.rpartition(".")[0] or name)
    split = next((_SPLITS[word] for word in words if word in _SPLITS), None)
    kept = "".join(word for word in words if word not in _SPLITS)
    return re.sub(r"[-_.]{2,}", "_", kept).strip("-_."), split


def shown(value: object) -> str:
    """What stands there, as an error prints it."""
    try:
        told = visible(repr(value))
    except (ValueError, RecursionError):  # an integer of too many digits, lists in lists
        told = f"a {type(value).__name__} that cannot be printed"
    return told if len(told) <= 60 else f"{told[:57]}..."


def _finite(value: Any) -> float | None:
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
