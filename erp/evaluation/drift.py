"""A router asked with another encoder's vectors: which decisions change, and what that earns and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from erp.decisions.policy import Policy
from erp.evaluation.held_out import HeldOut, plain
from erp.metrics.intervals import GroupBootstrap, as_they_are, together
from erp.metrics.prediction import r2_pooled
from erp.rounding import difference
from erp.trained.router import drawn


def drift_section(
    own: HeldOut, asked: HeldOut, policy: Policy, prompts: Sequence[str], bootstrap: Mapping[str, Any]
) -> dict[str, Any]:
    """The section ``drift``, but for the encoders' names.

    Args:
        own: N held-out prompts, scored with the vectors of the run's own encoder.
        asked: the same prompts, scored with the other one's.
        policy: of the run.
        prompts: their N texts, by which a policy that tosses a coin tosses it.
        bootstrap: its settings ``draws, seed, level``.
    """
    every, rows = GroupBootstrap(own.groups, **bootstrap), np.flatnonzero(own.targets.complete)
    before, now = own.decided(policy), asked.decided(policy)
    moved = drawn(before, prompts) != drawn(now, prompts)
    parts = [(every, moved[:, None].astype(np.float64), as_they_are)]
    if len(rows):
        mine, other = own.outcome(before), asked.outcome(now)
        columns = [difference(other.reward, mine.reward), difference(other.cost, mine.cost)]
        parts.append((every.of(rows), np.stack(columns, axis=1)[rows], as_they_are))
    (changed,), *gained = together(parts)
    reward, cost = gained[0] if gained else (None, None)
    in_reward_units = asked.scale == "reward"
    return {
        "prompts": len(moved),
        "changed": plain(changed),
        "reward": plain(reward),
        "cost": plain(cost),
        "r2_pooled": r2_pooled(asked.scores, asked.rewards) if in_reward_units else None,
        "own_r2_pooled": r2_pooled(own.scores, own.rewards) if in_reward_units else None,
    }
