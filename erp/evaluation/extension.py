"""The section ``extension``: what each method makes of a new member's labels, and what joining earns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from erp.decisions.choice import choose
from erp.evaluation.held_out import Floats, HeldOut, plain
from erp.metrics.intervals import GroupBootstrap
from erp.routers.extension import ClusterHead, Head, chosen_head, fit_clusters, fit_heads
from erp.trained.extended import Labels

SIZES = (16, 32, 64, 128, 256, 512, 1024)  # numbers of labels at which the report compares the methods


def every_head(labels: Labels, others: Floats, clusters: Sequence[Tensor], n: int) -> dict[str, Head | ClusterHead]:
    """The new member's head by every method, ``auto`` among them.

    Args:
        labels: in the order in which they were drawn.
        others: (labels, M) the router's scores on the same prompts.
        clusters: UniRoute's candidates, of prompts whose rewards were not looked at.
        n: how many labels to use, the first.
    """
    heads = fit_heads(labels.embedding[:n], others[:n], labels.rewards[:n])
    named: dict[str, Head | ClusterHead] = dict(heads.items())
    groups = fit_clusters(labels.embedding[:n], labels.rewards[:n], clusters)
    return {**named, "uniroute": groups, "auto": chosen_head(heads)}


def compare_methods(
    labels: Labels, others: Floats, clusters: Sequence[Tensor], test: HeldOut, embedding: Floats, method: str,
    bootstrap: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Regret at lambda = 0 against the number of labels, by method, and of the pool without the member.

    Args:
        labels: as in `every_head`.
        others: likewise.
        clusters: likewise.
        test: the extended router on T test prompts.
        embedding: (T, d) of these.
        method: of the router.
        bootstrap: settings of the intervals.

    Returns:
        ``regret`` of the extended router, ``regret_without`` the member, ``curve`` with a row for each number of
        labels, and intervals of what joining earns and of the regret saved against ``scratch``.
    """
    complete = np.flatnonzero(test.targets.complete)
    held = test.take(complete)
    best, there = held.rewards.max(axis=1), held.scores[:, :-1]

    def earned(head: Head | ClusterHead) -> Floats:
        return _earned(np.column_stack([there, head.scores(there, embedding[complete])]), held)

    n, curve, rows = len(labels.rewards), [], {}
    for size in [*(size for size in SIZES if size < n), n]:
        heads = every_head(labels, others, clusters, size)
        rows = {name: earned(head) for name, head in heads.items()}
        curve.append({"labels": size, **{name: float((best - row).mean()) for name, row in rows.items()}})
    own, without = rows[method], _earned(there, held)
    draws = GroupBootstrap(held.groups, **bootstrap)
    gain, saved = draws.intervals(np.column_stack([own - without, own - rows["scratch"]]))
    return {
        "regret": float((best - own).mean()), "regret_without": float((best - without).mean()), "curve": curve,
        "gain_of_joining": plain(gain), "saved_against_scratch": plain(saved),
    }  # fmt: skip


def _earned(scores: Floats, held: HeldOut) -> Floats:
    """Reward of the decision at lambda = 0 on every prompt (N,), among as many members as there are scores of."""
    costs = held.predicted_costs[..., : scores.shape[1]]
    return np.asarray(held.rewards[np.arange(len(scores)), choose(scores, costs, 0.0)])
