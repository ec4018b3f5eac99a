"""Rewards and costs at scales from 1e-6 to 1e6, shifted or not: every metric of an exact curve, judged by fractions.

Tables are in tenths and thirds, so that scores, rewards, costs and breakpoints tie often, and rarely in floating point.
"""

from fractions import Fraction
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erp.decisions.choice import choose, constant, one_hot, outcome
from erp.decisions.curve import exact_curve, members_along
from erp.decisions.policy_guarantee import GuaranteePolicy
from erp.decisions.policy_tolerance import TolerancePolicy
from erp.decisions.references import best_constant, best_single
from erp.metrics.benchmarks import aiq, apgr, cpt, gain, pareto
from erp.metrics.discrimination import kendall_tau, pairwise_order_accuracy, top1_accuracy
from erp.metrics.economics import share_to_dearest
from erp.metrics.routing import audc, regret

F, INF = Fraction, float("inf")
UNITS = [F(1), F(1, 10**6), F(7, 3 * 10**4), F(10, 7), F(12345), F(10**6)]
SHIFTS = [F(0), F(-1), F(1000)]  # in units of the rewards


class Problem:
    """A small table of fractions, and what is to be said of it, by enumeration."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.n, self.m = int(rng.integers(2, 9)), int(rng.integers(2, 5))
        self.scores = self._draw(rng, -3, 12, 10)
        self.rewards = self._draw(rng, -3, 12, 10)
        self.price = [F(int(x), 7) for x in rng.permutation(9)[: self.m]]
        # Costs differ between prompts; of some members they are equal on average, in another order.
        lengths = [F(int(x), 3) for x in rng.integers(1, 9, self.n)]
        orders = [rng.permutation(self.n) for _ in range(self.m)]
        twin = bool(rng.integers(2))
        rates = [self.price[0] if twin and j == self.m - 1 else self.price[j] for j in range(self.m)]
        self.costs = [[rates[j] * lengths[orders[j][i]] for j in range(self.m)] for i in range(self.n)]
        self.predicted = [sum(column) / self.n for column in zip(*self.costs, strict=True)]
        self._chosen = {}

    def _draw(self, rng, low, high, parts):
        return [[F(int(x), parts) for x in row] for row in rng.integers(low, high, (self.n, self.m))]

    def floats(self, unit=1, price=1, shift=0):
        """Scores, predicted costs, rewards and costs in other units; rounded in the end, as a file would be."""
        rewards = [
            np.array([[float((x + shift) * unit) for x in row] for row in t]) for t in (self.scores, self.rewards)
        ]
        costs = np.array([[float(x * price) for x in row] for row in self.costs])
        return rewards[0], costs.mean(axis=0), rewards[1], costs

    def chosen(self, lambda_):
        if lambda_ not in self._chosen:
            self._chosen[lambda_] = [
                min(range(self.m), key=lambda j, s=s: (-(s[j] - lambda_ * self.predicted[j]), self.predicted[j], j))
                for s in self.scores
            ]
        return self._chosen[lambda_]

    def point(self, members):
        return tuple(sum(t[i][j] for i, j in enumerate(members)) / self.n for t in (self.costs, self.rewards))

    @cached_property
    def crossings(self):
        return sorted({
            (s[a] - s[b]) / (self.predicted[a] - self.predicted[b])
            for s in self.scores for a in range(self.m) for b in range(self.m)
            if self.predicted[a] > self.predicted[b] and s[a] > s[b]
        })  # fmt: skip

    @cached_property
    def curve(self):
        """Every distinct policy's point."""
        cuts = [F(0), *self.crossings]
        between = [F(0), *[(a + b) / 2 for a, b in pairwise(cuts)], cuts[-1] + 1]
        policies = [tuple(self.chosen(lambda_)) for lambda_ in between]
        return [self.point(members) for members in dict.fromkeys(policies)]

    @cached_property
    def members(self):
        return [self.point([j] * self.n) for j in range(self.m)]

    @cached_property
    def areas(self):
        return steps_and_hull(self.curve, self.members)

    @cached_property
    def frontier(self):
        """How many points of the curve no other dominates, and of each member alone."""
        alone = [on_the_frontier([own], self.members + self.curve) for own in self.members]
        return on_the_frontier(self.curve, self.members), alone


@cache
def enumerated(seed):
    """What a table of fractions says is the same in all units: it is enumerated once for all of them."""
    return Problem(seed)


def steps_and_hull(points, members):
    """AUDC and AIQ of points (cost, reward); None where there is no range."""
    low, high = min(c for c, _ in members), max(c for c, _ in members)
    if low == high:
        return None
    inside = [(max(c, low), r) for c, r in points if c <= high] + [m for m in members if m[0] == low]
    cuts = sorted({c for c, _ in inside} | {high})
    steps = sum((b - a) * max(r for c, r in inside if c <= a) for a, b in pairwise(cuts))
    inside += [(high, max(r for _, r in inside))]
    ends = sorted({c for c, _ in inside})

    def hull(x):
        return max(
            p[1] if p[0] == q[0] else p[1] + (q[1] - p[1]) * (x - p[0]) / (q[0] - p[0])
            for p in inside for q in inside if p[0] <= x <= q[0]
        )  # fmt: skip

    area = sum((b - a) * (hull(a) + hull(b)) / 2 for a, b in pairwise(ends))
    return steps / (high - low), area / (high - low)


def on_the_frontier(points, rivals):
    """How many of the points no other dominates."""
    every = set(points) | set(rivals)
    return sum(not any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in every) for p in points)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_every_metric_of_an_exact_curve_is_that_of_fractions(unit, shift):
    for seed in range(40):
        problem, price = enumerated(seed), UNITS[(seed + UNITS.index(unit)) % len(UNITS)]
        scores, predicted, rewards, costs = problem.floats(unit, price, shift)
        curve, want = exact_curve(scores, predicted, rewards, costs), problem.curve
        to_reward = lambda r, shift=shift, unit=unit: float((r + shift) * unit)  # noqa: E731
        near = lambda x, unit=unit: pytest.approx(x, rel=1e-9, abs=float(unit) * 1e-9)  # noqa: E731
        assert len(curve.cost) == len(want), seed
        assert curve.cost == pytest.approx([float(c * price) for c, _ in want], rel=1e-9)
        assert curve.reward == near([to_reward(r) for _, r in want])
        members = costs.mean(axis=0), rewards.mean(axis=0)
        got = audc(curve.cost, curve.reward, *members), aiq(curve.cost, curve.reward, *members)
        if problem.areas is None:
            assert np.isnan(got).all()
        else:
            assert got == near(tuple(to_reward(a) for a in problem.areas)), seed
        rivals = {str(j): (members[0][[j]], members[1][[j]]) for j in range(problem.m)}
        found = pareto({"router": (curve.cost, curve.reward)} | rivals, *members)
        of_router, of_members = problem.frontier
        assert found["router"].on_frontier == of_router, seed
        assert [found[name].on_frontier for name in rivals] == of_members, seed


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_a_pair_and_what_is_gained_are_those_of_fractions(unit, shift):
    for seed in range(40):
        problem, price = enumerated(seed), UNITS[(seed + 2) % len(UNITS)]
        scores, predicted, rewards, costs = problem.floats(unit, price, shift)
        single = best_single(rewards.mean(axis=0), predicted)
        truth = min(range(problem.m), key=lambda j: (-problem.members[j][1], problem.members[j][0], j))
        assert single == truth, seed
        weak = min(range(problem.m), key=lambda j: (problem.predicted[j], j))
        low, high = problem.members[weak][1], problem.members[single][1]
        calls = np.array([0.0, 1.0])
        pair = exact_curve(scores[:, [weak, single]], calls, rewards[:, [weak, single]], calls)
        bounds = rewards[:, weak].mean(), rewards[:, single].mean()
        assert np.isnan(apgr(pair.cost, pair.reward, *bounds)) == (low == high)
        # Equal means of equal rewards: the whole gap is reached at the strong member, at every scale.
        if low < high:
            assert cpt(pair.cost, pair.reward, *bounds, 1.0) <= 1.0
        for lambda_ in (F(0), *problem.crossings[::3]):
            members = choose(scores, predicted, float(lambda_ * unit / price))
            assert members.tolist() == problem.chosen(lambda_), (seed, lambda_)
            router = outcome(one_hot(members, problem.m), rewards, costs)
            found = gain(router, outcome(constant(single, problem.n, problem.m), rewards, costs))
            _, reward = problem.point(members.tolist())
            assert found.perf_gain == pytest.approx(float((reward - high) * unit), rel=1e-9, abs=1e-12 * float(unit))
            assert (found.cost_save is None) == (reward < high), (seed, lambda_)
        best = one_hot(choose(rewards, predicted, 0.0), problem.m)
        assert regret(best, rewards, costs, 0.0) == 0.0
        weights = best_constant(rewards.mean(axis=0), members_cost := costs.mean(axis=0), float(members_cost[single]))
        assert weights[single] == 1.0, seed


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("shift", SHIFTS)
def test_ties_are_decided_the_same_at_every_scale(unit, shift):
    for seed in range(60):
        problem, price = enumerated(seed), UNITS[(seed + 1) % len(UNITS)]
        scores, predicted, rewards, costs = problem.floats(unit, price, shift)
        plain = problem.floats()
        for lambda_ in (F(0), *problem.crossings, F(10**9)):
            here = choose(scores, predicted, float(lambda_ * unit / price))
            assert here.tolist() == problem.chosen(lambda_), (seed, lambda_)
            per_cell = choose(scores, np.tile(predicted, (problem.n, 1)), float(lambda_ * unit / price))
            assert (per_cell == here).all()
        assert choose(scores, predicted, INF).tolist() == choose(plain[0], plain[1], INF).tolist()
        curve = exact_curve(scores, predicted, rewards, costs)
        along = members_along(scores, predicted, curve.lambdas)
        assert (along == np.array([choose(scores, predicted, x) for x in curve.lambdas])).all(), seed
        for tau in (F(0), F(1, 10), F(3, 10)):
            kept = TolerancePolicy(float(tau * unit)).choose(scores, predicted).weights.argmax(axis=1)
            within = [[j for j in range(problem.m) if max(s) - s[j] <= tau] for s in problem.scores]
            want = [
                min(among, key=lambda j, s=s: (problem.predicted[j], -s[j], j))
                for s, among in zip(problem.scores, within, strict=True)
            ]
            assert kept.tolist() == want, (seed, tau)
        for metric in (top1_accuracy, pairwise_order_accuracy, kendall_tau):
            ours, theirs = metric(scores, rewards), metric(plain[0], plain[2])
            assert ours == pytest.approx(theirs, nan_ok=True)
        shares = np.eye(problem.m)
        dearest = [c == max(problem.predicted) for c in problem.predicted]
        want = [np.nan] * problem.m if all(dearest) else np.array(dearest, dtype=float)
        assert share_to_dearest(shares, predicted) == pytest.approx(want, nan_ok=True)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_a_router_that_sends_all_to_the_dearest_keeps_that_point(scale):
    """Its first point is the dearest member itself: the whole hull, whatever the last bits of two sums are."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rewards = rng.uniform(0, 0.2, (50, 4)) + np.arange(4) * 0.2
        costs = rng.uniform(0.5, 1.5, (50, 4)) * np.array([1.0, 2.0, 3.0, 9.0]) * scale
        means = costs.mean(axis=0), rewards.mean(axis=0)
        curve = exact_curve(np.tile([0.0, 2.0, 3.0, 3.5], (50, 1)), means[0], rewards, costs)
        # All go over together at each breakpoint: the four members, and AIQ the hull of these alone.
        assert aiq(curve.cost, curve.reward, *means) == pytest.approx(aiq(*means, *means), rel=1e-9)
        assert audc(curve.cost, curve.reward, *means) == pytest.approx(audc(*means, *means), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(-6, 6), st.floats(-6, 6))
def test_a_guarantee_and_its_margins_do_not_know_the_scale(seed, reward_scale, cost_scale):
    rng = np.random.default_rng(seed)
    scores, costs = rng.integers(0, 10, (40, 3)) / 10, np.array([0.1, 0.3, 0.9])

    def answers(unit, price):
        policy = GuaranteePolicy(tolerated_loss=0.1 * unit)
        policy.restore(
            {"reference": 2, "prompts": 9, "candidates": 9, "passed": 1, "lost": 0, "margin": 0.2 * unit, "bound": 0.0}
        )
        return policy.choose(scores * unit, costs * price).weights.argmax(axis=1).tolist()

    assert answers(10.0**reward_scale, 10.0**cost_scale) == answers(1.0, 1.0)
