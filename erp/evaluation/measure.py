"""From scores on held-out prompts to the numbers of a report: what ``train`` and ``evaluate`` have in common."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.windows import long_of
from erp.config import TrainConfig
from erp.decisions.policy import Policy
from erp.evaluation.audits import consistency_section, length_section
from erp.evaluation.choices import Choices
from erp.evaluation.economics import Labels, router_cost
from erp.evaluation.evaluate import evaluate
from erp.evaluation.facts import data_sections, run_section
from erp.evaluation.held_out import HeldOut
from erp.evaluation.noise import noise_section
from erp.evaluation.routing import Sampled
from erp.metrics.length import length_bias
from erp.routers.cost_model import CostModel
from erp.shared import shared
from erp.table.samples import separate_samples
from erp.table.schema import RewardTable
from erp.targets import Targets, expected_reward, split_half_oracle
from erp.trained.bundle import Bundle
from erp.trained.model import Distribution
from erp.training.data import RoutingData, Rows
from erp.units import with_shown_lambdas

READ_AT_ONCE = 4096  # prompts whose vectors are held at once


def measure(
    data: RoutingData,
    bundle: Bundle,
    config: TrainConfig,
    policy: Policy,
    scores: NDArray[np.float64],
    choices: Choices,
    notes: Sequence[str] = (),
    *,
    label: str,
    in_reward_units: bool = True,
    whole: RewardTable | None = None,
) -> tuple[dict[str, Any], HeldOut]:
    """Every section of ``results.json`` that follows from the scores of the test rows.

    Args:
        data: the table; its split's test rows are read.
        bundle: as it was saved.
        config: of the run.
        policy: of the run, built by the caller, who knows whether the run's folder is trusted.
        scores: (test rows, M) the router's.
        choices: what was chosen on validation.
        notes: what a reader must know of the split.
        label: what reports call the table.
        in_reward_units: False where the table's rewards are not of the reward model that the router learnt from: its
            scores only order members then.
        whole: the table with labels that were not learnt from too, where there are such; noise and lengths are its.
    """
    test, settings = held_out(data, bundle, data.split.test, scores, policy), config.bootstrap.model_dump()
    if not in_reward_units:
        test = replace(test, scale="ordinal")
    complete = data.complete(data.split.test)
    of_means = config.target.kind == "mean"  # what single samples tell is about the mean
    sampled = Sampled()
    if of_means:
        sampled = _sampled(data.table, complete, choices, config.cost.scoring or 0.0)
    if not in_reward_units:  # a threshold learnt in one reward model's units says nothing in another's
        sampled = replace(sampled, cascade=None, cascades=(), samples=None if policy.needs_samples else sampled.samples)
    sections = evaluate(test, policy, settings, choices.lambdas, sampled, _labels(data, config, whole))
    if (costs := sections["predicted_costs"]) is not None and bundle.cost_model is not None:
        sections["predicted_costs"] = _with_heads(costs, bundle.cost_model)
    table, groups = data.table if whole is None else whole, data.split.groups
    means = data.targets if table is data.table and of_means else None
    found = {
        "run": run_section(config, label, data.table, bundle, policy, test.scale),
        **data_sections(data, test, notes, long_of(config.backbone)),
        **sections,
        "chosen_on_validation": choices.as_plain(data.table.members),
        "oracle_split_half": None if sampled.halves is None
        else {
            "reward": sampled.halves.mean,
            "sd_over_halves": sampled.halves.sd,
            "prompts": len(sampled.halves.rows),
            "oracle": float(test.complete().rewards[sampled.halves.rows].max(axis=1).mean()),
        },
        "noise": shared("noise", partial(_noise, table, means), table),
        "audits": {
            "length_bias": shared(
                "length_bias", partial(_lengths, table, groups, settings), table, groups, json.dumps(settings)
            ),
            "paraphrases": consistency_section(test, data.table.prompts["prompt"].to_numpy(object)[data.split.test]),
        },
        "level": config.bootstrap.level,
    }  # fmt: skip
    return with_shown_lambdas(found), test


def held_out(data: RoutingData, bundle: Bundle, rows: Rows, scores: np.ndarray[Any, Any], policy: Policy) -> HeldOut:
    """The router's scores on some rows of a table, beside what was observed there and what the policy reads."""
    known, predicted = bool(bundle.card.categories), bundle.cost_model is not None
    guessed, costs, told = [], [], []
    for start in range(0, len(rows), READ_AT_ONCE) if known or predicted or policy.needs_samples else ():
        features = data.features(rows[start : start + READ_AT_ONCE])
        embedding = features.embedding
        if policy.needs_samples:
            told.append(bundle.distribution(features.embedding.numpy(), features.category.numpy()))
        if known:
            guessed.append(bundle.category_scores(bundle.classifier.codes(embedding)).numpy())
        if predicted:
            costs.append(bundle.predicted_costs(embedding).numpy())

    def near(at: Rows) -> np.ndarray[Any, Any] | None:
        found = bundle.neighbour_rewards(data.features(rows[at]))
        return None if found is None else found.numpy()

    return HeldOut(
        members=data.table.members,
        scores=scores,
        category_scores=bundle.category_scores(data.features(rows, embeddings=False).category).numpy()
        if known
        else None,
        targets=data.targets.take(rows),
        costs=data.costs.values[rows],
        costs_known=np.isfinite(data.costs.known[rows]),
        predicted_costs=np.concatenate(costs) if costs else bundle.train_mean_cost.numpy(),
        train_mean_reward=bundle.train_mean_reward.numpy(),
        train_mean_cost=bundle.train_mean_cost.numpy(),
        groups=data.split.groups[rows],
        scale=bundle.router.scale,
        read_first=data.read_first,
        guessed_category_scores=np.concatenate(guessed) if guessed else None,
        neighbours=near if policy.needs_neighbours else None,
        **_joined(told),
    )


def _with_heads(section: Mapping[str, Any], model: CostModel) -> dict[str, Any]:
    """With what predicts each member's costs, and how far that erred on validation."""
    heads = zip(section["members"].items(), model.heads, strict=True)
    on_validation = {"linear": float(model.linear_error), "log": float(model.log_error)}
    members = {name: {**told, "head": head} for (name, told), head in heads}
    return {**section, "members": members, "on_validation": on_validation}


def _joined(told: Sequence[Distribution]) -> dict[str, Any]:
    """What a router predicts of single rewards, of all blocks of prompts."""
    if not told:
        return {}
    parts = {name: [getattr(part, name) for part in told] for name in ("spread", "points", "matches")}
    joined = {name: None if each[0] is None else np.concatenate(each) for name, each in parts.items()}
    return {**joined, "weights": told[0].weights}


def _noise(table: RewardTable, means: Targets | None) -> dict[str, Any]:
    """The section ``noise``, of all prompts whose cells are present; None: the means are to be made."""
    means = expected_reward(table) if means is None else means
    rows = np.flatnonzero(means.complete)
    return noise_section(table, means, rows, split_half_oracle(table, rows))


def _lengths(table: RewardTable, groups: Rows, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The audit ``length_bias``, of all prompts."""
    return length_section(length_bias(table, np.arange(len(table.prompts)), groups, **settings))


def practice(data: RoutingData, rows: Rows, policy: Policy, config: TrainConfig) -> Sampled:
    """Single rewards of those of these rows that are complete, for a policy that looks at them; else nothing."""
    complete = data.complete(rows)
    samples = separate_samples(data.table, complete) if policy.needs_samples and data.of_means else None
    if samples is None:
        return Sampled()
    samples = replace(samples, rows=np.searchsorted(complete, samples.rows))
    return Sampled(samples, scoring=config.cost.scoring or 0.0)


def _sampled(table: RewardTable, complete: Rows, choices: Choices, scoring: float) -> Sampled:
    """What separate samples tell of the complete test prompts, by their positions among these."""
    samples, halves = separate_samples(table, complete), split_half_oracle(table, complete)
    return Sampled(
        None if samples is None else replace(samples, rows=np.searchsorted(complete, samples.rows)),
        None if halves is None else replace(halves, rows=np.searchsorted(complete, halves.rows)),
        choices.cascade, choices.cascades or (), scoring,
    )  # fmt: skip


def _labels(data: RoutingData, config: TrainConfig, whole: RewardTable | None) -> Labels | None:
    """What the table's labels cost; None where no costs are known, or which labels were learnt from is not."""
    if data.costs.kind == "none" or (config.labels.samples is not None and whole is None):
        return None
    learnt = np.concatenate([data.split.train, data.split.validation, data.split.calibration])
    if not len(learnt):  # another table: what was learnt from is not in it
        return None
    own = router_cost(data.table, config.backbone, config.cost, data.costs.kind)
    own = own if not data.read_first else data.read_first + (own or 0.0)
    return Labels.of(data.costs, data.targets.count, learnt, config.target.responses, own, data.read_first)
