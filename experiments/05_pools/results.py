"""What pools earn, by size, and what their members are worth: python results.py <sweep.json> > results.csv.

Prompts of all splits together, at lambda = 0; intervals are over groups of prompts, the pools that were tried are taken
as given. A pool of one earns what its member does.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from subsets import orders

from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.tested import read_tested
from erp.metrics.intervals import GroupBootstrap
from erp.programs.compare import find_runs

Pool = tuple[int, ...]


class Tried:
    """All pools of one table on the same rows: prompts of every split, R in all.

    Attributes:
        members: of the whole pool.
        routed, single, oracle: (R,) rewards of each pool, by positions of its members.
        share: of the prompts that the whole pool's router sends to each member.
    """

    def __init__(self, sweep: Path) -> None:
        content = list(find_runs([str(sweep)], sweep.parent.parent).runs.items())
        runs = [run for run in read_tested(content)[0] if isinstance(run, TestedRun)]
        self.members = max((run.panel[2] for run in runs), key=len)
        whole = {run.split_seed: run for run in runs if len(run.panel[2]) == len(self.members)}
        folders = [run.folder for run in whole.values()]
        shares = [results["policy"]["shares"] for folder, results in content if folder in folders]
        self.share = {name: np.mean([share[name] for share in shares]) for name in self.members}
        parts: dict[Pool, dict[int, tuple[NDArray[np.float64], ...]]] = {}
        for run in runs:
            pool = tuple(sorted(self.members.index(name) for name in run.panel[2]))
            rows = pd.Index(run.ids).get_indexer(whole[run.split_seed].ids)  # a smaller pool may have more of them
            values = (run.reward[rows], run.single[rows], run.observed[rows].max(axis=1))
            parts.setdefault(pool, {})[run.split_seed] = values
        seeds = sorted(whole)
        self.routed, self.single, self.oracle = (
            {pool: np.concatenate([by_split[seed][k] for seed in seeds]) for pool, by_split in parts.items()}
            for k in range(3)
        )
        for m, own in enumerate(np.concatenate([whole[seed].observed for seed in seeds]).T):
            self.routed[(m,)] = self.single[(m,)] = self.oracle[(m,)] = own
        self.bootstrap = GroupBootstrap(
            np.unique(np.concatenate([whole[s].groups for s in seeds]), return_inverse=True)[1]
        )

    def shapley(self, value: dict[Pool, NDArray[np.float64]], member: int) -> NDArray[np.float64]:
        """(R,) what a member adds on each row to those before it, mean over the orders; a pool of none earns 0."""
        added = []
        for order in orders(len(self.members)):
            before = order[: order.index(member)]
            added.append(value[tuple(sorted((*before, member)))] - (value[tuple(sorted(before))] if before else 0.0))
        return np.mean(added, axis=0)

    def by_size(self) -> Iterator[dict[str, object]]:
        """A row for every size, means over the pools of that size that were tried."""
        pairs = self._mean(self.routed, 2) - self._mean(self.single, 2)
        for size in range(1, len(self.members) + 1):
            routed, single, oracle = (self._mean(value, size) for value in (self.routed, self.single, self.oracle))
            yield {
                "of": "size", "name": size, "pools": sum(len(pool) == size for pool in self.routed),
                "best_single": single.mean(), "routed": routed.mean(), "oracle": oracle.mean(),
                **self._interval("gain", routed - single),
                **(self._interval("gain_less_that_of_pairs", routed - single - pairs) if size > 2 else {}),
            }  # fmt: skip

    def by_member(self) -> Iterator[dict[str, object]]:
        """A row for every member: alone, what is lost without it, and what it adds on average."""
        everyone = tuple(range(len(self.members)))
        for m, name in enumerate(self.members):
            without = tuple(other for other in everyone if other != m)
            routed, single = (self.shapley(value, m) for value in (self.routed, self.single))
            yield {
                "of": "member", "name": name, "routed": self.routed[(m,)].mean(),
                **self._interval("loss_without", self.routed[everyone] - self.routed[without]),
                **self._interval("shapley", routed), **self._interval("shapley_of_gain", routed - single),
                "share": self.share[name],
            }  # fmt: skip

    def _mean(self, value: dict[Pool, NDArray[np.float64]], size: int) -> NDArray[np.float64]:
        return np.mean([own for pool, own in value.items() if len(pool) == size], axis=0)

    def _interval(self, name: str, values: NDArray[np.float64]) -> dict[str, float]:
        found = self.bootstrap.interval(values)
        return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


if __name__ == "__main__":
    tried = Tried(Path(sys.argv[1]))
    pd.DataFrame([*tried.by_size(), *tried.by_member()]).round(5).to_csv(sys.stdout, index=False)
