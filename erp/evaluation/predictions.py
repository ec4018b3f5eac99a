"""What was predicted, observed and chosen, as ``predictions.parquet`` holds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from erp.decisions.policy import Policy
from erp.evaluation.held_out import HeldOut
from erp.training.data import RoutingData, Rows


def predictions_frame(
    held_out: HeldOut, prompt_ids: pd.Series[str], counts: np.ndarray[Any, Any], split: str, policy: Policy
) -> pd.DataFrame:
    """One row per prompt and member: what was predicted, what was observed, what the run's policy chose.

    Args:
        held_out: N prompts of a split.
        prompt_ids: (N,) their ids.
        counts: (N, M) samples behind every observed reward.
        split: its name.
        policy: the run's.
    """
    n, m = held_out.scores.shape
    chosen = held_out.decided(policy).weights > 0
    return pd.DataFrame(
        {
            "prompt_id": np.repeat(prompt_ids.to_numpy(dtype=object), m),
            "split": split,
            "model": np.tile(np.array(held_out.members, dtype=object), n),
            "predicted": held_out.scores.ravel(),
            "observed": held_out.rewards.ravel(),
            "count": counts.ravel(),
            "predicted_cost": np.broadcast_to(held_out.predicted_costs, (n, m)).ravel(),
            "cost": held_out.costs.ravel(),
            "chosen": chosen.ravel(),
        }
    )


def predictions(data: RoutingData, parts: Sequence[tuple[str, HeldOut, Rows]], policy: Policy) -> pd.DataFrame:
    """``predictions.parquet`` of some splits, each with its name, what was held out, and its rows."""
    ids, counts = data.table.prompts["prompt_id"], data.targets.count
    return pd.concat(
        [predictions_frame(part, ids.iloc[rows], counts[rows], name, policy) for name, part, rows in parts]
    )
