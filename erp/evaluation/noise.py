"""What the table itself allows: how much of the rewards is noise, how much is there to route, what labels buy."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.metrics.noise import pooled_reliability, reliability_of_differences
from erp.metrics.variance import Decomposition, budget_curve, decompose
from erp.table.copies import doubt
from erp.table.means import why_unknown
from erp.table.schema import RewardTable
from erp.targets import SplitHalf, Targets, reliability

Rows = NDArray[np.int64]
MOST_PAIRS = 66  # pairs of members whose reliability is listed one by one: a pool of twelve
AT_K1 = "not identifiable at K=1: nobody can tell noise from signal with one sample a cell"


def noise_section(table: RewardTable, targets: Targets, rows: Rows, halves: SplitHalf | None) -> dict[str, Any]:
    """The section ``noise``; what one sample per cell cannot identify is None, and ``reason`` says so.

    Where there is no prompt whose cells are all present, reliabilities are over each member's own prompts, and of
    differences over those that both have; the rest is None.

    Args:
        table: of one reward model.
        targets: of the table.
        rows: the prompts whose cells are all present.
        halves: the split-half oracle of these rows.
    """
    overall, complete = decompose(targets, rows), rows
    rows = rows if len(rows) else np.arange(len(table.prompts))
    rhos = reliability(targets, rows)
    return {
        "doubt": doubt(table.suspects),
        "reason": None if np.isfinite(rhos).any() else _why_not(table, targets, rows),
        "reliability": _by_member(table, rhos),
        "reliability_pooled": _number(pooled_reliability(targets, rows)),
        "reliability_of_differences": _differences(table, targets, rows),
        "components": _plain(overall),
        "budget": _budget(overall),
        "headroom": _headroom(targets.mean[complete], np.arange(len(complete)), _of_rows(halves, complete)),
        "categories": _categories(table, targets, complete, halves),
    }


def _why_not(table: RewardTable, targets: Targets, rows: Rows) -> str:
    """Why nothing of the noise can be told."""
    if len(rows) < 2:
        return "not identifiable from one complete prompt"
    if np.isfinite(targets.variance[rows]).any():
        return "not identifiable, because no member's rewards vary between prompts"
    means = why_unknown(table)
    return AT_K1 if means is None else f"not identifiable from means: {means}"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _by_member(table: RewardTable, values: NDArray[np.float64]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(table.members, values, strict=True)}


def _differences(table: RewardTable, targets: Targets, rows: Rows) -> dict[str, Any] | None:
    """Pooled over all pairs, their range, and the pairs one by one in a small pool; None where none has any."""
    rho = reliability_of_differences(targets, rows)
    first, second = np.triu_indices(len(rho), 1)
    known = np.isfinite(rho[first, second])
    if not known.any():
        return None
    values = rho[first, second][known]
    pairs = [
        {"members": [table.members[a], table.members[b]], "reliability": _number(rho[a, b])}
        for a, b in zip(first, second, strict=True)
    ]
    return {
        "pooled": _number(pooled_reliability(targets, rows, of_differences=True)),
        "lowest": float(values.min()),
        "highest": float(values.max()),
        "pairs": pairs if len(pairs) <= MOST_PAIRS else None,
    }


def _plain(found: Decomposition) -> dict[str, Any]:
    known = found.components
    return {
        "prompts": found.prompts,
        "of": found.of,
        "samples": found.samples,
        "reason": found.reason,
        "variance": None if known is None else asdict(known),
        "shares": None if known is None else known.shares,
    }


def _budget(found: Decomposition) -> list[dict[str, Any]] | None:
    """What as many responses as the table has would give, spread over fewer or more prompts; None at K = 1."""
    if found.components is None:
        return None
    budget = round(found.prompts * found.samples)
    samples = sorted({max(1, round(found.samples)), *(2**k for k in range(8))})
    fits = [k for k in samples if k <= 4 * found.samples and budget // k >= 2]
    return [asdict(point) for point in budget_curve(found.components, found.members, budget, fits)]


def _of_rows(halves: SplitHalf | None, rows: Rows) -> NDArray[np.float64] | None:
    """The split-half oracle's reward of every row, NaN where a row has none; None at K = 1."""
    if halves is None:
        return None
    reward = np.full(len(rows), np.nan)
    reward[np.searchsorted(rows, halves.rows)] = halves.reward
    return reward


def _headroom(rewards: NDArray[np.float64], at: Rows, halves: NDArray[np.float64] | None) -> dict[str, Any]:
    """Between the best single member of these prompts, in hindsight, and what an oracle earns on them.

    The naive oracle overstates it, the split-half one understates it: the truth lies between, as far as noise goes.
    """
    if not len(at):
        return {"naive": None, "split_half": None, "prompts": 0}
    # Both ends of the same prompts, or it is no bracket: those with two samples of every member, where there are any.
    known = at if halves is None else at[np.isfinite(halves[at])]
    both = known if len(known) else at
    means = rewards[both].mean(axis=0)
    best = int(means.argmax())
    half = None if halves is None or not len(known) else float(halves[known].mean() - means[best])
    return {"naive": float(rewards[both].max(axis=1).mean() - means[best]), "split_half": half, "prompts": len(both)}


def _categories(table: RewardTable, targets: Targets, rows: Rows, halves: SplitHalf | None) -> dict[str, Any] | None:
    """Per category, the largest first: its best member, variance components and headroom; None without categories."""
    if not table.has_categories or not len(rows):
        return None
    of_row, rewards = table.prompts["category"].iloc[rows], targets.mean[rows]
    half, best_overall = _of_rows(halves, rows), int(rewards.mean(axis=0).argmax())
    found = {}
    for name in of_row.value_counts().index:
        at = np.flatnonzero((of_row == name).to_numpy(dtype=bool))
        means = rewards[at].mean(axis=0)
        best = int(means.argmax())
        found[str(name)] = {
            "prompts": len(at),
            "best": table.members[best],
            "reward": float(means[best]),
            "best_single_reward": float(means[best_overall]),
            "components": _plain(decompose(targets, rows[at])),
            "headroom": _headroom(rewards, at, half),
        }
    return found
