"""Which prompts are train, validation, calibration and test: hashed, so that it stays when prompts are added."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.groups import group_keys, text_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

_TRAIN, _VALIDATION, _CALIBRATION, _TEST = range(4)
_PARTS = ("train", "validation", "calibration", "test")
_OWN_NAMES = {"train": _TRAIN, "test": _TEST, "validation": _VALIDATION, "val": _VALIDATION, "dev": _VALIDATION}


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of `table.prompts`, ascending, in four disjoint parts.

    Attributes:
        train: What routers are fitted on.
        validation: What hyper-parameters are chosen on.
        calibration: What a guarantee is computed on; empty unless asked for.
        test: What results are read from, once.
        groups: Number of the component every prompt lies in (N,), for intervals clustered by group.
        notes: What was left out and why, a plain sentence each.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.int64]
    notes: tuple[str, ...] = ()


def split_table(
    table: RewardTable,
    *,
    by: Literal["group", "prompt", "table"],
    seed: int,
    test: float,
    validation: float,
    calibration: float = 0.0,
    overlap: Literal["error", "drop_from_train"] = "error",
) -> Split:
    """Split the prompts of a table.

    Every key (a group, or a text) is hashed with the seed to a number in [0, 1): below `test` it is test, in the next
    `validation` it is validation, then calibration, the rest is train.

    Args:
        table: The table.
        by: group = components of equal text and own group stay together; prompt = only equal texts do;
            table = the table's own column `split`.
        seed: Which of the hashed splits.
        test: Share of test. Not used with by=table.
        validation: Share of validation; with by=table share of the table's train part, and only if it names none.
        calibration: Share of calibration, likewise.
        overlap: With by=table, what becomes of train prompts whose text stands in test too.

    Raises:
        ErpError: Shares out of range, an unusable column `split`, texts on both sides, or a part without any prompt.
    """
    _check_shares(by, test, validation, calibration)
    texts = text_keys(table.prompts)
    components = group_keys(table.prompts)
    groups = np.unique(components.astype(str), return_inverse=True)[1].astype(np.int64)
    notes: tuple[str, ...] = ()
    if by == "table":
        part = _own_parts(table, components, seed, validation, calibration)
        part, notes = _without_overlap(table, part, texts, groups, overlap)
    else:
        unit = _unit_interval(components if by == "group" else texts, seed)
        bounds = np.cumsum([test, validation, calibration])
        part = np.array([_TEST, _VALIDATION, _CALIBRATION, _TRAIN])[np.searchsorted(bounds, unit, side="right")]
    rows = [np.flatnonzero(part == number).astype(np.int64) for number in range(len(_PARTS))]
    _check_parts(rows, by, groups, calibration)
    return Split(rows[_TRAIN], rows[_VALIDATION], rows[_CALIBRATION], rows[_TEST], groups, notes)


def _unit_interval(keys: NDArray[np.object_], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for every key (N,), from its hash with the seed."""
    codes, distinct = pd.factorize(keys)
    digests = [hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest() for key in distinct]
    # 53 bits, what a float64 holds exactly
    values = np.array([(int.from_bytes(digest[:8], "big") >> 11) / 2.0**53 for digest in digests])
    return np.asarray(values[codes])


def _check_shares(by: str, test: float, validation: float, calibration: float) -> None:
    faults = []
    if by not in ("group", "prompt", "table"):
        faults.append(f"split.by = {by}: unknown; allowed are group, prompt, table; choose one")
    for name, share, lowest in (
        ("test", test, 0.0),
        ("validation", validation, 0.0),
        ("calibration", calibration, -1.0),
    ):
        if not (lowest < share < 1.0) or share < 0:
            allowed = "a number above 0 and below 1" if lowest == 0 else "a number from 0 to below 1"
            faults.append(f"split.{name} = {share}: out of range; allowed is {allowed}; change it")
    left = validation + calibration if by == "table" else test + validation + calibration
    if not faults and left >= 1.0 - 1e-12:
        shares = "validation + calibration" if by == "table" else "test + validation + calibration"
        faults.append(
            f"split.{shares.replace(' + ', ' + split.')} = {left:g}: leaves no train prompts; "
            "allowed is less than 1; lower one of them"
        )
    if faults:
        raise ErpError(*faults)


def _own_parts(
    table: RewardTable, keys: NDArray[np.object_], seed: int, validation: float, calibration: float
) -> NDArray[np.int64]:
    """Part of every prompt (N,) by the table's own column; what it does not name is carved out of its train part."""
    own = table.prompts["split"].to_numpy(dtype=object)
    known = np.array([value in _OWN_NAMES for value in own], dtype=bool)
    if not known.all():
        values, counts = np.unique([str(value) for value in own[~known]], return_counts=True)
        named = zip(values, counts, strict=True)
        seen = shorten(f"{'null' if value == 'None' else value} ({count:,} prompts)" for value, count in named)
        raise ErpError(
            f"split.by = table: the table's column split holds {seen}; allowed are {', '.join(_OWN_NAMES)}; "
            "correct the column or use split.by=group"
        )
    part = np.array([_OWN_NAMES[value] for value in own], dtype=np.int64)
    unit = _unit_interval(keys, seed)
    is_train = part == _TRAIN
    carved = 0.0 if (part == _VALIDATION).any() else validation
    part[is_train & (unit < carved)] = _VALIDATION
    part[is_train & (unit >= carved) & (unit < carved + calibration)] = _CALIBRATION
    return part


def _without_overlap(
    table: RewardTable, part: NDArray[np.int64], texts: NDArray[np.object_], groups: NDArray[np.int64], overlap: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Refuse or drop prompts whose text stands in test as well, or in train and validation; -1 = dropped."""
    is_test = part == _TEST
    repeated = ~is_test & pd.Series(texts).isin(texts[is_test]).to_numpy()
    # Nor may a router be chosen on a text it was fitted on.
    repeated |= (part == _TRAIN) & pd.Series(texts).isin(texts[part == _VALIDATION]).to_numpy()
    notes = []
    if repeated.any() and overlap != "drop_from_train":
        ids = shorten(table.prompts["prompt_id"].to_numpy()[repeated], 5)
        raise ErpError(
            f"split.by = table: {int(repeated.sum()):,} prompts have the same text as one in another part: {ids}; "
            "a text may stand on one side only; drop them with split.overlap=drop_from_train or use split.by=group"
        )
    if repeated.any():
        part = np.where(repeated, -1, part)
        notes.append(f"dropped for having the text of a prompt held out: {int(repeated.sum()):,} prompts")
    both = np.intersect1d(groups[is_test], groups[(part >= 0) & ~is_test])
    if len(both):
        notes.append(f"on both sides of the table's own split: {len(both):,} groups")
    return part, tuple(notes)


def _check_parts(rows: list[NDArray[np.int64]], by: str, groups: NDArray[np.int64], calibration: float) -> None:
    wanted = [number for number in range(len(_PARTS)) if number != _CALIBRATION or calibration > 0]
    empty = [_PARTS[number] for number in wanted if len(rows[number]) == 0]
    if not empty:
        return
    remedy = "use a larger table, raise that part's share, or try another split.seed"
    if by == "group":
        remedy += " or split.by=prompt"
    if by == "table":
        remedy = "correct the table's column split, or use split.by=group"
    raise ErpError(
        f"split.by = {by}: no prompt in {', '.join(empty)} "
        f"({len(groups):,} prompts in {len(np.unique(groups)):,} groups); every part needs at least one; {remedy}"
    )
