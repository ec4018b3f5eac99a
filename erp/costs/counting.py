"""Ways to count what an answer costs: in USD, in FLOPs, in tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError, shorten
from erp.table.store import blocks
from erp.values import CHARACTERS_PER_TOKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from erp.costs.prices import Price
    from erp.table.schema import RewardTable

LENGTHS = "completion tokens"


@dataclass(frozen=True, eq=False)
class Attempt:
    """One way to count: values (N, M), NaN where unknown, and what members (M,) would need where all of theirs are."""

    values: NDArray[np.float64]
    notes: tuple[str, ...] = ()
    needs: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Tokens:
    """Prompt and completion tokens (N, M), a completion NaN where it is unknown, and what was assumed for them."""

    prompt: NDArray[np.float64]
    completion: NDArray[np.float64]
    absent: NDArray[np.bool_]  # (M,) members of whose completions train knows none
    notes: tuple[str, ...]
    assumed: tuple[str, ...]  # of the notes, what is about completions


def _cell_mean(table: RewardTable, column: str) -> NDArray[np.float64]:
    """Mean of a column over the samples of a cell, weighted by n_samples (N, M); NaN where it is unknown."""
    mean = np.full((len(table.prompts), len(table.members)), np.nan)
    for at, samples in blocks(table.samples, len(table.prompts), ("prompt", "member", "n_samples", column)):
        rows, out = samples[samples[column].notna()], mean[at].reshape(-1)
        cell = (rows["prompt"].to_numpy() - at.start) * mean.shape[1] + rows["member"].to_numpy()
        weight = rows["n_samples"].to_numpy(dtype=np.float64)
        total = np.bincount(cell, weights=weight * rows[column].to_numpy(dtype=np.float64), minlength=len(out))
        count = np.bincount(cell, weights=weight, minlength=len(out))
        np.divide(total, count, out=out, where=count > 0)
    return mean


def count_tokens(table: RewardTable, assumed_completion_tokens: float | None, train: NDArray[np.int64]) -> Tokens:
    """Tokens of prompts and completions, as far as they are known or assumed. Raises ErpError: an impossible length."""
    if assumed_completion_tokens is not None and not 0 < assumed_completion_tokens < np.inf:
        raise ErpError(
            f"cost.assume_completion_tokens = {assumed_completion_tokens}: allowed is a number above 0; change it"
        )
    notes, assumed = [], list[str]()
    prompt = _cell_mean(table, "prompt_tokens")
    unknown = np.isnan(prompt)
    if unknown.any():
        characters = table.prompts["prompt"].map(len).to_numpy(dtype=np.float64)
        prompt = np.where(unknown, np.ceil(characters / CHARACTERS_PER_TOKEN)[:, None], prompt)
        notes.append(f"prompt tokens are estimated as characters / 4 in {of_cells(int(unknown.sum()), prompt)}")
    completion = _cell_mean(table, "completion_tokens")
    absent = np.asarray(np.isnan(completion[train]).all(axis=0))
    if assumed_completion_tokens is not None and absent.any():
        completion = np.where(absent & np.isnan(completion), assumed_completion_tokens, completion)
        names = shorten(np.array(table.members)[absent])
        assumed.append(f"completion tokens are assumed to be {assumed_completion_tokens:g} for {names}")
        absent = np.zeros_like(absent)
    return Tokens(prompt, completion, absent, (*notes, *assumed), tuple(assumed))


def of_cells(count: int, cells: NDArray[np.float64]) -> str:
    """So many of the cells, in words."""
    return "all cells" if count == cells.size else f"{count:,} of {cells.size:,} cells"


def _known(table: RewardTable, names: Mapping[str, object]) -> NDArray[np.bool_]:
    return np.array([member in names for member in table.members], dtype=bool)


def in_usd(table: RewardTable, tokens: Tokens, prices: Mapping[str, Price]) -> Attempt:
    """The table's cost_usd where it is known, else tokens times prices."""
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
        notes.append(f"cost_usd is unknown and computed from prices in {of_cells(int(from_price.sum()), priced)}")
    needs = {"cost_usd and no price": ~has_price, LENGTHS: has_price}
    return Attempt(np.where(from_price, priced, measured), tuple(notes), needs)


def in_flops(table: RewardTable, tokens: Tokens, active_parameters: Mapping[str, float]) -> Attempt:
    """2 * active parameters * tokens."""
    parameters = np.array([active_parameters.get(member, np.nan) for member in table.members], dtype=np.float64)
    needs = {"active parameters": ~_known(table, active_parameters), LENGTHS: tokens.absent}
    return Attempt(2.0 * parameters * (tokens.prompt + tokens.completion), tokens.notes, needs)
