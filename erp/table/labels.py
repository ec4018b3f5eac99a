"""Which labels are learnt from: what a budget would have bought, and what there is of a member that joins."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError
from erp.table.store import changed

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable
    from erp.table.split import Split

PARTS = ("train", "validation", "calibration")  # what is learnt from; test keeps every label


def limit_labels(
    table: RewardTable, split: Split, *, prompts: int | None, samples: int | None, seed: int
) -> tuple[RewardTable, Split]:
    """The table and split with at most so many labels to learn from; test stays as it is.

    Args:
        table: Any table.
        split: Of that table.
        prompts: How many prompts to learn from, drawn from train, validation and calibration in their proportion, at
            least one of each; None = all. Fewer prompts are a part of more, under one seed.
        samples: How many samples of each of their cells, drawn at random; None = all.
        seed: Of the draws.

    Raises:
        ErpError: Samples are asked for and the table holds means of several.
    """
    if prompts is None and samples is None:
        return table, split
    random = np.random.default_rng([seed, 0x1ABE1])
    kept, dropped = {}, np.zeros(len(table.prompts), dtype=bool)
    total = sum(len(getattr(split, part)) for part in PARTS)
    share = 1.0 if prompts is None else min(1.0, prompts / total)
    for part in PARTS:
        rows = random.permutation(getattr(split, part))
        count = max(round(share * len(rows)), min(1, len(rows)))
        kept[part] = np.sort(rows[:count])
        dropped[rows[count:]] = True
    learnt = np.zeros(len(table.prompts), dtype=bool)
    learnt[np.concatenate(list(kept.values()))] = True

    def held(rows: pd.DataFrame) -> pd.DataFrame:
        left: pd.DataFrame = rows[~dropped[rows["prompt"].to_numpy()]]
        if samples is not None:
            left = left[~learnt[left["prompt"].to_numpy()] | _drawn(left, samples, random)]
        return left

    note = f"labels: learnt from {sum(map(len, kept.values())):,} of {total:,} prompts" + (
        "" if samples is None else f", at most {samples} samples of each cell"
    )
    limited = replace(table, samples=changed(table.samples, len(table.prompts), held), notes=(*table.notes, note))
    return limited, replace(split, train=kept["train"], validation=kept["validation"], calibration=kept["calibration"])


def _drawn(held: pd.DataFrame, samples: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which rows are among the first `samples` of their cell, in a random order; rows without a reward come last."""
    if (held["n_samples"] > 1).any():
        raise ErpError(
            f"labels.samples = {samples}: the table holds means of several samples, which cannot be drawn from; leave "
            f"it out, or give a table of single samples"
        )
    order = held.assign(
        at=np.arange(len(held)), missing=held["reward"].isna().to_numpy(), luck=random.random(len(held))
    ).sort_values(["missing", "luck"])
    drawn = np.zeros(len(held), dtype=bool)
    drawn[order.loc[(order.groupby(["prompt", "member"]).cumcount() < samples).to_numpy(), "at"].to_numpy()] = True
    return drawn


def choose_labels(
    table: RewardTable, split: Split, rewarded: NDArray[np.bool_], wanted: int | None, seed: int, member: str
) -> tuple[NDArray[np.int64], int]:
    """Rows of the labels in the order of a hash, and how many there could be: the first n of more are the same n.

    Args:
        table: of all members, the new one last.
        split: the run's own; its train and validation prompts may be labels.
        rewarded: (N,) where the new member has a reward.
        wanted: how many; None for all.
        seed: of the hash.
        member: the new one's name.

    Raises:
        ErpError: fewer than two, or than wanted; or no test prompt has a reward of it.
    """
    possible = split.learnt[rewarded[split.learnt]]
    where = "prompts that the run learnt from have a reward of it"
    if len(possible) < 2:
        raise ErpError(
            f"member = {member}: {len(possible)} {where}; labels are taken from those alone, never from test; score it "
            "on 2 or more of them"
        )
    if wanted is not None and wanted > len(possible):
        raise ErpError(f"labels = {wanted}: only {len(possible)} {where}; give that or less, or null for all of them")
    if not rewarded[split.test].any():
        raise ErpError(
            f"member = {member}: no prompt that the run is tested on has a reward of it, so nothing would be known of "
            "the pool with it; score it on test prompts too"
        )
    ids = table.prompts["prompt_id"].to_numpy(dtype=object)
    drawn = sorted(
        possible, key=lambda row: hashlib.sha256(f"{seed}:{ids[row]}".encode("utf-8", "surrogatepass")).digest()
    )
    return np.array(drawn[:wanted], dtype=np.int64), len(possible)


def without_other_labels(table: RewardTable, split: Split, labels: NDArray[np.int64]) -> RewardTable:
    """The table without rewards of the last member that are neither labels nor test, so that nothing reads them."""
    kept = np.zeros(len(table.prompts), dtype=bool)
    kept[labels] = kept[split.test] = True

    def told(rows: pd.DataFrame) -> pd.DataFrame:
        left: pd.DataFrame = rows[(rows["member"] != len(table.members) - 1) | kept[rows["prompt"].to_numpy()]]
        return left

    return replace(table, samples=changed(table.samples, len(table.prompts), told))
