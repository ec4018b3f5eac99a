"""From config nodes to the table, targets and costs that every program starts from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erp.config import Cost, MiniData, Plug, Pool, RewardModel, SyntheticData, TableData
from erp.config import Split as SplitConfig
from erp.costs import Costs, Price, expected_cost, read_prices
from erp.errors import ErpError
from erp.runs import RunFolder
from erp.table.asked import PromptFrom
from erp.table.kept import Kept
from erp.table.read import read_table
from erp.table.schema import RewardTable
from erp.table.select import select_members
from erp.table.splits import Split, split_table
from erp.table.synthetic import synthetic_table
from erp.values import estimated_tokens

MINI = Path(__file__).resolve().parent.parent / "mini"  # the table that ships with the package


def load_table(
    data: TableData | MiniData | SyntheticData, reward_model: RewardModel, pool: Pool, asked: PromptFrom | None = None
) -> RewardTable:
    """The reward table of one reward model and one pool.

    Args:
        data: where it is.
        reward_model: whose scores.
        pool: whose members.
        asked: what a router was trained to be asked of a conversation; None: as ``data`` says.

    Raises:
        ErpError: every fault found.
    """
    names = None if pool.members is None else [member.name for member in pool.members]
    if names is not None and len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ErpError(f"pool.members = {', '.join(twice)}: named twice; name each member once")
    if isinstance(data, SyntheticData):
        table, _ = synthetic_table(**data.model_dump(exclude={"kind"}))
        if reward_model.name not in (None, table.reward_model):
            raise ErpError(f"reward_model.name = {reward_model.name}: data=synthetic has only {table.reward_model}")
    elif isinstance(data, MiniData):
        table = read_table(MINI, reward_model=reward_model.name or "verifier")
    else:
        columns = data.columns.model_dump(exclude_none=True)
        if asked is not None and data.prompt_from not in (None, asked):
            raise ErpError(
                f"data.prompt_from = {data.prompt_from}: the run was trained on {asked}, which goes on; leave it out"
            )
        table = read_table(
            data.path, columns=columns, reward_model=reward_model.name, prompt_from=asked or data.prompt_from,
            config_name=data.config_name, copies=data.copies,
        )  # fmt: skip
    return select_members(table, names)


def table_label(data: TableData | MiniData | SyntheticData) -> str:
    """How a table is called in reports."""
    return data.kind if not isinstance(data, TableData) else data.path.rstrip("/").split("/")[-1]


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


def table_costs(
    table: RewardTable,
    pool: Pool,
    cost: Cost,
    *,
    train: NDArray[np.int64] | None = None,
    kept: NDArray[np.float64] | None = None,
    responses: int = 1,
) -> Costs:
    """What every answer cost, from the table, the pool's prices and the price file; see `erp.costs.expected_cost`.

    What the pool's config says of a member comes before the price file, and that before what the table's maker said.
    """
    members = pool.members or []
    told = {name: facts for name, facts in table.facts.items() if "input_usd_per_mtok" in facts}
    prices = {
        name: Price(name, facts["input_usd_per_mtok"], facts["output_usd_per_mtok"]) for name, facts in told.items()
    }
    if cost.prices is not None:
        prices |= read_prices(cost.prices)
    prices |= {
        m.name: Price(m.name, m.input_usd_per_mtok, m.output_usd_per_mtok)
        for m in members
        if m.input_usd_per_mtok is not None and m.output_usd_per_mtok is not None
    }
    parameters = {n: facts["active_parameters"] for n, facts in table.facts.items() if "active_parameters" in facts}
    parameters |= {m.name: m.active_parameters for m in members if m.active_parameters is not None}
    return expected_cost(
        table, cost.kind, prices, parameters, cost.assume_completion_tokens,
        train=train, kept=kept, responses=responses,
    )  # fmt: skip


def router_cost(table: RewardTable, backbone: Plug, cost: Cost, kind: str) -> float | None:
    """What deciding one prompt costs, in the unit of the costs: as configured, else the backbone's FLOPs; None unknown.

    2 * parameters * tokens, as for the members; the heads are nothing beside it.
    """
    if cost.router_per_prompt is not None:
        return cost.router_per_prompt
    parameters = backbone.get("active_parameters")
    if kind != "flops" or parameters is None:
        return None
    return float(2 * parameters * table.prompts["prompt"].map(estimated_tokens).mean())


def require_same_members(table: RewardTable, members: Sequence[str]) -> RewardTable:
    """The table with a trained router's members, in its order. Raises ErpError where one is missing."""
    missing = [name for name in members if name not in table.members]
    if missing:
        raise ErpError(
            f"data: the table has no rewards of {', '.join(missing)}, which the router chooses among; "
            f"give a table that has them, or train on this one"
        )
    return select_members(table, list(members))
