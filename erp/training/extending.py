"""An extension before it is made: what can be wrong with its input is checked, and what that takes is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from erp.build import build
from erp.config import ExtendConfig, Member, Pool, RewardModel, TrainConfig
from erp.costs.base import Costs
from erp.costs.expected import table_costs
from erp.costs.prices import member_facts
from erp.errors import ErpError, shorten
from erp.files import cache_folder, sha256_file
from erp.routers.extended import Extended
from erp.runs import RunFolder, run_hash, run_name
from erp.table.known import same_split
from erp.table.labels import choose_labels, without_other_labels
from erp.table.schema import RewardTable
from erp.table.select import require_same_members
from erp.table.source import TableSource, with_absolute_path
from erp.table.split import Split
from erp.targets import expected_target
from erp.trained.bundle import Bundle
from erp.trained.origin import Origin, remarks_on
from erp.trained.router import TrainedRouter, load
from erp.training.suited import require_categories


@dataclass(frozen=True, eq=False)
class ExtensionPlan:
    """An extension before it is made: everything that can be wrong with the input has been checked.

    Attributes:
        asked: the command's config.
        config: of the new run, as `erp train` would have it: what `erp evaluate` and `erp compare` read.
        trained: the router that is extended.
        member: the one that joins.
        table: of all members, without labels of the new one that are not to be used.
        split: the run's own, of the prompts that it knows.
        labels: rows of the prompts whose rewards of the new member are used.
        available: how many there would be.
        costs: what each answer cost.
        folder: where the new run goes.
        origin: what the new run is made from.
        remarks: what of it is not as it was for the run that is extended.
    """

    asked: ExtendConfig
    config: TrainConfig
    trained: TrainedRouter
    member: str
    table: RewardTable
    split: Split
    labels: NDArray[np.int64]
    available: int
    costs: Costs
    folder: RunFolder
    origin: Origin
    remarks: tuple[str, ...]


def prepare_extension(config: ExtendConfig) -> ExtensionPlan:
    """Open the run, read the table, choose the labels, name the new run. Raises ErpError."""
    trained = load(config.run, config.trust, config.weights_dir)
    of_run = RunFolder(Path(config.run)).load_settings()
    _require_extendable(config.run, trained)
    if of_run.labels.samples is not None:
        raise ErpError(
            f"run = {config.run}: its members were learnt from labels.samples = {of_run.labels.samples} of each cell, "
            f"and a new one would be from all; train one without labels.samples"
        )
    node, same = with_absolute_path(of_run.data if config.same else config.data), config.same
    source = build(node, TableSource, key="data", trust=config.trust or not same)
    whole = source.read(trained.card.reward_model, trained.card.prompt_from)
    origin = Origin.kept_in(RunFolder(Path(config.run)))
    of_members = require_same_members(whole, trained.members)
    if same and origin is not None:
        origin.require(of_members, node)
    member = _new_member(config.member, whole.members, trained.members)
    whole = require_same_members(whole, [*trained.members, member])
    require_categories(
        trained.bundle.router, trained.card.router.get("name"), whole, trained.card.category, learning=False
    )
    if trained.card.category_block > 0:
        raise ErpError("run: was trained with category_block above 0, which cannot be extended yet; train one without")
    cache = cache_folder(config.cache_dir)
    split = same_split(RunFolder(Path(config.run)).load_split(), whole, of_run.split.near_duplicates, cache=cache)
    rewarded = expected_target(whole, **of_run.target.model_dump()).count[:, -1] > 0
    labels, available = choose_labels(whole, split, rewarded, config.labels, config.seed, member)
    table = without_other_labels(whole, split, labels)
    extended = _config_of_the_new_run(config, of_run, trained, member, len(labels)).model_copy(update={"data": node})
    facts = member_facts(whole, extended.pool, extended.cost)
    costs = table_costs(
        table, facts, extended.cost, train=split.learnt,
        kept=np.append(trained.bundle.train_mean_cost, np.nan), responses=of_run.target.responses,
    )  # fmt: skip
    prices = sha256_file(Path(extended.cost.prices)) if extended.cost.prices else ""
    plain = extended.model_dump(mode="json", by_alias=True)
    identity = run_hash(plain, whole.fingerprint(), prices, _parameters(trained.bundle))
    name = run_name(extended.router, extended.backbone, identity)
    now = Origin.of(whole, facts)
    return ExtensionPlan(
        config, extended, trained, member, table, split, labels, available, costs, RunFolder(Path(config.out) / name),
        now, remarks_on(origin, now, of_members, same, costs.kind),
    )  # fmt: skip


def _require_extendable(run: str, trained: TrainedRouter) -> None:
    """A new member's rewards are in reward units, and a policy that learnt from the old pool knows nothing of it."""
    name, faults = trained.card.router.get("name", "router"), []
    if trained.bundle.router.scale != "reward":
        faults.append(
            f"run = {run}: the scores of its router ({name}) are ordinal, and a new member's would be of another kind; "
            "routers of reward units can be extended (ridge, knn, mlp); train one of these, or this one again with it"
        )
    if trained.policy.state():
        faults.append(
            f"run = {run}: its policy ({trained.policy.name}) was calibrated on its own pool, and holds for no other; "
            "runs of policy=lambda or policy=tolerance can be extended; train one, or train again with the new member"
        )
    if faults:
        raise ErpError(*faults)


def _new_member(asked: str | None, of_table: Sequence[str], of_run: Sequence[str]) -> str:
    """The member that joins: the one asked for, or the table's only one that the run does not have."""
    new = [name for name in of_table if name not in of_run]
    if asked is not None and asked in of_run:
        raise ErpError(f"member = {asked}: the router has it already; name another: {shorten(new) or 'there is none'}")
    if asked is not None and asked not in of_table:
        raise ErpError(f"member = {asked}: the table has no rewards of it; its new members: {shorten(new) or 'none'}")
    if asked is None and not new:
        raise ErpError("data: every member of the table is one that the router has; give a table with a new one")
    if asked is None and len(new) > 1:
        raise ErpError(
            f"member = null: the table has several that the router does not have ({shorten(new)}); they join one by "
            f"one: give member=<name>, then extend the run that this makes"
        )
    return asked or new[0]


def _config_of_the_new_run(
    config: ExtendConfig, of_run: TrainConfig, trained: TrainedRouter, member: str, labels: int
) -> TrainConfig:
    """The run's config with the extended router and pool: it says from which run, by which method and labels."""
    told = {known.name: known for known in of_run.pool.members or []}
    joining = told.get(member, Member(name=member))
    if config.active_parameters is not None:
        joining = joining.model_copy(update={"active_parameters": config.active_parameters})
    members = [*(told.get(name, Member(name=name)) for name in trained.members), joining]
    cost = of_run.cost.model_copy(update={"kind": trained.card.cost_kind})
    if config.prices is not None:
        cost = cost.model_copy(update={"prices": str(Path(config.prices).expanduser().resolve())})
    base = dict(trained.card.router)
    label = str(base.get("name", "router")).removesuffix("_extended")
    router = {
        "name": f"{label}_extended",
        "_target_": f"{Extended.__module__}.{Extended.__qualname__}",
        "base": base,
        "run": Path(config.run).resolve().name,
        "member": member,
        "method": config.method,
        "labels": labels,
        "seed": config.seed,
    }
    update = {
        "router": router, "pool": Pool(members=members), "cost": cost, "out": config.out, "sweep": None,
        "reward_model": RewardModel(name=trained.card.reward_model), "cache_dir": config.cache_dir,
        "weights_dir": config.weights_dir,
    }  # fmt: skip
    return of_run.model_copy(update=update)


def _parameters(bundle: Bundle) -> str:
    """Hash of everything that was learnt, so that a run that was made again is another one to extend."""
    digest = hashlib.sha256()
    for name, tensor in sorted(bundle.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()
