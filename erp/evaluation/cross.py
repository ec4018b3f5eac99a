"""A router that learnt from one reward model, scored by another: is what the first likes what the second likes?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.references import best_single, oracle
from erp.evaluation.held_out import HeldOut, named_intervals, plain
from erp.metrics.discrimination import pairwise_order_accuracy, top1_accuracy
from erp.metrics.intervals import GroupBootstrap
from erp.rounding import difference


def cross_section(
    held_out: HeldOut, learnt: NDArray[np.float64], scored_train_mean: NDArray[np.float64], bootstrap: GroupBootstrap
) -> dict[str, Any]:
    """The audit ``cross_reward_model``, on complete prompts that both reward models scored.

    Args:
        held_out: N prompts with the rewards of the reward model that scores.
        learnt: (N, M) rewards of the one that the router learnt from.
        scored_train_mean: (M,) train means under the one that scores; NaN where there is no train split.
        bootstrap: over the groups of these N prompts.

    Returns:
        ``agreement``: share of pairs of members, on a prompt, that both put in the same order; ``favourites_shared``.
        ``favourite``: what the favourites observed by the learnt reward model earn here, its luck included.
        ``best_single``: of the scoring one, chosen on its own train means; None without them. Each with its difference
        to the best single member by the learnt reward model.
    """
    base = held_out.rewards[:, held_out.single()]
    router = held_out.outcome(held_out.choice(0.0)).reward
    favourite = held_out.outcome(oracle(learnt, held_out.costs)).reward
    columns = {"router": difference(router, base)[:, None], "favourite": difference(favourite, base)[:, None]}
    own = None
    if np.isfinite(scored_train_mean).any():
        own = best_single(scored_train_mean, held_out.train_mean_cost)
        columns["router_vs_own"] = difference(router, held_out.rewards[:, own])[:, None]
    intervals = named_intervals(columns, bootstrap)
    return {
        "prompts": held_out.size[0],
        "agreement": pairwise_order_accuracy(learnt, held_out.rewards),
        "favourites_shared": top1_accuracy(learnt, held_out.rewards),
        "best_single_member": held_out.members[held_out.single()],
        "router": {"reward": router.mean(), "gain": plain(intervals["router"][0])},
        "favourite": {"reward": favourite.mean(), "gain": plain(intervals["favourite"][0])},
        "own_best_single": None if own is None else {
            "member": held_out.members[own],
            "reward": held_out.rewards[:, own].mean(),
            "router_less_it": plain(intervals["router_vs_own"][0]),
        },
    }  # fmt: skip
