"""Samples for tests, and what any rule earns on them: by enumeration of every combination that could be drawn."""

from __future__ import annotations

from itertools import product

import numpy as np

from erp.table.samples import Samples


def pack(*prompts):
    """Samples of prompts, each a list of the members' lists of rewards."""
    count = np.array([[len(cell) for cell in prompt] for prompt in prompts])
    reward = np.full((*count.shape, count.max()), np.nan)
    for i, prompt in enumerate(prompts):
        for m, cell in enumerate(prompt):
            reward[i, m, : len(cell)] = cell
    return Samples(reward, count, np.arange(len(prompts)))


def ragged(seed, n=6, m=3, k=3, levels=None):
    """Random samples and costs; with few `levels`, rewards tie."""
    rng = np.random.default_rng(seed)
    count = rng.integers(1, k + 1, (n, m))
    reward = rng.normal(size=(n, m, k)) if levels is None else rng.integers(0, levels, (n, m, k)) / 2.0
    reward[np.arange(k) >= count[:, :, None]] = np.nan
    return Samples(reward, count, np.arange(n)), rng.uniform(0.5, 2.0, (n, m))


def full(reward):
    return Samples(reward, np.full(reward.shape[:2], reward.shape[2]), np.arange(len(reward)))


def means(samples):
    return np.nanmean(samples.reward, axis=2)


def enumerate_draws(samples, costs, decide):
    """Reward and cost (N,) and shares (M,) when `decide(drawn, costs)` gives a prompt's kept member and cost."""
    n, m, _ = samples.reward.shape
    reward, cost, shares = np.zeros(n), np.zeros(n), np.zeros(m)
    for i in range(n):
        draws = list(product(*(samples.reward[i, j, : samples.count[i, j]] for j in range(m))))
        for drawn in draws:
            kept, paid = decide(drawn, costs[i])
            reward[i] += drawn[kept] / len(draws)
            cost[i] += paid / len(draws)
            shares[kept] += 1 / len(draws) / n
    return reward, cost, shares


def keep_the_favourite(drawn, costs):
    kept = min(range(len(drawn)), key=lambda m: (-drawn[m], costs[m], m))
    return kept, sum(costs)


def ask_in_turn(cascade):
    def decide(drawn, costs):
        paid = 0.0
        for member in cascade.chain:
            paid += costs[member]
            if drawn[member] >= cascade.threshold:
                break
        return member, paid

    return decide


def agrees(got, want):
    for mine, other in zip((got.reward, got.cost, got.shares), want, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-12)
    return True
