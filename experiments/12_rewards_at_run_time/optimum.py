"""How far reservation by a trained router is from the best rule there is: python optimum.py optimum.csv.

Two synthetic tables, whose rewards are independent given the prompt's words: of each member normal about what the words
tell, with a known spread. The best rule that knows these laws is found by dynamic programming on a grid of rewards. A
ridge on the words is of the true family: what it misses is what too few prompts do not teach, so that each table is
drawn small and large.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

import erp
from erp.decisions.sequential.laws import Normal, reservation
from erp.decisions.sequential.reservation import ByIndex
from erp.decisions.sequential.simulate import simulate
from erp.table.samples import separate_samples
from erp.table.synthetic import Synthetic

TABLES = {
    "as shipped": {"seed": 0},
    "less noise, members further apart": {"seed": 1, "noise": 0.7, "hidden": 0.3, "spread": 0.8},
}
SIZES = (3_000, 30_000)  # prompts, of which four in ten are learnt from
PRICES = (0.1, 1.0, 3.0)  # lambda, reward per USD per thousand prompts
GRID, WIDE, PROMPTS = 161, 4.5, 300  # of the dynamic programme: rewards, standard deviations, prompts


def main(file: str) -> None:
    """Write the table."""
    found = pd.DataFrame(row for name in TABLES for size in SIZES for row in rows(name, size))
    found.round(5).to_csv(file, index=False)


def rows(name: str, prompts: int) -> Iterator[dict[str, Any]]:
    """Reward less price on test prompts, at each lambda: of the best rule, of reservation by its laws, as trained."""
    settings = {"prompts": prompts, **TABLES[name]}
    whole = Synthetic(**settings)  # type: ignore[arg-type]  # numbers by name
    table, truth = whole.draw()
    sd = float(np.hypot(whole.hidden, whole.noise))
    with tempfile.TemporaryDirectory() as out:
        given = [f"data.{key}={value}" for key, value in settings.items()]
        run = erp.train(
            ["data=synthetic", *given, "backbone=tfidf", "policy=reservation", "policy.lambda=1", "tracking=off",
             "figures=false", "trainer.progress=false", f"out={out}"]
        )  # fmt: skip
        router, split = erp.load(run.folder), pd.read_parquet(run.folder / "split.parquet")
    of = dict(zip(split["prompt_id"], split["split"], strict=True))
    test = np.flatnonzero(table.prompts["prompt_id"].map(of) == "test")
    samples = separate_samples(table, test)
    assert samples is not None
    forecast = router.forecast(table.prompts["prompt"].iloc[test].tolist())
    for price in PRICES:
        lambda_ = price / 1e-3  # per USD
        paid = lambda_ * forecast.costs
        law = Normal(truth.linear[test], np.full(paid.shape, sd))
        known = simulate(ByIndex(reservation(law, paid), paid), samples, paid, orders=20)
        trained = simulate(router.policy.start(forecast, lambda_), samples, paid, orders=20)
        first = slice(0, PROMPTS)
        best = best_rule(truth.linear[test][first], sd, paid[first])
        by_index = worth_of_index(truth.linear[test][first], sd, paid[first])
        yield {
            "table": name,
            "prompts": prompts,
            "lambda": price,
            "best_rule": best.mean(),
            "by_index": by_index.mean(),
            "known_laws": known.mean_reward - known.mean_cost,
            "trained": trained.mean_reward - trained.mean_cost,
            "lost": known.mean_reward - known.mean_cost - trained.mean_reward + trained.mean_cost,
            "best_single": float((samples.reward.mean(axis=2) - paid).mean(axis=0).max()),
            "calls": trained.calls.mean(),
        }


def best_rule(mean: NDArray[np.float64], sd: float, price: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected reward less price (n,) of the best rule, by every set left and best in hand; somebody has to answer."""
    return np.array([_best_rule(*each) for each in zip(mean, [sd] * len(mean), price, strict=True)])


def _best_rule(mean: NDArray[np.float64], sd: float, price: NDArray[np.float64]) -> float:
    grid = np.linspace(mean.min() - WIDE * sd, mean.max() + WIDE * sd, GRID)
    edges = np.concatenate([[-np.inf], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    chance = np.diff(norm.cdf((edges - mean[:, None]) / sd), axis=1)  # (M, G)
    members = range(len(mean))
    worth: dict[tuple[int, ...], NDArray[np.float64]] = {(): grid}  # by who is left: (G,) with each best in hand
    for size in range(1, len(mean) + 1):
        for left in combinations(members, size):
            value = grid.copy()
            for m in left:
                after = worth[tuple(k for k in left if k != m)]
                below = np.cumsum(chance[m]) * after  # it is no better than what is in hand
                above = np.append(np.cumsum((chance[m] * after)[::-1])[::-1][1:], 0.0)
                value = np.maximum(value, below + above - price[m])
            worth[left] = value
    everyone = tuple(members)
    firsts = [chance[m] @ worth[tuple(k for k in everyone if k != m)] - price[m] for m in members]
    return float(max(firsts))


def worth_of_index(mean: NDArray[np.float64], sd: float, price: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same (n,) of asking by reservation values: E max min(Y, z), by an integral over the same laws."""
    index = reservation(Normal(mean, np.full(mean.shape, sd)), price)
    grid = np.linspace(mean.min() - 6 * sd, mean.max() + 6 * sd, 4001)
    below = np.where(grid >= index[:, :, None], 1.0, norm.cdf((grid - mean[:, :, None]) / sd)).prod(axis=1)
    return np.asarray(grid[0] + ((1 - below) * (grid[1] - grid[0])).sum(axis=1))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python optimum.py optimum.csv")
    main(sys.argv[1])
