"""``erp describe``: what is in a reward table, and is there anything to route."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from erp.config import DescribeConfig, validate
from erp.decisions.choice import outcome
from erp.decisions.references import category_oracle, oracle
from erp.errors import ErpError
from erp.files import jsonable
from erp.programs.inputs import load_table
from erp.programs.launch import launch
from erp.table.groups import group_keys
from erp.table.schema import RewardTable
from erp.targets import Targets, expected_reward, reliability, samples_per_cell, split_half_oracle


def main(arguments: Sequence[str]) -> None:
    """The command."""
    launch("describe", arguments, _job)


def _job(container: dict[str, Any]) -> None:
    config: DescribeConfig = validate("describe", container)
    facts = run(config)
    print(json.dumps(jsonable(facts), indent=2, ensure_ascii=False) if config.output == "json" else as_text(facts))


def run(config: DescribeConfig) -> dict[str, Any]:
    """The facts of a table; means and oracles are over the prompts whose cells are all present."""
    return describe(load_table(config.data, config.reward_model, config.pool))


def describe(table: RewardTable) -> dict[str, Any]:
    """Everything `erp describe` prints, as one mapping. What one sample per cell cannot identify is None."""
    targets = expected_reward(table)
    rows = np.flatnonzero(targets.complete)
    if not len(rows):
        raise ErpError(
            "pool.members: no prompt has a reward of every member, so members cannot be compared; "
            "name those that were scored on the same prompts"
        )
    rewards = targets.mean[rows]
    means = rewards.mean(axis=0)
    best = int(means.argmax())
    halves = split_half_oracle(table, rows)
    groups = len(set(group_keys(table.prompts)))
    return {
        "reward_model": table.reward_model,
        "prompts": len(table.prompts),
        "complete_prompts": len(rows),
        "members": len(table.members),
        "missing_cells": int((targets.count == 0).sum()),
        "samples_per_cell": list(samples_per_cell(targets)),
        "repeated_texts": len(table.prompts) - table.prompts["prompt"].map(str.strip).nunique(),
        "groups": groups,
        "random": float(means.mean()),
        "best_single": float(means[best]),
        "best_single_member": table.members[best],
        "oracle": outcome(oracle(rewards, np.zeros(len(means))), rewards, np.zeros(len(means))).mean_reward,
        "category_oracle": _category_oracle(table, rows, rewards),
        "split_half_oracle": None if halves is None else halves[0],
        "split_half_oracle_sd": None if halves is None else halves[1],
        "reliability": _reliability(table, targets, rows),
        "member_means": _by_member(table, means),
        "categories": _categories(table, targets, rows),
        "notes": list(table.notes),
    }


def _reliability(table: RewardTable, targets: Targets, rows: np.ndarray[Any, Any]) -> dict[str, float | None] | None:
    """By member; None for one without repeated samples, and where nobody has any."""
    rhos = _by_member(table, reliability(targets, rows))
    known = {name: None if np.isnan(rho) else rho for name, rho in rhos.items()}
    return known if any(rho is not None for rho in known.values()) else None


def _by_member(table: RewardTable, values: np.ndarray[Any, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(table.members, values, strict=True)}


def _category_oracle(table: RewardTable, rows: np.ndarray[Any, Any], rewards: np.ndarray[Any, Any]) -> float | None:
    if not table.has_categories:
        return None
    choice = category_oracle(rewards, table.prompts["category"].to_numpy(dtype=object)[rows])
    return outcome(choice, rewards, np.zeros(rewards.shape[1])).mean_reward


def _categories(table: RewardTable, targets: Targets, rows: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    """Size, best member and its mean, per category, the largest first."""
    if not table.has_categories:
        return None
    values = table.prompts["category"].iloc[rows]
    found = {}
    for name, count in values.value_counts().items():
        means = targets.mean[rows[(values == name).to_numpy()]].mean(axis=0)
        best = int(means.argmax())
        found[str(name)] = {"prompts": int(count), "best": table.members[best], "reward": float(means[best])}
    return found


def as_text(facts: dict[str, Any]) -> str:
    """The same for a reader."""
    low, high = facts["samples_per_cell"]
    k = f"K = {low}" if low == high else f"K = {low} to {high}"
    lines = [
        f"{facts['prompts']:,} prompts x {facts['members']} members, {k}, reward model {facts['reward_model']}",
        f"missing cells {facts['missing_cells']:,}; complete prompts {facts['complete_prompts']:,}; "
        f"repeated texts {facts['repeated_texts']:,}; groups {facts['groups']:,}",
        *[f"note: {note}" for note in facts["notes"]],
        "",
        "Mean reward over the complete prompts, in hindsight over the whole table:",
        f"  random            {facts['random']:.4f}",
        f"  best single       {facts['best_single']:.4f}  {facts['best_single_member']}",
    ]
    if facts["category_oracle"] is not None:
        lines.append(f"  category oracle   {facts['category_oracle']:.4f}  best member of each category")
    lines.append(f"  oracle            {facts['oracle']:.4f}  best observed member of each prompt: too high, by luck")
    if facts["split_half_oracle"] is None:
        lines.append(
            "  split-half oracle      -  not identifiable at K=1: nobody can tell how much of the oracle is luck"
        )
    else:
        spread = facts["split_half_oracle_sd"]
        lines.append(f"  split-half oracle {facts['split_half_oracle']:.4f}  +/- {spread:.4f} over halves: too low")
    gap = facts["oracle"] - facts["best_single"]
    lines += ["", f"Headroom over the best single member: at most {gap:.4f}.", "", "Members, by mean reward:"]
    reliabilities = facts["reliability"]
    for name, mean in sorted(facts["member_means"].items(), key=lambda item: -item[1]):
        known = reliabilities and reliabilities[name] is not None
        rho = f"  reliability {reliabilities[name]:.4f}" if known else ""
        lines.append(f"  {mean:.4f}  {name}{rho}")
    if facts["categories"]:
        lines += ["", "Categories, the largest first, with their best member:"]
        shown = list(facts["categories"].items())
        lines += [f"  {c['prompts']:6,}  {name}: {c['best']} {c['reward']:.4f}" for name, c in shown[:20]]
        if len(shown) > 20:
            lines.append(f"  ... and {len(shown) - 20} more; output=json has all")
    return "\n".join(lines)
