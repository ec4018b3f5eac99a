"""``erp describe``: what is in a reward table, as lines for a terminal, or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from erp.backbones.reading import what_is_read
from erp.config import DescribeConfig, validate
from erp.errors import one_line
from erp.evaluation.description import describe
from erp.files import cache_folder, jsonable
from erp.programs.launch import launch
from erp.report.facts import percent
from erp.report.reading import reading_line
from erp.report.text import reward_form, spread_text
from erp.results import number
from erp.results.run import Reading
from erp.table.complete import lacking_text
from erp.table.source import load_table

MOST_CATEGORIES = 20  # listed; output=json has all
MOST_PAIRS = 15  # likewise


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("describe", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: DescribeConfig = validate("describe", container)
    facts = run(config)
    print(json.dumps(jsonable(facts), indent=2, ensure_ascii=False) if config.output == "json" else as_text(facts))


def run(config: DescribeConfig) -> dict[str, Any]:
    """The facts of a table; what `describe` says, and how much of the prompts the backbone reads."""
    table = load_table(config.data, config.reward_model, config.pool)
    facts = describe(table, config.near_duplicates, config.bootstrap.model_dump(), cache=cache_folder(config.cache_dir))
    return {**facts, "reading": what_is_read(config.backbone, config.weights_dir, table.prompts["prompt"].tolist())}


def as_text(facts: Mapping[str, Any]) -> str:
    """What `erp describe` prints: what there is, what can be gained, what is noise, who is good at what."""
    blocks = [
        _table(facts), _oracles(facts), _noise(facts), _budget(facts), _members(facts), _own_prompts(facts),
        _pairs(facts), _categories(facts),
    ]  # fmt: skip
    return "\n\n".join("\n".join(block) for block in [*blocks, _length(facts)] if block)


def _table(facts: Mapping[str, Any]) -> list[str]:
    low, high = facts["samples_per_cell"]
    k = f"K = {low}" if low == high else f"K = {low} to {high}"
    return [
        f"{facts['prompts']:,} prompts x {facts['members']} members, {k}, "
        f"reward model {one_line(facts['reward_model'])}",
        f"missing cells {facts['missing_cells']:,}; complete prompts {facts['complete_prompts']:,}; "
        f"repeated texts {facts['repeated_texts']:,}; groups {facts['groups']:,}",
        *([f"rewards are missing for {lacking_text(facts['lacking'], facts['prompts'])}"] if facts["lacking"] else []),
        *_near_duplicates(facts["near_duplicates"]),
        *[f"note: {one_line(note)}" for note in facts["notes"]],
        *_reading(facts.get("reading")),
    ]


def _reading(found: Mapping[str, Any] | None) -> list[str]:
    """What the backbone reads of the prompts, where it is not all."""
    if found is None:
        return []
    if found["reason"] is not None:
        return [f"how much of the prompts {one_line(found['backbone'])} reads is not known: {found['reason']}"]
    of = Reading(window=found["window"], long=found["long"], cut=found["cut"] or 0.0, alike=found["alike"] or 0.0)
    line = reading_line(of, found["backbone"])
    return [f"{line} Told from {found['prompts']:,} of them."] if line else []


def _near_duplicates(found: Mapping[str, Any] | None) -> list[str]:
    if found is None or not found["groups"]:
        return []
    return [
        f"near-duplicates: {found['prompts']:,} prompts in {found['groups']:,} groups, the largest of "
        f"{found['largest']:,}; a random half split would put {percent(found['leak'], 1)} of test prompts beside one "
        "in train" + ("; larger groups were cut at a stricter similarity" if found["cut"] else "")
    ]


def _form(facts: Mapping[str, Any]) -> Callable[[float], str]:
    """How this table's rewards are written."""
    return reward_form([facts["oracle"], facts["random"], *(facts["member_means"] or {}).values()])


def _oracles(facts: Mapping[str, Any]) -> list[str]:
    if facts["reason"] is not None:
        return [f"Best single member, oracles and headroom are null: {facts['reason']}."]
    shown = _form(facts)
    lines = [
        "Mean reward over the complete prompts, in hindsight over the whole table:",
        f"  random            {shown(facts['random'])}",
        f"  best single       {shown(facts['best_single'])}  {one_line(facts['best_single_member'])}",
    ]
    if facts["category_oracle"] is not None:
        lines.append(f"  category oracle   {shown(facts['category_oracle'])}  best member of each category")
    gap = facts["noise"]["headroom"]
    if facts["split_half_oracle"] is None:
        why = facts["noise"]["reason"] or "no prompt has two separate samples of every member"
        why = why.split(": ", 1)[0]  # the whole reason stands with the noise
        lines.append(f"  split-half oracle      -  {why}")
        bracket = f"at most {shown(gap['naive'])}"
    else:
        spread = facts["split_half_oracle_sd"]
        lines.append(
            f"  split-half oracle {shown(facts['split_half_oracle'])}  +/- {shown(spread)} over halves: too low"
        )
        bracket = f"between {shown(gap['split_half'])} (too low) and {shown(gap['naive'])} (too high, by luck)"
    if facts["noise"]["doubt"] is not None:
        bracket += "; the samples look like copies, so the lower end is not to be believed"
    lines.append(
        f"  oracle            {shown(facts['oracle'])}  best observed member of each prompt: too high, by luck"
    )
    return [*lines, "", f"Headroom over the best single member: {bracket}."]


def _noise(facts: Mapping[str, Any]) -> list[str]:
    noise = facts["noise"]
    if noise["reason"] is not None:
        return [f"How much of it is noise: {noise['reason']}."]
    doubt = [] if noise["doubt"] is None else [f"  warning: {one_line(noise['doubt'])}"]
    lines = [_variance(noise["components"])]
    if noise["reliability_pooled"] is not None:
        lines.append(
            f"  a perfect predictor's R^2 against these labels: {noise['reliability_pooled']:.4f} on rewards, all "
            "members together" + _of_differences(noise["reliability_of_differences"])
        )
    return ["How much of it is noise:", *doubt, *lines]


def _of_differences(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    if found["pooled"] is None:
        return ""
    return (
        f"; {found['pooled']:.4f} on the differences between two, which is what routing lives on "
        f"(from {found['lowest']:.4f} to {found['highest']:.4f} by pair)"
    )


def _variance(found: Mapping[str, Any]) -> str:
    if found["shares"] is None:
        return f"  variance shares: null, because {found['reason']}"
    shares = ", ".join(f"{name} {percent(share, 1)}" for name, share in found["shares"].items())
    return f"  variance of a sampled reward: {shares}"


def _budget(facts: Mapping[str, Any]) -> list[str]:
    points = facts["noise"]["budget"]
    if not points:
        return []
    total, shown = facts["noise"]["components"], _form(facts)
    header = "  prompts x samples   reliability   of differences   standard error of a member's mean, of a difference"
    rows = [
        f"  {point['prompts']:7,} x {point['samples']:<7}   {_or_dash(point['reliability']):>11}   "
        f"{_or_dash(point['reliability_of_differences']):>14}   "
        f"{_or_dash(point['se_mean'], shown)}, {_or_dash(point['se_difference'], shown)}"
        for point in points
    ]
    return [
        f"The same {round(total['prompts'] * total['samples']):,} responses per member, spread over more or fewer "
        "prompts:",
        header,
        *rows,
    ]


def _or_dash(value: float | None, shown: Callable[[float], str] = "{:.4f}".format) -> str:
    return "-" if value is None or math.isnan(value) else shown(value)


def _members(facts: Mapping[str, Any]) -> list[str]:
    if facts["member_means"] is None:
        return []
    lines, shown = ["Members, by mean reward:"], _form(facts)
    rhos = facts["noise"]["reliability"]
    for name, mean in sorted(facts["member_means"].items(), key=lambda item: -item[1]):
        rho = f"  reliability {rhos[name]:.4f}" if rhos[name] is not None else ""
        lines.append(f"  {shown(mean)}  {one_line(name)}{rho}")
    return lines


def _own_prompts(facts: Mapping[str, Any]) -> list[str]:
    """Members where prompts lack rewards; the more prompts, the higher in the list."""
    if facts["overlaps"] is None:
        return []
    members, rhos = facts["overlaps"]["members"], facts["noise"]["reliability"]
    lines = ["Members, each on the prompts that have its reward; means are of different prompts:"]
    for name, row in sorted(members.items(), key=lambda item: -item[1]["prompts"]):
        rho = f"  reliability {rhos[name]:.4f}" if facts["member_means"] is None and rhos[name] is not None else ""
        lines.append(f"  {row['prompts']:6,} prompts  {_interval(row['reward'])}  {one_line(name)}{rho}")
    return lines


def _pairs(facts: Mapping[str, Any]) -> list[str]:
    """Two members on the prompts that both have."""
    pairs = facts["overlaps"] and facts["overlaps"]["pairs"]
    if not pairs:
        return []
    lines = ["Two members, on the prompts that have rewards of both (as if which have them were chance):"]
    for pair in pairs[:MOST_PAIRS]:
        first, second = map(one_line, pair["members"])
        gain = _interval(pair["difference"], signed=True) if pair["prompts"] else "not known"
        lines.append(f"  {pair['prompts']:6,} prompts  {first} less {second}: {gain}")
    if len(pairs) > MOST_PAIRS:
        lines.append(f"  ... and {len(pairs) - MOST_PAIRS} more; output=json has all")
    return lines


def _categories(facts: Mapping[str, Any]) -> list[str]:
    found = facts["noise"]["categories"]
    if not found:
        return []
    shown = _form(facts)
    lines = ["Categories, the largest first: best member and its reward; headroom over it; share of interaction:"]
    for name, row in list(found.items())[:MOST_CATEGORIES]:
        naive, half = row["headroom"]["naive"], row["headroom"]["split_half"]
        headroom = f"at most {shown(naive)}" if half is None else f"{shown(half)} to {shown(naive)}"
        shares = row["components"]["shares"]
        interaction = "" if shares is None else f"; {percent(shares['interaction'], 1)}"
        best = f"{one_line(row['best'])} {shown(row['reward'])}"
        lines.append(f"  {row['prompts']:6,}  {one_line(name)}: {best}; {headroom}{interaction}")
    if len(found) > MOST_CATEGORIES:
        lines.append(f"  ... and {len(found) - MOST_CATEGORIES} more; output=json has all")
    return lines


def _length(facts: Mapping[str, Any]) -> list[str]:
    found = facts["length_bias"]
    names = {"between": "given prompt and member", "within": "within a cell (same prompt, same member)"}
    known = [f"{_interval(found[key])} {text}" for key, text in names.items() if found[key] is not None]
    if not known:
        return [f"Does length buy reward: not known, {found['between_reason']}."]
    return [f"Does length buy reward: correlation with log length {'; '.join(known)}."]


def _interval(found: Mapping[str, float | None], signed: bool = False) -> str:
    mean, low, high = (number(found[end]) for end in ("mean", "low", "high"))
    return spread_text(mean, low, high, signed=signed)
