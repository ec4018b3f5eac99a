"""From config nodes to the split and the costs that programs start from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erp.config import Cost, Pool
from erp.config import Split as SplitConfig
from erp.costs import Costs, Price, expected_cost, read_prices
from erp.errors import ErpError
from erp.runs import RunFolder
from erp.table.kept import Kept
from erp.table.schema import RewardTable
from erp.table.select import select_members
from erp.table.splits import Split, split_table

_PRICES, _PARAMETERS = ("input_usd_per_mtok", "output_usd_per_mtok"), "active_parameters"


def table_split(table: RewardTable, asked: SplitConfig, calibration: float) -> tuple[Split, tuple[str, ...]]:
    """The split, and what of it belongs to the run's name: the parts where they are another run's, else nothing more.

    Raises:
        ErpError: parts that cannot be made, or no such run.
    """
    kept = None
    if asked.from_ is not None:
        folder = RunFolder(Path(asked.from_).expanduser().resolve())
        kept = Kept(folder.load_split("split.from"), folder.path.name)
    split = split_table(table, calibration=calibration, kept=kept, **asked.model_dump(exclude={"from_"}))
    return split, () if kept is None else (hashlib.sha256("\n".join(split.parts).encode()).hexdigest(),)


def member_facts(table: RewardTable, pool: Pool, cost: Cost) -> dict[str, dict[str, float]]:
    """Member's name -> its prices (USD per million tokens) and active parameters, where they are known.

    What the pool's config says of a member comes before the price file, and that before what the table's maker said.

    Raises:
        ErpError: the price file cannot be read.
    """
    prices = {} if cost.prices is None else read_prices(cost.prices)
    of_pool = {member.name: member for member in pool.members or []}
    told: dict[str, dict[str, float]] = {}
    for name in table.members:
        maker, price, member = table.facts.get(name, {}), prices.get(name), of_pool.get(name)
        facts = {key: maker[key] for key in (*_PRICES, _PARAMETERS) if key in maker}
        for source in (price, member):
            pair = {key: value for key in _PRICES if (value := getattr(source, key, None)) is not None}
            facts |= pair if len(pair) == len(_PRICES) else {}
        if member is not None and member.active_parameters is not None:
            facts[_PARAMETERS] = member.active_parameters
        told[name] = facts
    return told


def table_costs(
    table: RewardTable,
    pool: Pool,
    cost: Cost,
    *,
    train: NDArray[np.int64] | None = None,
    kept: NDArray[np.float64] | None = None,
    responses: int = 1,
) -> Costs:
    """What every answer cost, from the table and what is said of its members; see `erp.costs.expected_cost`."""
    told = member_facts(table, pool, cost)
    prices = {
        name: Price(name, *(facts[key] for key in _PRICES)) for name, facts in told.items() if _PRICES[0] in facts
    }
    parameters = {name: facts[_PARAMETERS] for name, facts in told.items() if _PARAMETERS in facts}
    return expected_cost(
        table, cost.kind, prices, parameters, cost.assume_completion_tokens,
        train=train, kept=kept, responses=responses,
    )  # fmt: skip


def require_same_members(table: RewardTable, members: Sequence[str]) -> RewardTable:
    """The table with a trained router's members, in its order. Raises ErpError where one is missing."""
    missing = [name for name in members if name not in table.members]
    if missing:
        raise ErpError(
            f"data: the table has no rewards of {', '.join(missing)}, which the router chooses among; "
            f"give a table that has them, or train on this one"
        )
    return select_members(table, list(members))
