"""Which prompts are train, validation, calibration and test: hashed by group, or kept from an earlier run."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from erp.errors import ErpError, shorten
from erp.shared import shared
from erp.table.groups import Groups, group_prompts
from erp.table.kept import Kept, keep_parts
from erp.table.neighbours import LARGEST_SHARE, duplicate_facts, leak
from erp.table.split import PARTS, Split

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

_TRAIN, _VALIDATION, _CALIBRATION, _TEST = range(4)
_OWN_NAMES = {"train": _TRAIN, "test": _TEST, "validation": _VALIDATION, "val": _VALIDATION, "dev": _VALIDATION}


def split_table(
    table: RewardTable,
    *,
    by: Literal["group", "prompt", "table", "category"],
    seed: int,
    test: float,
    validation: float,
    calibration: float = 0.0,
    overlap: Literal["error", "drop_from_train"] = "error",
    near_duplicates: float | None = None,
    category: str | None = None,
    kept: Kept | None = None,
    cache: Path | None = None,
) -> Split:
    """Split the prompts of a table.

    Every key (a group, or a text) is hashed with the seed to a number in [0, 1): below `test` it is test, in the next
    `validation` it is validation, then calibration, the rest is train.

    Args:
        table: The table.
        by: group = components of equal text, own group and near-duplicates stay together; prompt = only equal texts
            do; table = the table's own column `split`; category = test is one category, and what shares a group with
            it is left out.
        seed: Which of the hashed splits.
        test: Share of test. Not used with by=table and by=category.
        validation: Share of validation; with by=table share of the table's train part, and only if it names none; with
            by=category share of the other categories.
        calibration: Share of calibration, likewise.
        overlap: With by=table, what becomes of train prompts whose text stands in test too.
        near_duplicates: Jaccard similarity from which two prompts are near-duplicates; None = only equal texts are.
        category: The one to leave out, with by=category.
        kept: An earlier run's split, with by=group and by=prompt: prompts and groups known there keep their part, only
            the others are hashed. Its calibration prompts are train where no calibration is asked for; where it has
            none, they are taken out of train by their hash.
        cache: Folder in which near-duplicates of a table are kept; None: nowhere.

    Raises:
        ErpError: Shares out of range, an unusable column `split`, texts on both sides, a category that cannot be left
            out, or a part without any prompt.
    """
    _check_shares(by, test, validation, calibration)
    grouped = shared(
        "groups", partial(group_prompts, table.prompts, near_duplicates, cache=cache),
        table.prompts, near_duplicates, str(cache),
    )  # fmt: skip
    groups = grouped.groups
    notes: tuple[str, ...] = ()
    if by == "table":
        part = _own_parts(table, grouped.keys, seed, validation, calibration)
        part, notes = _without_overlap(table, part, grouped.texts, groups, overlap)
    elif by == "category":
        part = _hashed_parts(grouped.keys, seed, 0.0, validation, calibration)
        part, notes = _without_category(part, _of_category(table, category), groups)
    else:
        by_hash = grouped.keys if by == "group" else grouped.texts
        part = _hashed_parts(by_hash, seed, test, validation, calibration)
        if kept is not None:
            part, notes = keep_parts(kept, table, grouped, part, PARTS, by == "group")
            part = _with_calibration(part, unit_interval(by_hash, seed) - test - validation, calibration)
    rows = [np.flatnonzero(part == number).astype(np.int64) for number in range(len(PARTS))]
    _check_parts(rows, by, groups, calibration)
    notes += _near_duplicate_notes(grouped, by, rows, near_duplicates)
    parts = dict(zip(PARTS, rows, strict=True))
    return Split(**parts, groups=groups, keys=grouped.names, texts=grouped.texts, notes=notes)


def _hashed_parts(
    keys: NDArray[np.object_], seed: int, test: float, validation: float, calibration: float
) -> NDArray[np.int64]:
    """Part of every prompt (N,) by the hash of its key."""
    bounds = np.cumsum([test, validation, calibration])
    parts = np.array([_TEST, _VALIDATION, _CALIBRATION, _TRAIN], dtype=np.int64)
    return parts[np.searchsorted(bounds, unit_interval(keys, seed), side="right")]


def _with_calibration(part: NDArray[np.int64], place: NDArray[np.float64], calibration: float) -> NDArray[np.int64]:
    """Parts (N,) with a calibration part only if one is asked for; `place`: each hash less where its share begins."""
    if calibration == 0:
        return np.where(part == _CALIBRATION, _TRAIN, part)
    if (part == _CALIBRATION).any():
        return part
    return np.where((part == _TRAIN) & (place >= 0) & (place < calibration), _CALIBRATION, part)


def unit_interval(keys: NDArray[np.object_], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) for every key (N,), from its hash with the seed."""
    codes, distinct = pd.factorize(keys)
    digests = [hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()[:8] for key in distinct]
    # 53 bits, what a float64 holds exactly
    values = (np.frombuffer(b"".join(digests), dtype=">u8") >> 11) / 2.0**53
    return np.asarray(values[codes])


def _check_shares(by: str, test: float, validation: float, calibration: float) -> None:
    faults = []
    if by not in ("group", "prompt", "table", "category"):
        faults.append(f"split.by = {by}: unknown; allowed are group, prompt, table, category; choose one")
    for name, share, lowest in (
        ("test", test, 0.0),
        ("validation", validation, 0.0),
        ("calibration", calibration, -1.0),
    ):
        if not (lowest < share < 1.0) or share < 0:
            allowed = "a number above 0 and below 1" if lowest == 0 else "a number from 0 to below 1"
            faults.append(f"split.{name} = {share}: out of range; allowed is {allowed}; change it")
    has_test = by in ("table", "category")  # otherwise a share of the prompts becomes test
    left = validation + calibration if has_test else test + validation + calibration
    if not faults and left >= 1.0 - 1e-12:
        shares = "validation + calibration" if has_test else "test + validation + calibration"
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
    unit = unit_interval(keys, seed)
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


def _of_category(table: RewardTable, category: str | None) -> NDArray[np.bool_]:
    """Which prompts (N,) are of the category to leave out."""
    values = table.prompts["category"].to_numpy(dtype=object)
    allowed = sorted({str(value) for value in values[~pd.isna(values)]})
    if not allowed:
        raise ErpError(
            "split.by = category: the table has no categories; add the column category or use split.by=group"
        )
    if category not in allowed:
        raise ErpError(
            f"split.category = {category}: not in the table; allowed are {shorten(allowed, 20)}; correct the name"
        )
    chosen = values == category
    if chosen.all():
        raise ErpError(
            f"split.category = {category}: every prompt of the table is of it, so none is left to learn from; "
            "allowed is one of several categories; use split.by=group"
        )
    return np.asarray(chosen, dtype=bool)


def _without_category(
    part: NDArray[np.int64], of_category: NDArray[np.bool_], groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The category becomes test; others that share a group with it are dropped: -1."""
    touched = ~of_category & np.isin(groups, groups[of_category])
    part = np.where(of_category, _TEST, np.where(touched, -1, part))
    if not touched.any():
        return part, ()
    return part, (f"dropped for sharing a group with the category left out: {int(touched.sum()):,} prompts",)


def _near_duplicate_notes(
    grouped: Groups, by: str, rows: list[NDArray[np.int64]], threshold: float | None
) -> tuple[str, ...]:
    """How many near-duplicates there are, where they stay together; how many are parted, where they do not."""
    if grouped.near is None:
        return ()
    facts = duplicate_facts(grouped.near)
    notes = []
    if by in ("group", "category") and (facts.groups or facts.cut):
        notes.append(
            f"near-duplicates (similarity {threshold:g} or more): {facts.prompts:,} prompts in {facts.groups:,} "
            f"groups, the largest of {facts.largest:,}"
        )
    if by in ("group", "category") and facts.cut:
        notes.append(
            f"{facts.cut:,} prompts were chained into groups above {LARGEST_SHARE:.0%} of the table, which were cut "
            "at a stricter similarity: similar prompts among them may stand in both train and test"
        )
    if by in ("prompt", "table"):
        parted = leak(grouped.near, rows[_TEST], np.concatenate([rows[_TRAIN], rows[_VALIDATION]]))
        if parted or by == "prompt":
            notes.append(
                f"{parted:,} of {len(rows[_TEST]):,} test prompts have a near-duplicate (similarity {threshold:g} or "
                "more) in train or validation"
            )
    return tuple(notes)


def _check_parts(rows: list[NDArray[np.int64]], by: str, groups: NDArray[np.int64], calibration: float) -> None:
    wanted = [number for number in range(len(PARTS)) if number != _CALIBRATION or calibration > 0]
    empty = [PARTS[number] for number in wanted if len(rows[number]) == 0]
    if not empty:
        return
    remedy = "use a larger table, raise that part's share, or try another split.seed"
    if by == "group":
        remedy += " or split.by=prompt"
    if by == "table":
        remedy = "correct the table's column split, or use split.by=group"
    if by == "category":
        remedy = "raise split.validation, leave out another split.category, or use split.by=group"
    raise ErpError(
        f"split.by = {by}: no prompt in {', '.join(empty)} "
        f"({len(groups):,} prompts in {len(np.unique(groups)):,} groups); every part needs at least one; {remedy}"
    )
