"""The exact reward-cost curve: every distinct policy over lambda from 0 to infinity, by breakpoints and one sort.

On one prompt, the members' utilities score - lambda * cost are straight lines in lambda. As lambda grows from 0, the
best line changes only on the upper envelope of these lines, each time to a cheaper member b at
lambda_ab = (score_a - score_b) / (cost_a - cost_b). All prompts' changes, sorted by lambda, are the whole
curve: no grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_costs, require_finite, require_lambda, require_matrix
from erp.errors import ErpError
from erp.rounding import CELL, MEAN, snapped, tied_for_most

BLOCK = 32_768
"""Rows whose envelopes are walked at once; bounds memory to a few copies of (BLOCK, M)."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A piecewise constant reward-cost curve.

    Attributes:
        lambdas: (P,) ascending; point p is in force on lambdas[p] <= lambda < lambdas[p + 1]; the first is 0, the last
            point stays in force to infinity.
        cost: (P,) realised mean cost.
        reward: (P,) realised mean reward.
    """

    lambdas: NDArray[np.float64]
    cost: NDArray[np.float64]
    reward: NDArray[np.float64]

    def at(self, lambda_: float) -> int:
        """Index of the point in force at ``lambda_``."""
        return int(np.searchsorted(self.lambdas, require_lambda(lambda_), side="right")) - 1

    def thin(self, points: int) -> Curve:
        """At most ``points`` points, evenly spaced in number of policy changes; both ends are kept."""
        if points < 2:
            raise ErpError(f"points = {points}: too few to keep both ends of a curve; 2 or more are allowed; raise it")
        if len(self.lambdas) <= points:
            return self
        keep = np.linspace(0, len(self.lambdas) - 1, points).round().astype(np.int64)
        return Curve(self.lambdas[keep], self.cost[keep], self.reward[keep])


@dataclass(frozen=True, eq=False)
class _Walk:
    """Where a block of rows starts at lambda = 0, and every change of member after it (E changes, in any order)."""

    start: NDArray[np.int64]  # (rows,) member at lambda = 0
    lambdas: NDArray[np.float64]  # (E,)
    early: NDArray[np.float64]  # (E,) from where on the two members tie but for rounding
    row: NDArray[np.int64]  # (E,) row in the whole table
    old: NDArray[np.int64]  # (E,) member left
    new: NDArray[np.int64]  # (E,) member taken


def exact_curve(
    scores: NDArray[np.floating],
    predicted_costs: NDArray[np.floating],
    rewards: NDArray[np.floating],
    costs: NDArray[np.floating],
) -> Curve:
    """Realised mean reward and cost of argmax(scores - lambda * predicted_costs), for every lambda at once.

    Ties, here as in `choose`, go to the cheapest, then to pool order; so a point is in force from its breakpoint on.

    Args:
        scores: (N, M) predicted rewards.
        predicted_costs: (M,) or (N, M) costs that the decision sees. (M,) is the fast case.
        rewards: (N, M) observed rewards, none missing.
        costs: (N, M) or (M,) observed costs.

    Returns:
        One point per distinct breakpoint, the one at lambda = 0 first. Breakpoints that differ by rounding alone, such
        as (.3 - .1) / c and (.5 - .3) / c, are one, at the last of them: no policy lives between two roundings.

    Raises:
        ErpError: on numbers that are not finite and on shapes that do not fit.
    """
    shape = require_matrix("scores", scores)
    if rewards.shape != shape:
        raise ErpError(
            f"rewards = array of shape {rewards.shape}: does not fit scores of shape {shape}; equal shapes are "
            "allowed; take the same prompts and members for both"
        )
    require_finite("rewards", rewards)
    require_costs("costs", costs, shape)
    costs = np.broadcast_to(costs, shape)
    first, lambdas, early, steps = np.zeros(2), [np.zeros(1)], [np.zeros(1)], [np.zeros((2, 1))]
    offset = 0
    for walk in _walks(scores, predicted_costs):
        rows = np.arange(offset, offset + len(walk.start))
        first += rewards[rows, walk.start].sum(), costs[rows, walk.start].sum()
        lambdas.append(walk.lambdas)
        early.append(walk.early)
        steps.append(
            np.stack([table[walk.row, walk.new] - table[walk.row, walk.old] for table in (rewards, costs)], dtype=float)
        )
        offset += len(walk.start)
    all_lambdas = np.concatenate(lambdas)
    order = np.argsort(all_lambdas)
    all_lambdas = all_lambdas[order]
    totals = first[:, None] + np.concatenate(steps, axis=1)[:, order].cumsum(axis=1)
    totals[np.abs(totals) <= MEAN * np.abs(totals).max(axis=1, keepdims=True)] = 0.0  # what cancels: a free end is free
    # One point per distinct lambda: the state after the last of its changes, where no later one is made already.
    ahead = np.minimum.accumulate(np.concatenate(early)[order][::-1])[::-1]
    last = np.flatnonzero(np.append(ahead[1:] > all_lambdas[:-1], True))
    reward, cost = totals[:, last] / len(scores)
    return Curve(lambdas=all_lambdas[last], cost=cost, reward=reward)


def members_along(
    scores: NDArray[np.floating], predicted_costs: NDArray[np.floating], lambdas: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Who gets each prompt at each of several lambdas, by the same breakpoints as `exact_curve`.

    A change is made from where the two utilities are equal but for rounding: at a curve's own lambdas these are the
    choices of the curve's points.

    Args:
        scores: (N, M) predicted rewards.
        predicted_costs: (M,) or (N, M).
        lambdas: (L,) from 0 to infinity, in any order.

    Returns:
        (L, N) positions of the chosen members.

    Raises:
        ErpError: on scores or costs that are not finite, on a lambda below 0.
    """
    for lambda_ in lambdas:
        require_lambda(lambda_)
    n, _ = require_matrix("scores", scores)
    order = np.argsort(lambdas, kind="stable")
    grid = np.asarray(lambdas, dtype=np.float64)[order]
    members = np.empty((len(grid), n), dtype=np.int64)
    offset = 0
    for walk in _walks(scores, predicted_costs):
        now = walk.start.copy()
        interval = np.searchsorted(grid, walk.early, side="left")  # l: changes in (grid[l - 1], grid[l]]
        by_interval = np.argsort(interval, kind="stable")  # a row's changes stay in the order of its walk
        ends = np.searchsorted(interval[by_interval], np.arange(len(grid)), side="right")
        for place, changes in zip(order, np.split(by_interval, ends)[:-1], strict=True):
            now[walk.row[changes] - offset] = walk.new[changes]  # of several changes of a row, the last stays
            members[place, offset : offset + len(now)] = now
        offset += len(now)
    return members


def _walks(scores: NDArray[np.floating], predicted_costs: NDArray[np.floating]) -> Iterator[_Walk]:
    """Every row's path along its upper envelope, block by block."""
    shape = require_matrix("scores", scores)
    require_costs("predicted costs", predicted_costs, shape)
    per_cell = predicted_costs.ndim == 2
    shared = np.argsort(predicted_costs, kind="stable")[None] if not per_cell else None
    # Equal costs need an order by score, which differs between rows: then one cost per member is not enough.
    if not per_cell and len(np.unique(snapped(predicted_costs))) < shape[1]:
        predicted_costs, per_cell = np.broadcast_to(predicted_costs, shape), True
    for offset in range(0, shape[0], BLOCK):
        block = np.asarray(scores[offset : offset + BLOCK], dtype=np.float64)
        require_finite("scores", block, offset)
        if per_cell:
            block_costs = snapped(predicted_costs[offset : offset + BLOCK])
            order = np.lexsort((-snapped(block), block_costs), axis=-1)
            yield _walk(np.take_along_axis(block, order, 1), np.take_along_axis(block_costs, order, 1), order, offset)
        else:
            assert shared is not None
            yield _walk(block[:, shared[0]], np.asarray(predicted_costs[shared], dtype=np.float64), shared, offset)


def _walk(scores: NDArray[np.float64], costs: NDArray[np.float64], order: NDArray[np.int64], offset: int) -> _Walk:
    """Walk the envelopes of a block whose columns ascend in cost; among equal costs, descend in score.

    A walk only ever moves to a cheaper column, so one pass over columns from the dearest down sees each row at each of
    its stops, together with all other rows that stop there. Because argmin and argmax take the first of equals, a row
    never stands on a column whose cost another column before it has: the divisor below is never 0. Nor is a breakpoint
    negative: a cheaper column with at least the same score would have been taken instead. Ties are those of `choose`:
    a change is early by as much as rounding of the two utilities may hide.

    Args:
        scores: (n, M).
        costs: (n, M), or (1, M) where all rows share them.
        order: (n, M) or (1, M), pool position of every column.
        offset: row number of the first row.
    """
    n, m = scores.shape
    column = tied_for_most(scores, CELL * np.abs(scores)).argmax(axis=1)
    reached, hidden = np.zeros(n), np.zeros(n)  # lambda at which each row took its present column, and its `early`
    start = np.take_along_axis(np.broadcast_to(order, (n, m)), column[:, None], 1)[:, 0]
    lambdas, early, rows, old, new = [], [], [], [], []
    for a in range(m - 1, 0, -1):
        here = np.flatnonzero(column == a)
        if not len(here):
            continue
        of = here if len(costs) > 1 else np.zeros(1, dtype=np.int64)
        # Almost equal costs can push a breakpoint to infinity: kept, so that every row ends on its cheapest column.
        with np.errstate(over="ignore"):
            breakpoints = (scores[here, a, None] - scores[here, :a]) / (costs[of, a, None] - costs[of, :a])
        b = breakpoints.argmin(axis=1)
        # Rounding may put a breakpoint a hair before the one that led here.
        reached[here] = np.maximum(reached[here], breakpoints[np.arange(len(here)), b])
        column[here] = b
        hidden[here] = np.maximum(hidden[here], _early(reached[here], scores[here], costs[of], a, b))
        lambdas.append(reached[here])
        early.append(hidden[here])
        rows.append(here + offset)
        old.append(order[of, a] if len(costs) > 1 else np.full(len(here), order[0, a]))
        new.append(order[of, b])
    empty = [np.empty(0, dtype=np.int64)]
    return _Walk(
        start=start,
        lambdas=np.concatenate([np.empty(0), *lambdas]),
        early=np.concatenate([np.empty(0), *early]),
        row=np.concatenate(empty + rows),
        old=np.concatenate(empty + old),
        new=np.concatenate(empty + new),
    )


def _early(
    reached: NDArray[np.float64],
    scores: NDArray[np.float64],
    costs: NDArray[np.float64],
    a: int,
    b: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Lambda from which `choose` takes column b (n,) for a tie with column ``a``; above 0 where the breakpoint is."""
    rows = np.arange(len(reached))
    of = rows if len(costs) > 1 else np.zeros(1, dtype=np.int64)
    size = np.abs(scores[rows, a]) + np.abs(scores[rows, b])
    cost_size, apart = np.abs(costs[of, a]) + np.abs(costs[of, b]), costs[of, a] - costs[of, b]
    with np.errstate(over="ignore", invalid="ignore"):
        hidden = np.minimum(CELL * (size + reached * cost_size) / apart, reached / 2)
        return np.where(np.isfinite(reached), reached - hidden, reached)
