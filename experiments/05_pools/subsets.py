"""The pools of a table that are tried, as the values of a sweep: python subsets.py [overrides, as of erp train].

Up to six members: every pool of two or more. Beyond: the pool without each member in turn, and the pools that grow by
one member at a time in 20 random orders. Either way they are beginnings of orders, which Shapley values are means over.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np

from erp.config import validate
from erp.jobs import check_sweep
from erp.table.source import load_table

MOST_ALL = 6  # members up to which every pool is tried
DRAWN = 20  # orders beyond


def orders(members: int) -> list[tuple[int, ...]]:
    """Orders in which members (by position) join: all of them, or some drawn at random."""
    if members <= MOST_ALL:
        return list(itertools.permutations(range(members)))
    random = np.random.default_rng(0)
    return [tuple(random.permutation(members).tolist()) for _ in range(DRAWN)]


def pools(members: int) -> list[tuple[int, ...]]:
    """The pools of two or more that are tried, as ascending positions; small ones first."""
    grown = {tuple(sorted(order[:size])) for order in orders(members) for size in range(2, members + 1)}
    without = set(itertools.combinations(range(members), members - 1)) if members > 2 else set()
    return sorted(grown | without, key=lambda pool: (len(pool), pool))


def main(overrides: list[str]) -> str:
    """``['a','b'],['a','c'],...`` in Hydra's grammar."""
    config = validate("train", check_sweep("train", overrides)[0])
    table = load_table(config.data, config.reward_model, config.pool)
    names = ["'" + name.replace("'", "\\'") + "'" for name in table.members]
    return ",".join("[" + ",".join(names[m] for m in pool) + "]" for pool in pools(len(names)))


if __name__ == "__main__":
    print(main(sys.argv[1:]))
