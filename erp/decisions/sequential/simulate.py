"""What a sequential policy earns and pays: played on samples, every answer asked for one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_costs
from erp.decisions.choice import Outcome
from erp.decisions.sequential.policy import STOP, Plan, Seen
from erp.errors import ErpError
from erp.table.samples import Samples

ORDERS, FEWEST, PLAYED = 20, 4, 4_000
"""Orders of samples that a simulation is averaged over, and the fewest: as many as play about so many prompts."""


@dataclass(frozen=True, eq=False)
class Played(Outcome):
    """What a sequential policy earned and paid.

    Attributes:
        reward: (n,) mean reward of the answer that was returned.
        cost: (n,) the same of the cost of all answers asked for, and of scoring them.
        shares: (M,) share of the returned answers by member.
        calls: (n,) mean number of answers asked for.
    """

    calls: NDArray[np.float64]


def simulate(
    plan: Plan,
    samples: Samples,
    costs: NDArray[np.floating],
    scoring: float = 0.0,
    *,
    orders: int | None = None,
    seed: int = 0,
) -> Played:
    """Play a plan on every prompt, averaged over which sample each answer is.

    Where no member is asked twice, every cell has K samples and there are at most ``orders`` ways to draw one of each,
    all are played: an exact expectation. Else ``orders`` random ones are, in which every sample of a cell comes first
    equally often. No sample is used twice in one of them.

    Args:
        plan: for these prompts.
        samples: rewards (n, M, K), at least ``plan.repeats`` of each cell.
        costs: (n, M) or (M,) of one answer.
        scoring: what scoring one answer costs; every answer is scored.
        orders: how many; None: by the number of prompts.
        seed: of the orders.

    Raises:
        ErpError: on fewer samples than a member may be asked for, costs that do not fit, no orders.
    """
    n, m, _ = samples.reward.shape
    require_costs("costs", costs, (n, m))
    costs = np.broadcast_to(costs, (n, m)) + scoring
    if samples.count.min(initial=plan.repeats) < plan.repeats:
        raise ErpError(
            f"policy.repeats = {plan.repeats}: some cell has {samples.count.min()} samples, and no sample is used "
            "twice; as many as every cell has are allowed; lower it"
        )
    if orders is None:
        orders = max(FEWEST, min(ORDERS, PLAYED // n))
    if orders < 1:
        raise ErpError(f"orders = {orders}: nothing to average over; 1 or more are allowed; raise it")
    reward, cost, calls, shares, played = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(m), 0
    for drawn in _draws(samples, plan.repeats, orders, seed):
        earned, paid, asked, kept = _play(plan, drawn, costs)
        reward += earned
        cost += paid
        calls += asked
        shares += np.bincount(kept, minlength=m) / n
        played += 1
    return Played(reward / played, cost / played, shares / played, calls / played)


def _play(
    plan: Plan, drawn: NDArray[np.float64], costs: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Reward, cost and calls (n,), and who answered, where a member's j-th answer is worth ``drawn[:, m, j]``."""
    n, m, j = drawn.shape
    seen = Seen.nothing(n, m, j)
    cost, calls = np.zeros(n), np.zeros(n)
    going = seen.rows
    while len(going):
        member = plan.next(Seen(going, seen.rewards[going], seen.last[going]))
        going, member = going[member != STOP], member[member != STOP]
        at = (~np.isnan(seen.rewards[going, member])).sum(axis=1)
        seen.rewards[going, member, at] = drawn[going, member, at]
        seen.last[going] = member
        cost[going] += costs[going, member]
        calls[going] += 1
    kept, which = plan.returned(seen)
    return seen.rewards[np.arange(n), kept, which], cost, calls, kept


def _draws(samples: Samples, repeats: int, orders: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Rewards (n, M, J) of each member's answers, in one order of samples after the other."""
    reward, count = samples.reward, samples.count
    _, m, k = reward.shape
    if repeats == 1 and (count == k).all() and k**m <= orders:
        for chosen in product(range(k), repeat=m):
            yield reward[:, np.arange(m), chosen][:, :, None]
        return
    rng = np.random.default_rng(seed)
    shuffled = reward
    for order in range(orders):
        if order % k == 0:  # NaN, behind a cell's last sample, stays there
            key = np.where(np.isnan(reward), 2.0, rng.random(reward.shape))
            shuffled = np.take_along_axis(reward, key.argsort(axis=2), axis=2)
        at = (order + np.arange(repeats)) % count[:, :, None]
        yield np.take_along_axis(shuffled, at, axis=2)
