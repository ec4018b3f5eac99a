"""What one answer costs, by prompt and member: measured, or from prices, parameters or tokens (docs/method.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from erp.errors import ErpError, shorten
from erp.files import read_yaml
from erp.units import UNITS
from erp.values import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

Counted = Literal["usd", "flops", "tokens", "none"]
Kind = Literal["auto"] | Counted
_KINDS: tuple[Counted, ...] = ("usd", "flops", "tokens", "none")
_LENGTHS = "completion tokens"
_HAVE = "which {} of {} members have"


@dataclass(frozen=True)
class Price:
    """A member's prices, USD per million tokens."""

    name: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float


@dataclass(frozen=True, eq=False)
class Costs:
    """Cost of one answer, and what train tells of it: the one place where an unknown cost becomes a number.

    Attributes:
        kind: What is counted.
        unit: The unit, for tables and axes.
        values: (prompts, members), never NaN: where a cost is unknown the member's ``mean`` stands.
        measured: (prompts, members), False where a value was unknown. True for known, priced, estimated
            (characters / 4) and assumed values, and for kind none.
        mean: (members,) of the measured values on train: what an answer is taken to cost before it is asked for.
        notes: What was chosen, estimated or assumed, a plain sentence each.
    """

    kind: Counted
    unit: str
    values: NDArray[np.float64]
    measured: NDArray[np.bool_]
    mean: NDArray[np.float64]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One way to count: values (N, M), NaN where unknown, and what members (M,) would need where all of theirs are."""

    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    needs: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Prompt and completion tokens (N, M), a completion NaN where it is unknown, and what was assumed for them."""

    prompt: NDArray[np.float64]
    completion: NDArray[np.float64]
    absent: NDArray[np.bool_]  # (M,) members of whose completions train knows none
    notes: tuple[str, ...]


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
    tokens = prompt + completion tokens. auto takes the first of usd, flops, tokens, none that every member has. Train
    alone decides what a member has, and what stands where a cost is unknown.

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
    tokens = _tokens(table, assumed_completion_tokens, rows)
    ways: dict[Counted, Callable[[], _Attempt]] = {
        "usd": lambda: _usd(table, tokens, prices),
        "flops": lambda: _flops(table, tokens, active_parameters),
        "tokens": lambda: _Attempt(tokens.prompt + tokens.completion, tokens.notes, {_LENGTHS: tokens.absent}),
        "none": lambda: _Attempt(np.zeros(tokens.prompt.shape)),
    }
    if kind != "auto" and kind not in ways:
        raise ErpError(f"cost.kind = {kind}: unknown; allowed are auto, {', '.join(ways)}; choose one")
    passed: list[tuple[str, str]] = []
    for name in _KINDS if kind == "auto" else (kind,):
        attempt = ways[name]()
        values = responses * attempt.values
        mean = _mean(values[rows]) if kept is None else np.where(np.isnan(kept), _mean(values[rows]), kept)
        absent = np.isnan(values).all(axis=0) | np.isnan(mean)
        if not absent.any():
            notes = [_chosen(name, passed)] if kind == "auto" else []
            notes += [*attempt.notes, *_of_unknown(values)]
            notes += [f"for {responses} responses a prompt"] if responses > 1 else []
            known = np.isfinite(values)
            return Costs(name, UNITS[name].base, np.where(known, values, mean), known, mean, tuple(notes))
        have = f", {_HAVE.format(int((~absent).sum()), len(absent))}" if not absent.all() else ""
        passed.append((f"not {name}{have}", _lacking(table, attempt, absent)))
    raise ErpError(
        f"cost.kind = {kind}: cannot be had: {passed[-1][1]}; "
        "allowed is a kind that every member of the pool has; add what is lacking"
        + (" or use cost.kind=auto" if kept is None else ": the router's costs are of this kind, and stay so")
    )


def _chosen(name: str, passed: list[tuple[str, str]]) -> str:
    what = "costs are not counted" if name == "none" else f"costs are counted in {name}"
    return f"{what} ({'; '.join(map(': '.join, passed))})" if passed else what


def fell_back(notes: Sequence[str]) -> str | None:
    """The note of costs in another unit than the one that some members have: a price file may lack a name."""
    told = _HAVE.partition("{}")[0]
    return next((note for note in notes if note.startswith("costs are") and f", {told}" in note), None)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) of the known values of each member; NaN for one without any."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _of_unknown(values: NDArray[np.float64]) -> list[str]:
    unknown = int(np.isnan(values).sum())
    return [f"unknown costs are the member's mean on train in {_of_cells(unknown, values)}"] if unknown else []


def _lacking(table: RewardTable, attempt: _Attempt, absent: NDArray[np.bool_]) -> str:
    """`no <what> for a, b` for all that members lack, and where it is lacking only on train."""
    elsewhere = np.isfinite(attempt.values).any(axis=0)
    parts = []
    for what, needed in attempt.needs.items():
        for place, there in (("", ~elsewhere), (" on train prompts", elsewhere)):
            members = np.array(table.members)[needed & absent & there]
            parts += [f"no {what}{place} for {shorten(members, 3)}"] if len(members) else []
    return ", ".join(parts)


def _cell_mean(table: RewardTable, column: str) -> NDArray[np.float64]:
    """Mean of a column over the samples of a cell, weighted by n_samples (N, M); NaN where it is unknown."""
    rows = table.samples[table.samples[column].notna()]
    shape = (len(table.prompts), len(table.members))
    cell = rows["prompt"].to_numpy(dtype=np.int64) * shape[1] + rows["member"].to_numpy(dtype=np.int64)
    weight = rows["n_samples"].to_numpy(dtype=np.float64)
    total = np.bincount(cell, weights=weight * rows[column].to_numpy(dtype=np.float64), minlength=shape[0] * shape[1])
    count = np.bincount(cell, weights=weight, minlength=shape[0] * shape[1])
    mean = np.full(count.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean.reshape(shape)


def _tokens(table: RewardTable, assumed_completion_tokens: float | None, train: NDArray[np.int64]) -> _Tokens:
    if assumed_completion_tokens is not None and not 0 < assumed_completion_tokens < np.inf:
        raise ErpError(
            f"cost.assume_completion_tokens = {assumed_completion_tokens}: allowed is a number above 0; change it"
        )
    notes = []
    prompt = _cell_mean(table, "prompt_tokens")
    unknown = np.isnan(prompt)
    if unknown.any():
        characters = table.prompts["prompt"].map(len).to_numpy(dtype=np.float64)
        prompt = np.where(unknown, np.ceil(characters / CHARACTERS_PER_TOKEN)[:, None], prompt)
        notes.append(f"prompt tokens are estimated as characters / 4 in {_of_cells(int(unknown.sum()), prompt)}")
    completion = _cell_mean(table, "completion_tokens")
    absent = np.asarray(np.isnan(completion[train]).all(axis=0))
    if assumed_completion_tokens is not None and absent.any():
        completion = np.where(absent & np.isnan(completion), assumed_completion_tokens, completion)
        names = shorten(np.array(table.members)[absent])
        notes.append(f"completion tokens are assumed to be {assumed_completion_tokens:g} for {names}")
        absent = np.zeros_like(absent)
    return _Tokens(prompt, completion, absent, tuple(notes))


def _of_cells(count: int, cells: NDArray[np.float64]) -> str:
    return "all cells" if count == cells.size else f"{count:,} of {cells.size:,} cells"


def _known(table: RewardTable, names: Mapping[str, object]) -> NDArray[np.bool_]:
    return np.array([member in names for member in table.members], dtype=bool)


def _usd(table: RewardTable, tokens: _Tokens, prices: Mapping[str, Price]) -> _Attempt:
    measured = _cell_mean(table, "cost_usd")
    has_price = _known(table, prices)
    priced = np.full(measured.shape, np.nan)
    for member in np.flatnonzero(has_price):
        price = prices[table.members[member]]
        spent = tokens.prompt[:, member] * price.input_usd_per_mtok
        priced[:, member] = (spent + tokens.completion[:, member] * price.output_usd_per_mtok) / 1e6
    from_price = np.isnan(measured) & np.isfinite(priced)
    notes = list(tokens.notes) if from_price.any() else []
    if from_price.any() and not from_price.all():
        notes.append(f"cost_usd is unknown and computed from prices in {_of_cells(int(from_price.sum()), priced)}")
    needs = {"cost_usd and no price": ~has_price, _LENGTHS: has_price}
    return _Attempt(np.where(from_price, priced, measured), tuple(notes), needs)


def _flops(table: RewardTable, tokens: _Tokens, active_parameters: Mapping[str, float]) -> _Attempt:
    parameters = np.array([active_parameters.get(member, np.nan) for member in table.members], dtype=np.float64)
    needs = {"active parameters": ~_known(table, active_parameters), _LENGTHS: tokens.absent}
    return _Attempt(2.0 * parameters * (tokens.prompt + tokens.completion), tokens.notes, needs)


def read_prices(path: str | Path) -> dict[str, Price]:
    """Prices from a JSON or YAML file, by member.

    Either a list of {name, input_usd_per_mtok, output_usd_per_mtok} or a mapping name -> {input, output}, both in USD
    per million tokens. Other keys of an entry are ignored.

    Raises:
        ErpError: No such file, not JSON or YAML, another shape, or a price that is not a number of at least 0.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if str(path).lower().endswith(".json") else read_yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ErpError(f"cost.prices = {path}: cannot be read ({reason}); give a JSON or YAML file") from error
    shapes = (
        "allowed are a list of {name, input_usd_per_mtok, output_usd_per_mtok} "
        "and a mapping name -> {input, output}, USD per million tokens"
    )
    if isinstance(content, list) and content:
        entries = [(entry.get("name") if isinstance(entry, dict) else None, entry) for entry in content]
    elif isinstance(content, dict) and content:
        entries = list(content.items())
    else:
        raise ErpError(f"cost.prices = {path}: neither a list nor a mapping, or empty; {shapes}; rewrite the file")
    found = (
        f"its top-level keys are {shorten(content)}"
        if isinstance(content, dict)
        else f"it lists {len(entries)} entries"
    )
    prices: dict[str, Price] = {}
    faults = []
    for position, (name, entry) in enumerate(entries):
        price = _price(name, entry)
        if price is None:
            faults.append(
                f"cost.prices = {path}: entry {name or position} is not a price; {found}; {shapes}; correct it"
            )
        elif price.name in prices:
            faults.append(f"cost.prices = {path}: {price.name} is named twice; one price each is allowed; drop one")
        else:
            prices[price.name] = price
    if faults:
        raise ErpError(
            *faults[:10], *([f"cost.prices = {path}: and {len(faults) - 10} more"] if len(faults) > 10 else [])
        )
    return prices


def _price(name: object, entry: object) -> Price | None:
    """One entry of a price file, or None if it is not one."""
    if not isinstance(entry, dict) or not isinstance(name, str) or not name:
        return None
    amounts = []
    for key in ("input", "output"):
        amount = entry.get(f"{key}_usd_per_mtok", entry.get(key))
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < np.inf:
            return None
        amounts.append(float(amount))
    return Price(name, *amounts)
