"""Why predict and not score? Two ways of routing that sample first and ask the reward model, at their true cost.

Rewards here are those of the very response that is kept. Samples of different members are independent, so what a
fresh draw of one response per asked member earns is an exact expectation over the samples that are there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_costs, require_finite
from erp.decisions.choice import Outcome
from erp.errors import ErpError, shorten
from erp.rounding import MEAN, size_of, snapped
from erp.table.samples import Samples

ALL_CHAINS = 6
"""Members of a pool up to which `best_cascade` tries every chain: 57 of them; twice as many with each member more."""
_BLOCK = 4_000_000  # counts held at once in `favourite_of_all`: 32 MB
_CASCADES = 1 << 15  # prompts x thresholds looked at at once: 256 KB a number and chain


@dataclass(frozen=True)
class Cascade:
    """Ask one member after the other until an answer is good enough.

    Attributes:
        chain: positions of members in the order in which they are asked, each once.
        threshold: an answer with at least this reward stands; the last member's stands whatever it is.

    Raises:
        ErpError: on an empty chain, a member twice or below 0, a NaN threshold.
    """

    chain: tuple[int, ...]
    threshold: float

    def __post_init__(self) -> None:
        if not self.chain or len(set(self.chain)) < len(self.chain) or min(self.chain) < 0:
            raise ErpError(
                f"chain = {self.chain}: not an order of members; positions in the pool from 0, each at most once, at "
                "least one, are allowed; repair the chain"
            )
        if math.isnan(self.threshold):
            raise ErpError("threshold = nan: no reward reaches it; any number or an infinity is allowed; give a reward")


def favourite_of_all(samples: Samples, costs: NDArray[np.floating]) -> Outcome:
    """Sample one response from every member and keep the one that the reward model likes best.

    At K = 1 its reward is that of the naive oracle. Equal rewards go to the cheapest, then to pool order, as in
    `erp.decisions.choice.choose`.

    Args:
        samples: rewards (n, M, K).
        costs: (n, M) or (M,) of one response.

    Returns:
        Expected reward (n,), the sum of the members' costs (n,), and the share of kept answers by member (M,).

    Raises:
        ErpError: on samples or costs that are not finite, on shapes that do not fit.
    """
    shape = _require_samples(samples)
    costs = _costs_per_cell(costs, shape)
    reward, kept = np.empty(shape[0]), np.zeros(shape[1])
    step = max(1, _BLOCK // (shape[1] * samples.reward[0].size))
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        reward[rows], shares = _expected_maximum(samples.reward[rows], samples.count[rows], costs[rows])
        kept += shares
    return Outcome(reward, costs.sum(axis=1), kept / shape[0])


def _expected_maximum(
    reward: NDArray[np.float64], count: NDArray[np.int64], costs: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected maximum (n,) of one draw from each member, and how many of the n maxima each member gives (M,).

    In ascending order of all samples of a prompt, the maximum is among the first j with the chance G_j = product over
    members of the share of their samples among the first j; so sample j is the maximum with G_j - G_{j-1}. Equal
    samples are in the order of who yields, the dearest first.
    """
    n, m, k = reward.shape
    cheapest_last = np.lexsort((-np.broadcast_to(np.arange(m), (n, m)), -costs), axis=-1)
    yields = np.argsort(cheapest_last, axis=1)  # place of each member
    values = reward.reshape(n, m * k)
    order = np.lexsort((np.repeat(yields, k, axis=1), values), axis=-1)  # NaN, behind the last sample, is last
    values = np.take_along_axis(values, order, axis=1)
    owner = order // k
    is_sample = ~np.isnan(values)
    among_first = np.cumsum((owner[:, :, None] == np.arange(m)) & is_sample[:, :, None], axis=1)
    chance = np.diff((among_first / count[:, None, :]).prod(axis=2), axis=1, prepend=0.0)
    expected: NDArray[np.float64] = (chance * np.where(is_sample, values, 0.0)).sum(axis=1)
    kept: NDArray[np.float64] = np.bincount(owner.ravel(), weights=chance.ravel(), minlength=m).astype(np.float64)
    return expected, kept


def run_cascade(cascade: Cascade, samples: Samples, costs: NDArray[np.floating]) -> Outcome:
    """What a cascade earns and pays, in expectation over which response each asked member gives.

    Source: FrugalGPT (Chen, Zaharia & Zou 2023, arXiv 2305.05176), with the reward itself as the scorer and one
    threshold for the whole chain.

    Args:
        cascade: The chain and its threshold.
        samples: rewards (n, M, K).
        costs: (n, M) or (M,) of one response.

    Returns:
        Expected reward (n,), the cost of all members asked (n,), and the share of answers that stood by member (M,).

    Raises:
        ErpError: on samples or costs that are not finite, on shapes that do not fit, a chain with a member beyond the
            pool.
    """
    shape = _require_samples(samples)
    costs = _costs_per_cell(costs, shape)
    if max(cascade.chain) >= shape[1]:
        raise ErpError(
            f"chain = {cascade.chain}: the samples have {shape[1]} members; positions from 0 to {shape[1] - 1} are "
            "allowed; take the cascade and the samples from one pool"
        )
    *before, last = cascade.chain
    shares, asked = np.zeros(shape[1]), _Asked.nobody(shape[0], 1)
    for member in before:
        reach = asked.reach
        asked = asked.then(*_standing(samples, member, np.array([cascade.threshold])), costs[:, member])
        shares[member] = (reach - asked.reach).mean()
    reach = asked.reach[:, 0]
    shares[last] = reach.mean()
    return Outcome(
        reward=asked.earned[:, 0] + reach * _mean_reward(samples, last),
        cost=asked.paid[:, 0] + reach * costs[:, last],
        shares=shares,
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """Where some members have been asked in turn, none of them the last, at each of T thresholds."""

    reach: NDArray[np.float64]  # (n, T) chance that no answer stood
    earned: NDArray[np.float64]  # (n, T) expected reward of the answers that stood
    paid: NDArray[np.float64]  # (n, T) expected cost

    @classmethod
    def nobody(cls, n: int, thresholds: int) -> _Asked:
        """Before anyone is asked."""
        return cls(np.ones((n, thresholds)), np.zeros((n, thresholds)), np.zeros((n, thresholds)))

    def then(self, share: NDArray[np.float64], reward: NDArray[np.float64], cost: NDArray[np.floating]) -> _Asked:
        """When one more is asked: of its answers ``share`` stand, which add ``reward``; it costs ``cost`` (n,)."""
        paid = self.paid + self.reach * cost[:, None]
        return _Asked(self.reach * (1 - share), self.earned + self.reach * reward, paid)


def _standing(
    samples: Samples, member: int, thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of a member's samples that reach each threshold (T,), ascending, and their part of its mean (n, T)."""
    reward, count = samples.reward[:, member], samples.count[:, member, None]
    bins = len(thresholds) + 1
    reached = np.searchsorted(thresholds, reward, side="right")  # how many thresholds
    there = ~np.isnan(reward)
    cell = (np.arange(len(reward))[:, None] * bins + reached)[there]
    both = (np.bincount(cell, weights, len(reward) * bins) for weights in (None, reward[there]))
    share, mean = (each.reshape(-1, bins)[:, :0:-1].cumsum(axis=1)[:, ::-1] / count for each in both)
    return share, mean


def best_cascade(
    samples: Samples, costs: NDArray[np.floating], mean_cost: NDArray[np.floating], budget: float, thresholds: int = 50
) -> Cascade | None:
    """The cascade, cheap to dear, that earns the most on these samples (validation) within a mean cost of ``budget``.

    Chains ascend in mean cost, then in pool order: all pairs and the whole pool; in a pool of up to ``ALL_CHAINS``
    members every subset of two or more. Thresholds are quantiles of all rewards that were observed, and both
    infinities. Ties go to the cheaper, then to the shorter chain, then to the lower threshold.

    Args:
        samples: rewards (n, M, K).
        costs: (n, M) or (M,) of one response.
        mean_cost: (M,) by which chains ascend.
        budget: mean cost over these prompts to stay within (but for rounding).
        thresholds: how many quantiles.

    Returns:
        None when no cascade fits the budget, as below the cheapest member, or the pool has one member.

    Raises:
        ErpError: on samples or costs that are not finite, on shapes that do not fit, a NaN budget, no thresholds.
    """
    shape = _require_samples(samples)
    costs = _costs_per_cell(costs, shape)
    _require_search(mean_cost, budget, thresholds, shape[1])
    observed = samples.reward[~np.isnan(samples.reward)]
    quantiles = np.quantile(observed, np.linspace(0, 1, thresholds), method="inverted_cdf")
    grid = np.concatenate([[-np.inf], np.unique(quantiles), [np.inf]])
    order = tuple(int(member) for member in np.argsort(snapped(mean_cost, MEAN), kind="stable"))
    chains, reward, cost = _candidates(order, samples, costs, grid)
    hair = MEAN * size_of(costs)
    tied = cost <= budget + hair
    if not tied.any():
        return None
    # A tie of means is one but for rounding; -inf and a quantile below all of the chain's rewards tie, for one.
    tied &= reward >= reward[tied].max() - MEAN * size_of(observed)
    tied &= cost <= cost[tied].min() + hair
    length = np.array([len(chain) for chain in chains])
    tied &= (length == length[tied.any(axis=1)].min())[:, None]
    threshold = tied.any(axis=0).argmax()
    return Cascade(chains[tied[:, threshold].argmax()], float(grid[threshold]))


def _candidates(
    order: tuple[int, ...], samples: Samples, costs: NDArray[np.floating], grid: NDArray[np.float64]
) -> tuple[list[tuple[int, ...]], NDArray[np.float64], NDArray[np.float64]]:
    """Chains (C), and their mean reward and mean cost (C, T) on the grid of thresholds (T,)."""
    places = list(_before_the_last(len(order)))
    # Whoever is dearer than all before may be the last: one product for all of them.
    chains = [(*before, last) for before in places for last in range(before[-1] + 1, len(order))]
    reward, cost = np.zeros((2, len(chains), len(grid)))
    step = max(1, _CASCADES // len(grid))
    for start in range(0, len(costs), step):
        rows = slice(start, start + step)
        part = Samples(samples.reward[rows], samples.count[rows], samples.rows[rows])
        means = np.stack([_mean_reward(part, member) for member in order], axis=1)
        paid = costs[rows][:, order]
        standing = [_standing(part, member, grid) for member in order[:-1]]
        asked: dict[tuple[int, ...], _Asked] = {(): _Asked.nobody(len(means), len(grid))}
        at = 0
        for before in places:
            for size in range(1, len(before) + 1):
                if (some := before[:size]) not in asked:
                    asked[some] = asked[some[:-1]].then(*standing[some[-1]], paid[:, some[-1]])
            found, dearer = asked[before], slice(before[-1] + 1, None)
            into = slice(at, at := at + len(order) - 1 - before[-1])
            reward[into] += found.earned.sum(axis=0) + means[:, dearer].T @ found.reach
            cost[into] += found.paid.sum(axis=0) + paid[:, dearer].T @ found.reach
    return [tuple(order[place] for place in chain) for chain in chains], reward / len(costs), cost / len(costs)


def _before_the_last(m: int) -> Iterator[tuple[int, ...]]:
    """All that may come before a chain's last member, as places in order of cost."""
    if m <= ALL_CHAINS:
        for size in range(1, m):
            yield from combinations(range(m - 1), size)
        return
    yield from ((place,) for place in range(m - 1))
    yield tuple(range(m - 1))


def _mean_reward(samples: Samples, member: int) -> NDArray[np.float64]:
    """Mean of a member's samples (n,)."""
    total: NDArray[np.float64] = np.nansum(samples.reward[:, member], axis=1)
    return total / samples.count[:, member]


def _require_samples(samples: Samples) -> tuple[int, int]:
    """Refuse samples that are not (n, M, K) with at least one in every cell, finite, and NaN behind the last."""
    reward, count = samples.reward, samples.count
    if reward.ndim != 3 or 0 in reward.shape or count.shape != reward.shape[:2]:
        raise ErpError(
            f"samples: rewards of shape {reward.shape} and counts of shape {count.shape}; (prompts, members, samples) "
            "and (prompts, members), at least one of each, are allowed; take them from `separate_samples`"
        )
    sound = (np.isfinite(reward) == (np.arange(reward.shape[2]) < count[:, :, None])).all(axis=2)
    sound &= ~np.isinf(reward).any(axis=2) & (count >= 1) & (count <= reward.shape[2])
    if not sound.all():
        cells = [f"row {i}, member {m}" for i, m in np.argwhere(~sound)]
        raise ErpError(
            f"samples: rewards and counts disagree at {shorten(cells)}; as many finite rewards as the count says, at "
            "least one, then NaN, are allowed; take them from `separate_samples`"
        )
    return reward.shape[0], reward.shape[1]


def _costs_per_cell(costs: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.floating]:
    require_costs("costs", costs, shape)
    return np.broadcast_to(costs, shape)


def _require_search(mean_cost: NDArray[np.floating], budget: float, thresholds: int, members: int) -> None:
    if mean_cost.shape != (members,):
        raise ErpError(
            f"mean cost = array of shape {mean_cost.shape}: the samples have {members} members; ({members},) is "
            "allowed; take the same members for both"
        )
    require_finite("mean cost", mean_cost)
    if math.isnan(budget):
        raise ErpError("budget = nan: not a cost; any number or infinity is allowed; give the mean cost to stay within")
    if thresholds < 1:
        raise ErpError(f"thresholds = {thresholds}: none to try; 1 or more are allowed; raise it")
