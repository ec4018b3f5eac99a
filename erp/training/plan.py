"""A run before it is made: what can be wrong with its input is checked, and what that takes is kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone
from erp.build import as_built, build
from erp.config import Split as SplitConfig
from erp.config import TrainConfig
from erp.costs.base import Costs
from erp.costs.expected import table_costs
from erp.costs.prices import member_facts
from erp.decisions.policy import Policy, require_suited
from erp.errors import ErpError
from erp.files import cache_folder, sha256_file
from erp.routers.base import Router
from erp.runs import RunFolder, run_hash, run_name
from erp.shared import shared
from erp.table.asked import DEFAULT_RULE
from erp.table.attempts import Attempts
from erp.table.kept import Kept
from erp.table.labels import limit_labels
from erp.table.samples import tells_responses
from erp.table.schema import RewardTable
from erp.table.source import load_table, with_absolute_path
from erp.table.split import Split
from erp.table.splits import split_table
from erp.table.votes import LearntVotes, learnable, read_votes
from erp.targets import Targets, expected_target
from erp.trained.origin import Origin
from erp.training.attempts import without_attempts
from erp.training.beside import rewards_beside, tables_beside
from erp.training.suited import (
    require_categories,
    require_games,
    require_judged,
    require_loss,
    require_pair,
    require_samples,
    require_spread,
    require_train_rewards,
    require_votes,
)

CALIBRATION = 0.1  # share of prompts carved out of the train half for a policy that promises something
PLUGS: dict[str, type] = {"router": Router, "backbone": Backbone, "policy": Policy}  # the table stands for `data`


@dataclass(frozen=True, eq=False)
class Plan:
    """A run before it is made: everything that can be wrong with the input has been checked.

    Attributes:
        config: with absolute paths.
        table: of the run's reward model and pool, with the labels that are learnt from.
        whole: the same with all of its labels: what a report says of the table itself.
        targets: what is predicted of the table.
        costs: what each answer cost.
        split: which prompts are train, validation and test.
        votes: what the router learns from in place of rewards, or beside them; None: rewards alone.
        attempts: answers that the backbone reads before it decides; the table is without them.
        origin: what the run is made from.
        folder: where the run goes; its name ends in the run's hash.
        beside: standardised rewards by R other reward models, (N, R, M), for a router that learns them too; else None.
    """

    config: TrainConfig
    table: RewardTable
    whole: RewardTable
    targets: Targets
    costs: Costs
    split: Split
    votes: LearntVotes | None
    attempts: tuple[Attempts, ...]
    origin: Origin
    folder: RunFolder
    beside: NDArray[np.float32] | None = None


def prepare(config: TrainConfig) -> Plan:
    """Check the plug points, read the table, split it, name the run. Raises ErpError with every fault found."""
    faults = _plug_faults(config)
    try:
        table = load_table(config.data, config.reward_model, config.pool)
    except ErpError as error:
        raise ErpError.all_of([*faults, error]) from None
    if faults:
        raise ErpError.all_of(faults)
    if table.observational and not config.data.get("observational"):
        raise ErpError(
            "data.observational = false: each prompt of this table was answered by whom somebody chose for it, so that "
            "members' rewards are of different prompts and comparing them is no experiment; give "
            "data.observational=true to train on it all the same"
        )
    table, attempts = without_attempts(config, table)
    whole = table
    router = build(config.router, Router, key="router")
    require_categories(router, config.router.get("name"), table, config.category)
    require_spread(router, config.router.get("name"), table)
    require_pair(router, config.router.get("name"), table.members)
    require_games(router, config.router.get("name"), config.votes.path)
    if config.category_block > 0 and not table.has_categories:
        raise ErpError(
            f"category_block = {config.category_block}: the table has no column `category`; add one, or give 0"
        )
    others = tables_beside(config, router.beside, table.reward_model)
    policy = build(config.policy, Policy, key="policy")
    calibration = CALIBRATION if policy.needs_calibration else 0.0
    split, content = table_split(table, config.split, calibration, cache_folder(config.cache_dir))
    table, split = limit_labels(table, split, seed=config.split.seed, **config.labels.model_dump())
    facts = member_facts(table, config.pool, config.cost)
    costs = table_costs(table, facts, config.cost, train=split.train, responses=config.target.responses)
    require_suited(
        policy, router=str(config.router.get("name")), scale=router.scale, cost_kind=costs.kind, members=table.members,
        has_neighbours=hasattr(router, "neighbour_rewards"), has_matches=hasattr(router, "matches"),
        single=not policy.needs_samples or (config.target.kind == "mean" and tells_responses(table)),
    )  # fmt: skip
    _require_area(config, costs)
    targets = shared(  # refuses what the samples cannot tell
        "targets", partial(expected_target, table, **config.target.model_dump()), table, config.target.model_dump_json()
    )
    require_samples(router, config.router.get("name"), table, targets)
    require_train_rewards(table, targets, split)
    require_judged(table, targets, split)
    beside = rewards_beside(config, table, split, others)
    votes = _votes(config, table, split)
    prices = sha256_file(Path(config.cost.prices)) if config.cost.prices else ""
    fingerprint = shared("fingerprint", table.fingerprint, table)
    rule = () if table.prompt_from == DEFAULT_RULE else (table.prompt_from,)  # what the router will be asked by
    voted = () if votes is None else (f"votes {votes.content()} {config.votes.beside_rewards}",)
    read = (f"attempts {said.content}" for said in attempts)
    more = (f"beside {shared('fingerprint', other.fingerprint, other)}" for other in others)
    identity = run_hash(_as_built(config), fingerprint, prices, *table.members, *content, *rule, *voted, *read, *more)
    folder = RunFolder(Path(config.out) / run_name(config.router, config.backbone, identity))
    origin = Origin(shared("origin", lambda: Origin.of(whole, {}).table, whole), facts)
    return Plan(
        _with_absolute_paths(config), table, whole, targets, costs, split, votes, attempts, origin, folder, beside
    )


def table_split(
    table: RewardTable, asked: SplitConfig, calibration: float, cache: Path | None = None
) -> tuple[Split, tuple[str, ...]]:
    """The split, and what of it belongs to the run's name: the parts where they are another run's, else nothing more.

    Raises:
        ErpError: parts that cannot be made, or no such run.
    """
    kept = None
    if asked.from_ is not None:
        folder = RunFolder(Path(asked.from_).expanduser().resolve())
        kept = Kept(folder.load_split("split.from"), folder.path.name)
    split = split_table(table, calibration=calibration, kept=kept, cache=cache, **asked.model_dump(exclude={"from_"}))
    return split, () if kept is None else (hashlib.sha256("\n".join(split.parts).encode()).hexdigest(),)


def _votes(config: TrainConfig, table: RewardTable, split: Split) -> LearntVotes | None:
    """What the router learns from beside the table, where votes are given. Raises ErpError with every fault."""
    asked = config.votes
    if asked.path is None:
        return None
    if config.backbone.get("finetune"):
        raise ErpError(
            "votes.path: an encoder (backbone.finetune=true) is trained on the table's prompts alone; give "
            "backbone.finetune=false, or leave votes.path out"
        )
    votes = learnable(
        read_votes(asked.path, table.members, table.prompt_from), table.prompts, split, seed=config.split.seed,
        validation=config.split.validation, near_duplicates=config.split.near_duplicates,
        cache=cache_folder(config.cache_dir),
    )  # fmt: skip
    if not asked.beside_rewards:
        require_votes(votes, table.members)
    return votes


def _as_built(config: TrainConfig) -> dict[str, Any]:
    """The config with the plug points' arguments as they were built: ``policy.lambda=0`` and ``0.0`` are one run."""
    plain = config.model_dump(mode="json", by_alias=True)
    return plain | {key: as_built(plain[key], expected, key=key) for key, expected in PLUGS.items()}


def _plug_faults(config: TrainConfig) -> list[ErpError]:
    """What is wrong with the parts that are plugged in; construction is cheap, and knows which values make no sense."""
    faults: list[ErpError] = []
    built: dict[str, Any] = {}
    for key, expected in PLUGS.items():
        try:
            built[key] = build(getattr(config, key), expected, key=key)
        except ErpError as error:
            faults.append(error)
    if "router" in built and "backbone" in built:
        try:
            require_loss(built["router"], config.router.get("name"), built["backbone"])
        except ErpError as error:
            faults.append(error)
    return faults


def _require_area(config: TrainConfig, costs: Costs) -> None:
    """There is no area under a curve without a cost axis."""
    if costs.kind == "none" and config.objective == "area":
        raise ErpError(
            "objective = area: no costs are known, so there is no area; give the table costs or tokens, the pool "
            "prices, or cost.assume_completion_tokens, or objective=utility"
        )


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """So that ``config.yaml`` repeats the run from any working directory."""
    cost, split, votes = config.cost, config.split, config.votes
    if cost.prices is not None:
        cost = cost.model_copy(update={"prices": str(Path(cost.prices).expanduser().resolve())})
    if split.from_ is not None:
        split = split.model_copy(update={"from_": str(Path(split.from_).expanduser().resolve())})
    votes = votes.model_copy(update=with_absolute_path({"path": votes.path}))
    return config.model_copy(
        update={"data": with_absolute_path(config.data), "cost": cost, "split": split, "votes": votes}
    )
