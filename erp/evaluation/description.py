"""What a reward table says before anything is learnt: what there is to gain, and how much of it is noise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import outcome
from erp.decisions.references import category_oracle, oracle
from erp.evaluation.audits import length_section
from erp.evaluation.noise import noise_section
from erp.evaluation.overlaps import own_rewards, pair_differences
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.length import length_bias
from erp.table.complete import REMEDY, lacking
from erp.table.groups import group_prompts
from erp.table.neighbours import duplicate_facts
from erp.table.schema import RewardTable
from erp.targets import Targets, expected_reward, samples_per_cell, split_half_oracle

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def describe(
    table: RewardTable,
    near_duplicates: float | None = 0.8,
    bootstrap: dict[str, Any] | None = None,
    *,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Everything `erp describe` prints, as one mapping. What one sample per cell cannot identify is None.

    Oracles are over the prompts that have a reward of every member; ``reason`` says why they are None where there is no
    such prompt. Where some prompt is not, ``overlaps`` has every member on its own prompts, and every two on those that
    both have.

    Args:
        table: of one reward model and pool.
        near_duplicates: similarity from which prompts are near-duplicates; None: only equal texts are.
        bootstrap: ``draws, seed, level`` of intervals.
        cache: folder in which near-duplicates of a table are kept; None: nowhere.
    """
    targets = expected_reward(table)
    rows = np.flatnonzero(targets.complete)
    halves = split_half_oracle(table, rows)
    found = group_prompts(table.prompts, near_duplicates, cache=cache)
    groups = found.groups
    every = np.arange(len(table.prompts))
    return {
        "reward_model": table.reward_model,
        "prompts": len(table.prompts),
        "complete_prompts": len(rows),
        "members": len(table.members),
        "lacking": lacking(table.members, targets.count > 0),
        "missing_cells": int((targets.count == 0).sum()),
        "samples_per_cell": list(samples_per_cell(targets)),
        "repeated_texts": len(table.prompts) - len(set(map(str.strip, table.prompts["prompt"]))),
        "groups": len(found.names),
        "near_duplicates": None if found.near is None else asdict(duplicate_facts(found.near)),
        "reason": None if len(rows) else f"no prompt has a reward of every member; {REMEDY}",
        **_compared(table, rows, targets.mean[rows]),
        "split_half_oracle": None if halves is None else halves.mean,
        "split_half_oracle_sd": None if halves is None else halves.sd,
        "overlaps": _overlaps(table, targets, GroupBootstrap(groups, **(bootstrap or {}))),
        "noise": noise_section(table, targets, rows, halves),
        "length_bias": length_section(length_bias(table, every, groups, **(bootstrap or {}))),
        "notes": list(table.notes),
    }


def _compared(table: RewardTable, rows: Rows, rewards: Floats) -> dict[str, Any]:
    """Means and oracles over the prompts that have a reward of every member; None without any."""
    if not len(rows):
        names = ("random", "best_single", "best_single_member", "oracle", "category_oracle", "member_means")
        return dict.fromkeys(names)
    means = rewards.mean(axis=0)
    best = int(means.argmax())
    return {
        "random": float(means.mean()),
        "best_single": float(means[best]),
        "best_single_member": table.members[best],
        "oracle": outcome(oracle(rewards, np.zeros(len(means))), rewards, np.zeros(len(means))).mean_reward,
        "category_oracle": _category_oracle(table, rows, rewards),
        "member_means": {name: float(mean) for name, mean in zip(table.members, means, strict=True)},
    }


def _overlaps(table: RewardTable, targets: Targets, bootstrap: GroupBootstrap) -> dict[str, Any] | None:
    """Members on the prompts that have their rewards, and in pairs; None where every prompt has those of all."""
    if targets.complete.all():
        return None
    return {
        "members": own_rewards(table.members, targets.mean, bootstrap),
        "pairs": pair_differences(table.members, targets.mean, bootstrap),
    }


def _category_oracle(table: RewardTable, rows: Rows, rewards: Floats) -> float | None:
    if not table.has_categories:
        return None
    choice = category_oracle(rewards, table.prompts["category"].to_numpy(dtype=object)[rows])
    return outcome(choice, rewards, np.zeros(rewards.shape[1])).mean_reward
