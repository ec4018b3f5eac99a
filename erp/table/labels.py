"""A table as if fewer labels had been paid for: what a budget of prompts times samples would have bought."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable
    from erp.table.splits import Split

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
    held = table.samples[~dropped[table.samples["prompt"].to_numpy()]]
    if samples is not None:
        learnt = np.isin(held["prompt"].to_numpy(), np.concatenate(list(kept.values())))
        held = held[~learnt | _drawn(held, samples, random)]
    note = f"labels: learnt from {sum(map(len, kept.values())):,} of {total:,} prompts" + (
        "" if samples is None else f", at most {samples} samples of each cell"
    )
    limited = replace(table, samples=held.reset_index(drop=True), notes=(*table.notes, note))
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
