"""What one answer costs, by prompt and member: measured, or from prices, parameters or tokens (docs/method.md)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import yaml

from erp.errors import ErpError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

Kind = Literal["auto", "usd", "flops", "tokens", "none"]
_UNITS = {"usd": "USD per prompt", "flops": "FLOPs per prompt", "tokens": "tokens per prompt", "none": "none"}
_CHARACTERS_PER_TOKEN = 4  # the usual rule of thumb for English; the report says "estimated"


def estimated_tokens(text: str) -> int:
    """Tokens of a text by its length, where nobody counted them."""
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Price:
    """A member's prices, USD per million tokens."""

    name: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float


@dataclass(frozen=True, eq=False)
class Costs:
    """Cost of one answer.

    Attributes:
        kind: What is counted.
        unit: The unit, for tables and axes.
        values: (prompts, members), never NaN.
        measured: (prompts, members), False where a value was unknown and filled with its member's mean, which comes
            from other prompts, whatever their split: such cells must not count in a mean over train. True for known,
            priced, estimated (characters / 4) and assumed values, and for kind none.
        notes: What was chosen, estimated or assumed, a plain sentence each.
    """

    kind: Literal["usd", "flops", "tokens", "none"]
    unit: str
    values: NDArray[np.float64]
    measured: NDArray[np.bool_]
    notes: tuple[str, ...]

    def times(self, responses: int) -> Costs:
        """Of so many responses a prompt: what choosing the best of them costs."""
        if responses == 1:
            return self
        return replace(self, values=self.values * responses, notes=(*self.notes, f"for {responses} responses a prompt"))


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One way to count: values and measured (N, M) and notes, or why it cannot be had."""

    values: NDArray[np.float64] | None
    measured: NDArray[np.bool_]
    notes: tuple[str, ...] = ()
    lacking: str = ""


@dataclass(frozen=True, eq=False)
class _Tokens:
    """Prompt and completion tokens (N, M) without NaN where they can be had, and what was assumed for it."""

    prompt: NDArray[np.float64]
    completion: NDArray[np.float64]  # a member without any known length is NaN throughout
    measured: NDArray[np.bool_]  # (N, M) False where a completion is its member's mean
    notes: tuple[str, ...]


def expected_cost(
    table: RewardTable,
    kind: Kind,
    prices: Mapping[str, Price],
    active_parameters: Mapping[str, float],
    assumed_completion_tokens: float | None = None,
) -> Costs:
    """Cost of answering each prompt with each member: the mean over a cell's samples, completed where it is unknown.

    usd is the table's cost_usd where it is known, else tokens times prices; flops = 2 * active parameters * tokens;
    tokens = prompt + completion tokens. auto takes the first of usd, flops, tokens, none that every member has.

    Args:
        table: The table of the pool.
        kind: What to count.
        prices: Member's name -> price.
        active_parameters: Member's name -> parameters used per token (7e9, not 7).
        assumed_completion_tokens: Length of the answers of a member for which the table knows none; None = not assumed.

    Raises:
        ErpError: The kind asked for cannot be had, with the members that lack something.
    """
    tokens = _tokens(table, assumed_completion_tokens)
    uncounted = _Attempt(np.zeros(tokens.prompt.shape), np.ones(tokens.prompt.shape, dtype=bool))
    ways: dict[str, Callable[[], _Attempt]] = {
        "usd": lambda: _usd(table, tokens, prices),
        "flops": lambda: _flops(table, tokens, active_parameters),
        "tokens": lambda: _count(table, tokens),
        "none": lambda: uncounted,
    }
    if kind != "auto":
        if kind not in ways:
            raise ErpError(f"cost.kind = {kind}: unknown; allowed are auto, {', '.join(ways)}; choose one")
        attempt = ways[kind]()
        if attempt.values is None:
            raise ErpError(
                f"cost.kind = {kind}: cannot be had: {attempt.lacking}; "
                "allowed is a kind that every member of the pool has; add what is lacking or use cost.kind=auto"
            )
        return Costs(kind, _UNITS[kind], attempt.values, attempt.measured, attempt.notes)
    passed: list[str] = []
    for name in ("usd", "flops", "tokens"):
        attempt = ways[name]()
        if attempt.values is not None:
            notes = (_chosen(name, passed), *attempt.notes)
            return Costs(name, _UNITS[name], attempt.values, attempt.measured, notes)
        passed.append(f"not {name}: {attempt.lacking}")
    assert uncounted.values is not None
    return Costs("none", _UNITS["none"], uncounted.values, uncounted.measured, (_chosen("none", passed),))


def _chosen(name: str, passed: list[str]) -> str:
    what = "costs are not counted" if name == "none" else f"costs are counted in {name}"
    return f"{what} ({'; '.join(passed)})" if passed else what


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


def _filled_by_member(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Unknown cells take their member's mean; which did (N, M). A member without any known cell stays NaN."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean = np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return np.where(known, values, mean), ~known & (count > 0)


def _tokens(table: RewardTable, assumed_completion_tokens: float | None) -> _Tokens:
    if assumed_completion_tokens is not None and not 0 < assumed_completion_tokens < np.inf:
        raise ErpError(
            f"cost.assume_completion_tokens = {assumed_completion_tokens}: allowed is a number above 0; change it"
        )
    notes = []
    prompt = _cell_mean(table, "prompt_tokens")
    unknown = np.isnan(prompt)
    if unknown.any():
        characters = table.prompts["prompt"].map(len).to_numpy(dtype=np.float64)
        prompt = np.where(unknown, np.ceil(characters / _CHARACTERS_PER_TOKEN)[:, None], prompt)
        notes.append(f"prompt tokens are estimated as characters / 4 in {_of_cells(int(unknown.sum()), prompt)}")
    completion, filled = _filled_by_member(_cell_mean(table, "completion_tokens"))
    if filled.any():
        notes.append(f"completion tokens are the member's mean in {_of_cells(int(filled.sum()), prompt)}")
    without = np.isnan(completion).all(axis=0)
    if assumed_completion_tokens is not None and without.any():
        completion[:, without] = assumed_completion_tokens
        names = shorten(np.array(table.members)[without])
        notes.append(f"completion tokens are assumed to be {assumed_completion_tokens:g} for {names}")
    return _Tokens(prompt, completion, ~filled, tuple(notes))


def _of_cells(count: int, cells: NDArray[np.float64]) -> str:
    return "all cells" if count == cells.size else f"{count:,} of {cells.size:,} cells"


def _lacking(table: RewardTable, absent: NDArray[np.bool_] | np.bool_, what: str) -> str:
    """`no <what> for a, b`, or nothing."""
    return f"no {what} for {shorten(np.array(table.members)[absent], 3)}" if absent.any() else ""


def _known(table: RewardTable, names: Mapping[str, object]) -> NDArray[np.bool_]:
    return np.array([member in names for member in table.members], dtype=bool)


def _usd(table: RewardTable, tokens: _Tokens, prices: Mapping[str, Price]) -> _Attempt:
    measured = _cell_mean(table, "cost_usd")
    has_column = np.isfinite(measured).any(axis=0)
    has_price = _known(table, prices)
    has_tokens = np.isfinite(tokens.completion).all(axis=0)
    wanting = [
        _lacking(table, ~has_column & ~has_price, "cost_usd and no price"),
        _lacking(table, ~has_column & has_price & ~has_tokens, "completion tokens"),
    ]
    if any(wanting):
        return _Attempt(None, tokens.measured, lacking=", ".join(part for part in wanting if part))
    priced = np.full(measured.shape, np.nan)
    for member in np.flatnonzero(has_price & has_tokens):
        price = prices[table.members[member]]
        spent = tokens.prompt[:, member] * price.input_usd_per_mtok
        priced[:, member] = (spent + tokens.completion[:, member] * price.output_usd_per_mtok) / 1e6
    unknown = np.isnan(measured)
    from_price = unknown & np.isfinite(priced)
    values, filled = _filled_by_member(np.where(from_price, priced, measured))
    notes = list(tokens.notes) if from_price.any() else []
    if from_price.any() and not from_price.all():
        notes.append(f"cost_usd is unknown and computed from prices in {_of_cells(int(from_price.sum()), values)}")
    if filled.any():
        notes.append(f"cost_usd is the member's mean in {_of_cells(int(filled.sum()), values)}")
    return _Attempt(values, ~filled & (tokens.measured | ~from_price), tuple(notes))


def _flops(table: RewardTable, tokens: _Tokens, active_parameters: Mapping[str, float]) -> _Attempt:
    wanting = [
        _lacking(table, ~_known(table, active_parameters), "active parameters"),
        _lacking(table, np.isnan(tokens.completion).any(axis=0), "completion tokens"),
    ]
    if any(wanting):
        return _Attempt(None, tokens.measured, lacking=", ".join(part for part in wanting if part))
    parameters = np.array([active_parameters[member] for member in table.members], dtype=np.float64)
    return _Attempt(2.0 * parameters * (tokens.prompt + tokens.completion), tokens.measured, tokens.notes)


def _count(table: RewardTable, tokens: _Tokens) -> _Attempt:
    wanting = _lacking(table, np.isnan(tokens.completion).any(axis=0), "completion tokens")
    if wanting:
        return _Attempt(None, tokens.measured, lacking=wanting)
    return _Attempt(tokens.prompt + tokens.completion, tokens.measured, tokens.notes)


def read_prices(path: str | Path) -> dict[str, Price]:
    """Prices from a JSON or YAML file, by member.

    Either a list of {name, input_usd_per_mtok, output_usd_per_mtok} or a mapping name -> {input, output}, both in USD
    per million tokens. Other keys of an entry are ignored.

    Raises:
        ErpError: No such file, not JSON or YAML, another shape, or a price that is not a number of at least 0.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if str(path).lower().endswith(".json") else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
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
