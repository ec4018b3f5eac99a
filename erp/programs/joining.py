"""What ``erp extend`` knows of a run's prompts, which of them are labels, and what each method makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from erp.decisions.choice import choose
from erp.errors import ErpError
from erp.evaluation.held_out import Floats, HeldOut, plain
from erp.metrics.intervals import GroupBootstrap
from erp.routers.extension import ClusterHead, Head, chosen_head, fit_clusters, fit_heads
from erp.runs import RunFolder
from erp.table.groups import group_keys, ids_as_kept, text_key
from erp.table.schema import RewardTable
from erp.table.splits import Split
from erp.trained.extended import Labels
from erp.training.data import Rows

SIZES = (16, 32, 64, 128, 256, 512, 1024)  # numbers of labels at which the report compares the methods


@dataclass(frozen=True, eq=False)
class Known:
    """A table's prompts, as the run that is extended knows them.

    Attributes:
        split: the run's own, by row of the table.
        frame: what ``split.parquet`` of the new run says.
    """

    split: Split
    frame: pd.DataFrame

    @property
    def learnt(self) -> Rows:
        """Rows of train and validation: where labels may come from."""
        return np.sort(np.concatenate([self.split.train, self.split.validation]))


def known_prompts(folder: RunFolder, table: RewardTable, near_duplicates: float | None) -> Known:
    """Which prompts of a table are the run's train, validation and test. Raises ErpError where none is test."""
    saved = folder.load_split()
    frame = pd.DataFrame(
        {
            "prompt_id": ids_as_kept(table.prompts, saved["prompt_id"]),
            "text_key": [text_key(prompt) for prompt in table.prompts["prompt"]],
        }
    ).merge(saved, how="left", on=["prompt_id", "text_key"])
    unknown = frame["split"].isna().to_numpy()
    frame["split"] = frame["split"].where(~unknown, "unused")
    if unknown.any() or len(saved) > len(frame):  # other prompts can make other groups
        frame["group_key"] = group_keys(table.prompts, near_duplicates).astype(str)
    keys, groups = np.unique(frame["group_key"].to_numpy(dtype=str), return_inverse=True)
    train, validation, test = (
        np.flatnonzero(frame["split"] == name).astype(np.int64) for name in ("train", "validation", "test")
    )
    if not len(test) or not len(train) + len(validation):
        raise ErpError(
            "data: the table has none of the prompts that the run learnt from, or none of those it is tested on; give "
            "rewards of the new member on the run's own prompts"
        )
    notes = (f"{unknown.sum():,} prompts of the table are not of the run and were left out",) if unknown.any() else ()
    split = Split(train, validation, np.zeros(0, dtype=np.int64), test, groups.astype(np.int64), keys, notes)
    return Known(split, frame[["prompt_id", "split", "text_key", "group_key"]])


def choose_labels(
    table: RewardTable, known: Known, rewarded: NDArray[np.bool_], wanted: int | None, seed: int, member: str
) -> tuple[Rows, int]:
    """Rows of the labels in the order of a hash, and how many there could be: the first n of more are the same n.

    Args:
        table: of all members, the new one last.
        known: which prompts may be labels.
        rewarded: (N,) where the new member has a reward.
        wanted: how many; None for all.
        seed: of the hash.
        member: the new one's name.

    Raises:
        ErpError: fewer than two, or than wanted; or no test prompt has a reward of it.
    """
    possible = known.learnt[rewarded[known.learnt]]
    where = "prompts that the run learnt from have a reward of it"
    if len(possible) < 2:
        raise ErpError(
            f"member = {member}: {len(possible)} {where}; labels are taken from those alone, never from test; score it "
            "on 2 or more of them"
        )
    if wanted is not None and wanted > len(possible):
        raise ErpError(f"labels = {wanted}: only {len(possible)} {where}; give that or less, or null for all of them")
    if not rewarded[known.split.test].any():
        raise ErpError(
            f"member = {member}: no prompt that the run is tested on has a reward of it, so nothing would be known of "
            "the pool with it; score it on test prompts too"
        )
    ids = table.prompts["prompt_id"].to_numpy(dtype=object)
    drawn = sorted(
        possible, key=lambda row: hashlib.sha256(f"{seed}:{ids[row]}".encode("utf-8", "surrogatepass")).digest()
    )
    return np.array(drawn[:wanted], dtype=np.int64), len(possible)


def without_other_labels(table: RewardTable, known: Known, labels: Rows) -> RewardTable:
    """The table without rewards of the last member that are neither labels nor test, so that nothing reads them."""
    kept = np.zeros(len(table.prompts), dtype=bool)
    kept[labels] = kept[known.split.test] = True
    samples = table.samples
    hidden = (samples["member"] == len(table.members) - 1) & ~kept[samples["prompt"].to_numpy()]
    return replace(table, samples=samples[~hidden].reset_index(drop=True))


def every_head(labels: Labels, others: Floats, clusters: Sequence[Tensor], n: int) -> dict[str, Head | ClusterHead]:
    """The new member's head by every method, ``auto`` among them.

    Args:
        labels: in the order in which they were drawn.
        others: (labels, M) the router's scores on the same prompts.
        clusters: UniRoute's candidates, of prompts whose rewards were not looked at.
        n: how many labels to use, the first.
    """
    heads = fit_heads(labels.embedding[:n], others[:n], labels.rewards[:n])
    named: dict[str, Head | ClusterHead] = dict(heads.items())
    groups = fit_clusters(labels.embedding[:n], labels.rewards[:n], clusters)
    return {**named, "uniroute": groups, "auto": chosen_head(heads)}


def compare_methods(
    labels: Labels, others: Floats, clusters: Sequence[Tensor], test: HeldOut, embedding: Floats, method: str,
    bootstrap: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Regret at lambda = 0 against the number of labels, by method, and of the pool without the member.

    Args:
        labels: as in `every_head`.
        others: likewise.
        clusters: likewise.
        test: the extended router on T test prompts.
        embedding: (T, d) of these.
        method: of the router.
        bootstrap: settings of the intervals.

    Returns:
        ``regret`` of the extended router, ``regret_without`` the member, ``curve`` with a row for each number of
        labels, and intervals of what joining earns and of the regret saved against ``scratch``.
    """
    complete = np.flatnonzero(test.targets.complete)
    held = test.take(complete)
    best, there = held.rewards.max(axis=1), held.scores[:, :-1]

    def earned(head: Head | ClusterHead) -> Floats:
        return _earned(np.column_stack([there, head.scores(there, embedding[complete])]), held)

    n, curve, rows = len(labels.rewards), [], {}
    for size in [*(size for size in SIZES if size < n), n]:
        heads = every_head(labels, others, clusters, size)
        rows = {name: earned(head) for name, head in heads.items()}
        curve.append({"labels": size, **{name: float((best - row).mean()) for name, row in rows.items()}})
    own, without = rows[method], _earned(there, held)
    draws = GroupBootstrap(held.groups, **bootstrap)
    gain, saved = draws.intervals(np.column_stack([own - without, own - rows["scratch"]]))
    return {
        "regret": float((best - own).mean()), "regret_without": float((best - without).mean()), "curve": curve,
        "gain_of_joining": plain(gain), "saved_against_scratch": plain(saved),
    }  # fmt: skip


def _earned(scores: Floats, held: HeldOut) -> Floats:
    """Reward of the decision at lambda = 0 on every prompt (N,), among as many members as there are scores of."""
    costs = held.predicted_costs[..., : scores.shape[1]]
    return np.asarray(held.rewards[np.arange(len(scores)), choose(scores, costs, 0.0)])
