"""Rewards of other reward models on a run's train prompts, for a router that learns them beside its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.config import Pool, RewardModel, TrainConfig
from erp.errors import ErpError, shorten
from erp.table.schema import RewardTable
from erp.table.source import load_table
from erp.table.split import Split
from erp.targets import expected_target
from erp.training.attempts import without_attempts


def tables_beside(config: TrainConfig, beside: Sequence[str] | None, own: str) -> tuple[RewardTable, ...]:
    """The run's table by each of these reward models, in their order; none where none is named.

    Args:
        config: of the run.
        beside: names of reward models.
        own: the run's.

    Raises:
        ErpError: a name that the table does not have, twice, or the run's own; or labels are limited by samples.
    """
    names = list(beside or ())
    if wrong := sorted({name for name in names if names.count(name) > 1 or name == own}):
        raise ErpError(
            f"router.beside = {shorten(wrong)}: the run's own reward model is learnt anyway, and others are named "
            "once; give other reward models of the table, or null"
        )
    if names and config.labels.samples is not None:
        raise ErpError(
            f"labels.samples = {config.labels.samples}: limits the run's own rewards, and router.beside reads the "
            "others of every sample; give labels.samples=null, or router.beside=null"
        )
    return tuple(_read(config, name) for name in names)


def _read(config: TrainConfig, name: str) -> RewardTable:
    try:
        table = load_table(config.data, RewardModel(name=name), Pool())
    except ErpError as error:
        raise ErpError(*(fault.replace("reward_model.name", "router.beside") for fault in error.faults)) from None
    return without_attempts(config, table)[0]


def rewards_beside(
    config: TrainConfig, table: RewardTable, split: Split, others: Sequence[RewardTable]
) -> NDArray[np.float32] | None:
    """What each of the others expects of the run's prompts and members, (N, R, M), NaN where it does not tell.

    On train prompts alone: no other prompt's rewards by them are learnt from, chosen by or told of. Standardised as a
    network's own targets are: less each member's train mean, by one standard deviation of the whole pool.

    Args:
        config: of the run.
        table: the run's, with its pool's members.
        split: of that table.
        others: the same by other reward models; none gives None.

    Raises:
        ErpError: one of them tells nothing of the train prompts.
    """
    return np.stack(list(_standardised(config, table, split, others)), axis=1) if others else None


def _standardised(
    config: TrainConfig, table: RewardTable, split: Split, others: Sequence[RewardTable]
) -> Iterator[NDArray[np.float32]]:
    ids = table.prompts["prompt_id"].iloc[split.train]
    for other in others:
        mean = expected_target(other, **config.target.model_dump()).mean
        known = pd.DataFrame(mean, index=other.prompts["prompt_id"].to_numpy(), columns=list(other.members))
        own = known.reindex(index=ids.to_numpy(), columns=list(table.members))
        less = (own - own.mean()).to_numpy(dtype=np.float64)
        present = np.isfinite(less)
        if not present.any():
            raise ErpError(
                f"router.beside = {other.reward_model}: has no reward of this pool on any train prompt; name a reward "
                "model that scored them, or null"
            )
        spread = float(np.sqrt(np.mean(less[present] ** 2)))
        found = np.full((len(table.prompts), len(table.members)), np.nan, dtype=np.float32)
        found[split.train] = less / (spread if spread > 0 else 1.0)
        yield found
