"""What one answer costs, by prompt and member: measured, or from prices, parameters or tokens (docs/method.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from erp.costs.base import Costs, Counted
from erp.costs.counting import LENGTHS, Attempt, count_tokens, in_flops, in_usd, of_cells
from erp.costs.prices import PARAMETERS, PRICES, Price
from erp.errors import ErpError, shorten
from erp.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from erp.config import Cost
    from erp.table.schema import RewardTable

Kind = Literal["auto"] | Counted
_KINDS: tuple[Counted, ...] = ("usd", "flops", "tokens", "none")  # that auto chooses among


def table_costs(
    table: RewardTable,
    told: Mapping[str, Mapping[str, float]],
    cost: Cost,
    *,
    train: NDArray[np.int64] | None = None,
    kept: NDArray[np.float64] | None = None,
    responses: int = 1,
) -> Costs:
    """`expected_cost` of a config, with what is said of the members (`erp.costs.prices.member_facts`)."""
    prices = {name: Price(name, *(facts[key] for key in PRICES)) for name, facts in told.items() if PRICES[0] in facts}
    parameters = {name: facts[PARAMETERS] for name, facts in told.items() if PARAMETERS in facts}
    return expected_cost(
        table, cost.kind, prices, parameters, cost.assume_completion_tokens,
        train=train, kept=kept, responses=responses,
    )  # fmt: skip


def expected_cost(
    table: RewardTable,
    kind: Kind,
    prices: Mapping[str, Price],
    active_parameters: Mapping[str, float],
    assumed_completion_tokens: float | None = None,
    *,
    train: NDArray[np.int64] | None = None,
    kept: NDArray[np.float64] | None = None,
    responses: int = 1,
) -> Costs:
    """Cost of answering each prompt with each member: the mean over a cell's samples, completed where it is unknown.

    usd is the table's cost_usd where it is known, else tokens times prices; flops = 2 * active parameters * tokens;
    tokens = prompt + completion tokens; completion_tokens those alone. auto takes the first of usd, flops, tokens, none
    that every member has. Train alone decides what a member has, and what stands where a cost is unknown.

    Args:
        table: The table of the pool.
        kind: What to count.
        prices: Member's name -> price.
        active_parameters: Member's name -> parameters used per token (7e9, not 7).
        assumed_completion_tokens: Length of the answers of a member of which train knows none; None = not assumed.
        train: Rows of the prompts that are learnt from; None = all.
        kept: (M,) `Costs.mean` of the run whose router is used here, in place of this table's; NaN for a new member.
        responses: How many a prompt is answered with: choosing the best of four costs four.

    Raises:
        ErpError: The kind asked for cannot be had, with the members that lack something.
    """
    rows = np.arange(len(table.prompts)) if train is None else train
    tokens = count_tokens(table, assumed_completion_tokens, rows)
    ways: dict[Counted, Callable[[], Attempt]] = {
        "usd": lambda: in_usd(table, tokens, prices),
        "flops": lambda: in_flops(table, tokens, active_parameters),
        "tokens": lambda: Attempt(tokens.prompt + tokens.completion, tokens.notes, {LENGTHS: tokens.absent}),
        "completion_tokens": lambda: Attempt(tokens.completion, tokens.assumed, {LENGTHS: tokens.absent}),
        "none": lambda: Attempt(np.zeros(tokens.prompt.shape)),
    }
    if kind != "auto" and kind not in ways:
        raise ErpError(f"cost.kind = {kind}: unknown; allowed are auto, {', '.join(ways)}; choose one")
    passed: list[tuple[str, str]] = []
    had = False  # whether some members, but not all, have what a way that was passed over counts by
    for name in _KINDS if kind == "auto" else (kind,):
        attempt = ways[name]()
        values = responses * attempt.values
        mean = _mean(values[rows]) if kept is None else np.where(np.isnan(kept), _mean(values[rows]), kept)
        absent = np.isnan(values).all(axis=0) | np.isnan(mean)
        if not absent.any():
            chosen = _chosen(name, passed)
            notes = [chosen] if kind == "auto" else []
            notes += [*attempt.notes, *_of_unknown(values)]
            notes += [f"for {responses} responses a prompt"] if responses > 1 else []
            known = np.where(np.isfinite(values), values, np.nan)
            return Costs(name, UNITS[name].base, known, mean, tuple(notes), chosen if had else None)
        had |= not absent.all()
        have = f", which {int((~absent).sum())} of {len(absent)} members have" if not absent.all() else ""
        passed.append((f"not {name}{have}", _lacking(table, attempt, absent)))
    raise ErpError(
        f"cost.kind = {kind}: cannot be had: {passed[-1][1]}; "
        "allowed is a kind that every member of the pool has; add what is lacking"
        + (" or use cost.kind=auto" if kept is None else ": the router's costs are of this kind, and stay so")
    )


def _chosen(name: str, passed: list[tuple[str, str]]) -> str:
    what = "costs are not counted" if name == "none" else f"costs are counted in {name}"
    return f"{what} ({'; '.join(map(': '.join, passed))})" if passed else what


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) of the known values of each member; NaN for one without any."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _of_unknown(values: NDArray[np.float64]) -> list[str]:
    unknown = int(np.isnan(values).sum())
    return [f"unknown costs are the member's mean on train in {of_cells(unknown, values)}"] if unknown else []


def _lacking(table: RewardTable, attempt: Attempt, absent: NDArray[np.bool_]) -> str:
    """`no <what> for a, b` for all that members lack, and where it is lacking only on train."""
    elsewhere = np.isfinite(attempt.values).any(axis=0)
    parts = []
    for what, needed in attempt.needs.items():
        for place, there in (("", ~elsewhere), (" on train prompts", elsewhere)):
            members = np.array(table.members)[needed & absent & there]
            parts += [f"no {what}{place} for {shorten(members, 3)}"] if len(members) else []
    return ", ".join(parts)
