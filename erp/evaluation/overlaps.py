"""Members on their own prompts, in pairs on shared ones, and the router against each where both rewards are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from erp.evaluation.held_out import Floats, HeldOut, plain
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.overlaps import chosen_less_members, known_means, weighted_gains
from erp.rounding import difference

MOST_PAIRS = 66  # pairs of members that are compared one by one: a pool of twelve


def overlaps_section(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any] | None:
    """The section ``overlaps``, of the router at lambda = 0; None where every prompt has a reward of every member.

    Args:
        held_out: every held-out prompt.
        bootstrap: over their groups.
    """
    if held_out.targets.complete.all():
        return None
    rewards, choice = held_out.rewards, held_out.choice(0.0)
    chosen = choice.weights.argmax(axis=1)
    own = own_rewards(held_out.members, rewards, bootstrap)
    less = known_means(chosen_less_members(rewards, chosen), bootstrap)
    weights = weighted_gains(rewards, chosen, bootstrap)
    return {
        "best_single": held_out.members[held_out.single()],
        "members": {
            name: {
                **own[name],
                "share": float((chosen == m).mean()),
                "shared": count,
                "difference": plain(gain),
                "weighted": plain(weighted),
            }
            for m, (name, (count, gain), weighted) in enumerate(zip(held_out.members, less, weights, strict=True))
        },
        "pairs": pair_differences(held_out.members, rewards, bootstrap),
    }


def own_rewards(members: Sequence[str], rewards: Floats, bootstrap: GroupBootstrap) -> dict[str, dict[str, Any]]:
    """Every member on the prompts (N, M) that have a reward of it: how many these are, and its mean there."""
    found = known_means(rewards, bootstrap)
    return {name: {"prompts": count, "reward": plain(mean)} for name, (count, mean) in zip(members, found, strict=True)}


def pair_differences(members: Sequence[str], rewards: Floats, bootstrap: GroupBootstrap) -> list[dict[str, Any]] | None:
    """Every two members, the first less the second, on the prompts (N, M) that have a reward of both.

    None in a pool of one, or of too many to be compared one by one.
    """
    pairs = list(combinations(range(len(members)), 2))
    if not 0 < len(pairs) <= MOST_PAIRS:
        return None
    columns = np.stack([difference(rewards[:, a], rewards[:, b]) for a, b in pairs], axis=1)
    return [
        {"members": [members[a], members[b]], "prompts": count, "difference": plain(mean)}
        for (a, b), (count, mean) in zip(pairs, known_means(columns, bootstrap), strict=True)
    ]
