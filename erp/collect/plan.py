"""What a collection would take, before it is begun: units, tokens, USD, GPU-hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.collect.growth import blocks_of, sampled_with_less
from erp.collect.journal import kept
from erp.collect.prompts.base import asked, characters, slices
from erp.collect.store import Store
from erp.collect.units import Blocks, Unit, sampling_units
from erp.config import CollectConfig, Member
from erp.values import CHARACTERS_PER_TOKEN

_GUESS = 1024  # tokens of a response that nothing bounds
LOGS = 100  # of a member's finished units that are looked at for its speed


@dataclass(frozen=True)
class Share:
    """What is left to do for one member.

    Attributes:
        responses: still to be sampled.
        begun: of units that are not written yet, that are there.
        prompt_tokens: of the requests, a prompt counted once for its K samples.
        completion_tokens: expected, or the most there can be.
        usd: None without prices.
        gpu_hours: None without parameters.
        hours: on this machine at the measured speed; None where nothing has been sampled yet.
        basis: where the length of a response was taken from.
    """

    member: str
    units: int
    responses: int
    begun: int
    prompt_tokens: float
    completion_tokens: float
    usd: float | None
    gpu_hours: float | None
    hours: float | None
    basis: str


def plan(store: Store, config: CollectConfig, prompts: pd.DataFrame, held: dict[str, Any]) -> str:
    """The plan as text, member by member."""
    shares = _shares(store, config, prompts, held)
    lines = [
        _head(config, blocks_of(held), shares),
        f"in {store.url}",
        "",
        f"  {'member':<32} {'units':>6} {'responses':>10} {'prompt tok':>11} {'compl. tok':>11} {'USD':>9} "
        f"{'GPU-h':>7} {'hours':>6}  length of a response",
        *[_line(share) for share in shares],
        _line(_total(shares)),
        "",
        "Prompt tokens count a prompt once for its K samples, which share its prefill; USD counts it K times, as",
        "an API bills that is asked for one sample at a time. A dash: no prices, no parameters, nothing measured yet.",
        f"GPU-h: 2 x active parameters x tokens at assume.tflops = {config.assume.tflops:g}; "
        "hours: at the speed measured in this table's finished units.",
        f"Scoring by {config.reward_model['name']} comes on top: each distinct response once.",
    ]
    return "\n".join(lines)


def summary(store: Store, config: CollectConfig, prompts: pd.DataFrame, held: dict[str, Any]) -> str:
    """The plan in a line, said before sampling starts; nothing where nothing is left to sample."""
    shares = _shares(store, config, prompts, held)
    if not any(share.units for share in shares):
        return ""
    total = _total(shares)
    costs = [
        f"{value:,.2f} {unit}" for value, unit in ((total.usd, "USD"), (total.hours, "hours")) if value is not None
    ]
    about = f"{total.prompt_tokens:,.0f} prompt and {total.completion_tokens:,.0f} completion tokens"
    bases = dict.fromkeys(share.basis for share in shares if share.units)
    head = _head(config, blocks_of(held), shares)
    return f"{head}: {', '.join([about, *costs])} (length of a response: {'; '.join(bases)})"


def _head(config: CollectConfig, blocks: Blocks, shares: list[Share]) -> str:
    prompts, members = blocks.prompts, len(shares)
    begun = sum(share.begun for share in shares)
    there = f", of which {begun:,} responses are there" if begun else ""
    return (
        f"{prompts:,} prompts x {members} members x {config.k} samples = {prompts * members * config.k:,} responses; "
        f"{sum(s.units for s in shares):,} of {members * len(blocks.rows):,} units left{there}"
    )


def _shares(store: Store, config: CollectConfig, prompts: pd.DataFrame, held: dict[str, Any]) -> list[Share]:
    members, blocks, parts = config.pool.members or [], blocks_of(held), store.names("samples")
    logs = store.names("log/samples") if parts else set[str]()
    units = sampling_units(members, len(blocks.rows))
    had = sampled_with_less(store, held, units)
    left = {unit: config.k - had.get(unit, 0) for unit in units if unit.part not in parts or unit in had}
    lines = kept(store, "journal/samples")
    begun = {unit: lines.get(f"{unit.name}.jsonl", 0) for unit in left}
    done = [unit for unit in units if unit not in left and unit.file in logs]
    lengths = _lengths(prompts) if left else np.empty(0)
    return [_share(store, config, lengths, blocks, member, done, left, begun) for member in members]


def _lengths(prompts: pd.DataFrame) -> NDArray[np.float64]:
    """Characters of what is asked (N,)."""
    every = (said for some in slices(prompts) for said in asked(some))
    counts = (len(said) if isinstance(said, str) else characters(said) for said in every)
    return np.fromiter(counts, np.float64, len(prompts))


def _share(
    store: Store, config: CollectConfig, lengths: NDArray[np.float64], blocks: Blocks, member: Member, done: list[Unit],
    left: dict[Unit, int], begun: dict[Unit, int],
) -> Share:  # fmt: skip
    own = [unit for unit in left if unit.member == member.name]
    there = sum(begun[unit] for unit in own)
    responses = max(0, sum(blocks.held_by(unit.block) * left[unit] for unit in own) - there)
    measured = _measured(store, [unit for unit in done if unit.member == member.name])
    each = np.ceil((lengths + characters(member.messages(""))) / CHARACTERS_PER_TOKEN)  # its words beside the prompt
    of_unit = {unit: float(each[blocks.rows[unit.block]].sum()) for unit in own}
    length, basis = float(_GUESS), f"a guess of {_GUESS:,} tokens, as max_tokens is null"
    if member.decoding.max_tokens is not None:
        length, basis = float(member.decoding.max_tokens), "max_tokens, the most it can be"
    if config.assume.completion_tokens is not None:
        length, basis = config.assume.completion_tokens, "assume.completion_tokens"
    hours = None
    if measured is not None:
        hours = responses * measured[1] / 3600
        if measured[0] is not None:
            length, basis = measured[0], "measured in the finished units"
        else:
            basis += "; the server does not tell"
    prompt_tokens, completion_tokens = sum(of_unit.values()), responses * length
    usd = gpu_hours = None
    if member.input_usd_per_mtok is not None and member.output_usd_per_mtok is not None:
        billed = sum(tokens * left[unit] for unit, tokens in of_unit.items())
        usd = (billed * member.input_usd_per_mtok + completion_tokens * member.output_usd_per_mtok) / 1e6
    if member.active_parameters is not None:
        flops = 2 * member.active_parameters * (prompt_tokens + completion_tokens)
        gpu_hours = flops / (config.assume.tflops * 1e12) / 3600
    return Share(
        member.name, len(own), responses, there, prompt_tokens, completion_tokens, usd, gpu_hours, hours, basis
    )  # fmt: skip


def _measured(store: Store, done: list[Unit]) -> tuple[float | None, float] | None:
    """Tokens of a response (None: nobody counted), and seconds one took, over finished units, which have logs."""
    logs = [store.read_json(f"log/samples/{unit.file}") for unit in done[-LOGS:]]
    responses = sum(entry.get("timed", entry["done"]) for entry in logs)  # an older erp took all for timed
    if not responses:
        return None
    counted = sum(entry.get("counted", entry["done"] if entry["tokens"] else 0) for entry in logs)
    tokens = sum(entry["tokens"] for entry in logs) / counted if counted else None
    return tokens, sum(entry["seconds"] for entry in logs) / responses


def _total(shares: list[Share]) -> Share:
    def of(name: str) -> float | None:
        values = [getattr(share, name) for share in shares]
        return None if None in values else sum(values)

    return Share(
        "in all", sum(s.units for s in shares), sum(s.responses for s in shares), sum(s.begun for s in shares),
        sum(s.prompt_tokens for s in shares),
        sum(s.completion_tokens for s in shares), of("usd"), of("gpu_hours"), of("hours"), "",
    )  # fmt: skip


def _line(s: Share) -> str:
    usd, gpu, hours = ("-" if v is None else f"{v:,.{d}f}" for v, d in ((s.usd, 2), (s.gpu_hours, 2), (s.hours, 2)))
    return (
        f"  {s.member:<32} {s.units:>6,} {s.responses:>10,} {s.prompt_tokens:>11,.0f} {s.completion_tokens:>11,.0f} "
        f"{usd:>9} {gpu:>7} {hours:>6}  {s.basis}"
    )
