"""What is timed. Each subject returns rows for the results table; sizes are the targets', or small."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.special import ndtr, stdtrit
from scipy.stats import bootstrap
from sklearn.linear_model import RidgeCV

from benchmarks.timing import Ratio, paired, seconds
from erp.decisions.choice import choose
from erp.decisions.curve import exact_curve
from erp.metrics.draws import MOST_RESAMPLED
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.routers.base import Batch, Features
from erp.routers.ridge import Ridge

ALPHAS = np.logspace(-3, 4, 30)
BATCH = 4096


@dataclass(frozen=True)
class Row:
    """A line of the results: what against what, the ratio, and whether the target is met."""

    what: str
    against: str
    ours: str
    other: str
    ratio: str
    target: str
    met: bool


@dataclass(frozen=True)
class Table:
    """Features (N, d) float32 and rewards (N, M) float64 as batches, the way training hands them to a router."""

    features: np.ndarray
    rewards: np.ndarray

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    @cached_property
    def batches(self) -> list[Batch]:
        """Made once: a router's fit is timed, not this."""
        return [self._batch(slice(start, start + BATCH)) for start in range(0, len(self.features), BATCH)]

    def _batch(self, rows: slice) -> Batch:
        x, y = torch.from_numpy(self.features[rows]), torch.from_numpy(self.rewards[rows])
        none, nothing = torch.zeros(len(x), dtype=torch.int64), torch.zeros_like(y)
        counts = torch.ones_like(y, dtype=torch.int64)
        return Batch(Features(x, none), y, counts, y, y[:, :, None], nothing, none, none)


def _table(n: int, d: int, m: int, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    rewards = features @ rng.normal(size=(d, m)) + rng.normal(size=(n, m))
    return Table(features, rewards.astype(np.float64))


def ridge(small: bool) -> list[Row]:
    """Ridge over 30 penalties against RidgeCV, and against the one product that no solver can avoid."""
    n, d, m = (10_000, 384, 15) if small else (100_000, 384, 15)
    train, validation = _table(n, d, m), _table(n // 10, d, m, seed=1)
    router = Ridge(list(ALPHAS))
    x, y = train.features.astype(np.float64), train.rewards

    def ours() -> None:
        router.fit(train, validation)

    def scikit_learn() -> None:
        judge.fit(x, y)

    judge = RidgeCV(alphas=ALPHAS)
    against_sklearn = paired(ours, scikit_learn, pairs=2, slow=True)
    against_product = paired(ours, lambda: x.T @ x, pairs=21, clock=time.process_time)
    on_the_clock = paired(ours, lambda: x.T @ x, pairs=21)
    same = RidgeCV(alphas=[float(router.alpha)]).fit(x, y)
    off = np.abs(router.weight.numpy().T - same.coef_).max() / np.abs(same.coef_).max()
    assert off < 1e-5, off
    size = f"N={n:,}, d={d}, M={m}"
    return [
        Row(
            f"ridge, 30 alphas, {size}", "scikit-learn RidgeCV, float64, same alphas", *_times(against_sklearn),
            f"{against_sklearn.median:.0f}x faster", ">= 50x", against_sklearn.median >= 50,
        ),
        Row(
            f"ridge, 30 alphas, {size}", "the bare product X'X, numpy, float64, CPU seconds", *_times(against_product),
            _slower(against_product), "<= 1.5x", 1 / against_product.median <= 1.5,
        ),
        Row(
            f"ridge, 30 alphas, {size}", "the same product, wall time", *_times(on_the_clock),
            _slower(on_the_clock), "-", True,
        ),
    ]  # fmt: skip


def curve(small: bool) -> list[Row]:
    """The exact curve against a grid of 1,000 lambdas, which misses most of its points."""
    n, m, grid = (10_000, 20, 100) if small else (100_000, 20, 1000)
    rng = np.random.default_rng(0)
    scores, rewards = rng.normal(size=(n, m)), rng.normal(size=(n, m))
    predicted = np.sort(rng.uniform(0.1, 10, size=m))
    costs = predicted * rng.uniform(0.5, 1.5, size=(n, m))
    lambdas = np.concatenate([[0.0], np.geomspace(1e-4, 1e2, grid - 1)])
    rows = np.arange(n)

    def on_a_grid() -> list[tuple[float, float]]:
        points = []
        for lambda_ in lambdas:
            chosen = (scores - lambda_ * predicted).argmax(axis=1)
            points.append((costs[rows, chosen].mean(), rewards[rows, chosen].mean()))
        return points

    exact = exact_curve(scores, predicted, rewards, costs)
    at = [exact.at(lambda_) for lambda_ in lambdas]
    np.testing.assert_allclose(np.column_stack([exact.cost[at], exact.reward[at]]), on_a_grid(), atol=1e-9)
    found = paired(lambda: exact_curve(scores, predicted, rewards, costs), on_a_grid, pairs=3)
    return [
        Row(
            f"exact curve, N={n:,}, M={m}: {len(exact.lambdas):,} points", f"{grid:,}-point lambda grid, numpy",
            *_times(found), f"{found.median:.0f}x faster ({found.low:.0f} to {found.high:.0f})", ">= 50x",
            found.median >= 50,
        )
    ]  # fmt: skip


def intervals(small: bool) -> list[Row]:
    """Intervals of paired differences over one set of draws, against one bootstrap for each, with scipy."""
    # Beyond this many groups ours draws bags of them, and the judge below would be another number.
    n, draws, columns = (2_000, 1_000, 50) if small else (MOST_RESAMPLED, 10_000, 50)
    differences = np.random.default_rng(0).exponential(size=(n, columns)) - 1
    groups = np.arange(n)

    def ours() -> list[Interval]:
        return GroupBootstrap(groups, draws).intervals(differences)  # drawing included

    def one_by_one() -> None:
        for column in differences.T:
            # Of batches from 1 to 1,000, 30 was among the fastest.
            bootstrap((column,), np.mean, n_resamples=draws, method="percentile", vectorized=True, batch=30)

    found, rng = ours(), np.random.default_rng(0)
    first_and_last = differences[:, [0, -1]]
    ends = np.array([first_and_last[rng.integers(0, n, n)].mean(axis=0) for _ in range(draws)])
    tail = ndtr(np.sqrt(1 + 1 / (n - 1)) * stdtrit(n - 1, 0.025))
    expected = np.quantile(ends, [tail, 1 - tail], axis=0).T
    np.testing.assert_allclose([(found[d].low, found[d].high) for d in (0, -1)], expected, rtol=1e-9)
    times = paired(ours, one_by_one, pairs=2, slow=True)
    return [
        Row(
            f"{columns} intervals, N={n:,}, {draws:,} draws, drawing included",
            f"scipy.stats.bootstrap, percentile, {columns} calls, batch 30", *_times(times),
            f"{times.median:.0f}x faster ({times.low:.0f} to {times.high:.0f})", ">= 20x", times.median >= 20,
        )
    ]  # fmt: skip


def routing(small: bool) -> list[Row]:
    """Decisions per second with features given: scores of all members, then the choice."""
    n, d, m = (50_000, 384, 15) if small else (500_000, 384, 15)
    table = _table(20_000, d, m)
    router = Ridge([1.0])
    router.fit(table, table)
    rng = np.random.default_rng(1)
    embedding = torch.from_numpy(rng.normal(size=(n, d)).astype(np.float32))
    costs = rng.uniform(size=m)
    category = torch.zeros(n, dtype=torch.int64)

    def route() -> None:
        with torch.no_grad():
            scores = router.scores(Features(embedding, category)).numpy()
        choose(scores, costs, 0.5)

    route()
    times = sorted(seconds(route) for _ in range(5))
    rate = n / times[2]
    return [
        Row(
            f"routing {n:,} prompts, features given, d={d}, M={m}", "-", f"{times[2]:.3f} s", "-",
            f"{rate / 1e6:.1f}M prompts/s ({n / times[-1] / 1e6:.1f} to {n / times[0] / 1e6:.1f})", ">= 1M prompts/s",
            rate >= 1e6,
        )
    ]  # fmt: skip


def _slower(ratio: Ratio) -> str:
    return f"takes {1 / ratio.median:.2f}x ({1 / ratio.high:.2f} to {1 / ratio.low:.2f})"


def _times(ratio: Ratio) -> tuple[str, str]:
    return f"{ratio.ours_s:.3f} s", f"{ratio.other_s:.3f} s"


SUBJECTS = (ridge, curve, intervals, routing)
