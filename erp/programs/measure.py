"""From scores on held-out prompts to the numbers of a report: what ``train`` and ``evaluate`` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from erp.config import TrainConfig
from erp.costs import Costs
from erp.decisions.alternatives import Cascade, best_cascade
from erp.decisions.policy import Policy, finite
from erp.errors import ErpError
from erp.evaluation.audits import consistency_section, length_section
from erp.evaluation.economics import Labels
from erp.evaluation.evaluate import evaluate
from erp.evaluation.held_out import HeldOut, interval, plain
from erp.evaluation.noise import noise_section
from erp.evaluation.points import Chosen, choose_lambdas
from erp.evaluation.predictions import predictions_frame
from erp.evaluation.routing import Sampled
from erp.metrics.economics import collection_cost
from erp.metrics.length import length_bias
from erp.metrics.routing import cost_range
from erp.programs.inputs import router_cost, table_label
from erp.programs.reading import long_of
from erp.routers.base import Features
from erp.table.complete import lacking
from erp.table.samples import separate_samples
from erp.table.schema import RewardTable
from erp.targets import expected_reward, expected_target, samples_per_cell, split_half_oracle
from erp.training.data import RoutingData, Rows
from erp.training.module import RoutingModule
from erp.training.trained import category_scores, neighbour_rewards
from erp.units import with_shown_lambdas

# What a number may depend on beside config and table.
RECORDED = ("erp", "torch", "sentence-transformers", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Choices:
    """What was chosen on validation, beside the router itself.

    Attributes:
        lambdas: operating points; None where validation had no complete prompt.
        cascade: the best one at no more than the router's cost at lambda = 0; None where there is none.
    """

    lambdas: Chosen | None
    cascade: Cascade | None

    def as_plain(self, members: Sequence[str]) -> dict[str, Any]:
        """As it stands in ``results.json``; a threshold without end is the largest number there is."""
        cascade, lambdas = self.cascade, self.lambdas
        return {
            "most_reward": None if lambdas is None else lambdas.most_reward,
            "same_reward": None if lambdas is None else lambdas.same_reward,
            "same_reward_margin": None if lambdas is None else lambdas.margin,
            "same_reward_difference": None if lambdas is None else plain(lambdas.difference),
            "cascade": None if cascade is None else {
                "chain": [members[m] for m in cascade.chain],
                "threshold": finite(cascade.threshold),
            },
        }  # fmt: skip

    @classmethod
    def from_plain(cls, found: Mapping[str, Any], members: Sequence[str], size: float = 1.0) -> Choices:
        """Read back what `as_plain` wrote; ``size``: base units of cost in the unit that its lambdas are a price of."""
        cascade, most, same = found["cascade"], found["most_reward"], found["same_reward"]
        return cls(
            None if most is None
            else Chosen(
                most / size, None if same is None else same / size, found.get("same_reward_margin", 0.0),
                interval(found.get("same_reward_difference")),
            ),
            None if cascade is None
            else Cascade(tuple(members.index(name) for name in cascade["chain"]), cascade["threshold"]),
        )  # fmt: skip


def chosen_in(results: Mapping[str, Any], members: Sequence[str]) -> Choices:
    """What a run chose on validation, from its ``results.json``. Raises ErpError where that does not say."""
    chosen, size = results.get("chosen_on_validation"), (results.get("cost") or {}).get("shown_size")
    if not chosen or size is None:
        raise ErpError("run: its results.json lacks chosen_on_validation or its cost; restore it or train again")
    return Choices.from_plain(chosen, members, size)


def choose(data: RoutingData, validation: HeldOut, config: TrainConfig) -> Choices:
    """Operating points and the cascade, from the validation prompts; `validation` holds all of them.

    The cascade is of single answers: where another statistic than their mean is predicted there is none.
    """
    complete = validation.complete()
    of_means = config.target.kind == "mean"
    samples = separate_samples(data.table, data.complete(data.split.validation)) if of_means else None
    cascade = None
    if samples is not None and len(samples.rows) == complete.size[0] and data.costs.kind != "none":
        budget = complete.outcome(complete.choice(0.0)).mean_cost
        cascade = best_cascade(samples, complete.costs, validation.train_mean_cost, budget)
    lambdas = choose_lambdas(validation, config.bootstrap.model_dump(), config.same_reward_margin)
    return Choices(lambdas, cascade)


def measure(
    data: RoutingData,
    module: RoutingModule,
    config: TrainConfig,
    policy: Policy,
    scores: NDArray[np.float64],
    choices: Choices,
    notes: Sequence[str] = (),
    *,
    in_reward_units: bool = True,
    whole: RewardTable | None = None,
) -> tuple[dict[str, Any], HeldOut]:
    """Every section of ``results.json`` that follows from the scores of the test rows.

    Args:
        data: the table; its split's test rows are read.
        module: as it was saved.
        config: of the run.
        policy: of the run, built by the caller, who knows whether the run's folder is trusted.
        scores: (test rows, M) the router's.
        choices: what was chosen on validation.
        notes: what a reader must know of the split.
        in_reward_units: False where the table's rewards are not of the reward model that the router learnt from: its
            scores only order members then.
        whole: the table with labels that were not learnt from too, where there are such; noise and lengths are its.
    """
    test, settings = held_out(data, module, data.split.test, scores, policy), config.bootstrap.model_dump()
    if not in_reward_units:
        test = replace(test, scale="ordinal")
    complete = data.complete(data.split.test)
    of_means = config.target.kind == "mean"  # what single samples tell is about the mean
    # A threshold learnt in one reward model's units says nothing in another's.
    cascade = choices.cascade if in_reward_units else None
    sampled = _sampled(data.table, complete, cascade) if of_means else Sampled()
    sections = evaluate(test, policy, settings, choices.lambdas, sampled, _labels(data, config, whole))
    table, every = data.table, np.flatnonzero(data.targets.complete)
    if whole is not None:
        table, every = whole, np.flatnonzero(expected_target(whole, **config.target.model_dump()).complete)
    found = {
        "run": _run_facts(config, data.table, module, policy, test.scale),
        **_data_facts(data, test, notes, long_of(config.backbone)),
        **sections,
        "chosen_on_validation": choices.as_plain(data.table.members),
        "oracle_split_half": None if sampled.halves is None
        else {
            "reward": sampled.halves.mean,
            "sd_over_halves": sampled.halves.sd,
            "prompts": len(sampled.halves.rows),
            "oracle": float(test.complete().rewards[sampled.halves.rows].max(axis=1).mean()),
        },
        "noise": noise_section(table, expected_reward(table), every, split_half_oracle(table, every)),
        "audits": {
            "length_bias": length_section(
                length_bias(table, np.arange(len(table.prompts)), data.split.groups, **settings)
            ),
            "paraphrases": consistency_section(test, data.table.prompts["prompt"].to_numpy(object)[data.split.test]),
        },
        "level": config.bootstrap.level,
    }  # fmt: skip
    return with_shown_lambdas(found), test


def held_out(
    data: RoutingData, module: RoutingModule, rows: Rows, scores: np.ndarray[Any, Any], policy: Policy
) -> HeldOut:
    """The router's scores on some rows of a table, beside what was observed there and what the policy reads."""
    embedding = torch.from_numpy(data.embeddings.take(rows))
    guessed = module.classifier.codes(embedding).numpy() if module.card.categories else None
    return HeldOut(
        members=data.table.members,
        scores=scores,
        category_scores=category_scores(module, data.category[rows]) if module.card.categories else None,
        targets=data.targets.take(rows),
        costs=data.costs.values[rows],
        predicted_costs=module.predicted_costs(embedding).numpy(),
        train_mean_reward=module.train_mean_reward.numpy(),
        train_mean_cost=module.train_mean_cost.numpy(),
        groups=data.split.groups[rows],
        scale=module.router.scale,
        guessed_category_scores=None if guessed is None else category_scores(module, guessed),
        neighbours=neighbour_rewards(module, module.seen(Features(embedding, torch.from_numpy(data.category[rows]))))
        if policy.needs_neighbours
        else None,
    )


def predictions(data: RoutingData, parts: Sequence[tuple[str, HeldOut, Rows]], policy: Policy) -> pd.DataFrame:
    """``predictions.parquet`` of some splits, each with its name, what was held out, and its rows."""
    ids, counts = data.table.prompts["prompt_id"], data.targets.count
    return pd.concat(
        [predictions_frame(part, ids.iloc[rows], counts[rows], name, policy) for name, part, rows in parts]
    )


def _sampled(table: RewardTable, complete: Rows, cascade: Cascade | None) -> Sampled:
    """What separate samples tell of the complete test prompts, by their positions among these."""
    samples, halves = separate_samples(table, complete), split_half_oracle(table, complete)
    return Sampled(
        None if samples is None else replace(samples, rows=np.searchsorted(complete, samples.rows)),
        None if halves is None else replace(halves, rows=np.searchsorted(complete, halves.rows)),
        cascade,
    )


def _labels(data: RoutingData, config: TrainConfig, whole: RewardTable | None) -> Labels | None:
    """What the table's labels cost; None where no costs are known, or which labels were learnt from is not."""
    if data.costs.kind == "none" or (config.labels.samples is not None and whole is None):
        return None
    learnt = np.concatenate([data.split.train, data.split.validation, data.split.calibration])
    if not len(learnt):  # another table: what was learnt from is not in it
        return None
    each = data.targets.count / config.target.responses  # costs may be of several responses
    return Labels(
        _paid(data.costs, each, learnt),
        _paid(data.costs, each, np.arange(len(each))),
        int(data.targets.count.sum()),
        router_cost(data.table, config.backbone, config.cost, data.costs.kind),
    )


def _paid(costs: Costs, counts: NDArray[np.float64], rows: Rows) -> float:
    return collection_cost(costs.values[rows], counts[rows])


def _run_facts(
    config: TrainConfig, table: RewardTable, module: RoutingModule, policy: Policy, scale: str
) -> dict[str, Any]:
    """What a run is, for its results."""
    return {
        "router": config.router.get("name", "router"),
        "backbone": config.backbone.get("name", "backbone")
        + (" (fine-tuned)" if config.backbone.get("finetune") else ""),
        "reward_model": table.reward_model,
        "table": table_label(config.data),
        "members": list(table.members),
        "seed": config.seed,
        "split_by": config.split.by,
        "split_seed": config.split.seed,
        "policy": config.policy.get("name", "policy"),
        "lambda": policy.lambda_ if "lambda" in config.policy else 0.0,
        "target": config.target.label,
        "category": config.category,
        "scale": scale,
        "chosen": module.router.chosen(),
        "versions": {package: version(package) for package in RECORDED},
        "sweep": config.sweep,
    }


def _data_facts(data: RoutingData, test: HeldOut, notes: Sequence[str], long: str) -> dict[str, Any]:
    """The sections ``data`` and ``cost`` of the results."""
    tested, complete = len(test.rewards), test.complete()
    return {
        "data": {
            "prompts": len(data.table.prompts),
            "members": len(data.table.members),
            "train": len(data.split.train),
            "validation": len(data.split.validation),
            "test": tested,
            "excluded": tested - len(complete.rewards),
            "lacking": lacking(data.table.members, test.targets.count > 0),
            "categories": len(data.categories) or None,
            "samples_per_cell": list(samples_per_cell(data.targets)),
            "reading": {
                "window": data.embeddings.window,
                "long": None if data.embeddings.window is None else long,
                "cut": float((data.embeddings.unread > 0).mean()),
                "alike": data.embeddings.shared(),
            },
            "notes": [*data.table.notes, *notes],
        },
        "cost": {
            "kind": data.costs.kind,
            "unit": data.costs.unit,
            "range": list(cost_range(complete.costs)) if len(complete.costs) else [None, None],
            "notes": list(data.costs.notes),
        },
    }
