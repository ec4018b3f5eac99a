"""What was run, on what table, at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from erp.results.base import Count, Finite, Member, Number, Package, Section, Seed, Setting, numbers, told
from erp.rounding import all_equal


class Run(Section):
    """What was run."""

    router: str = told("the router's name")
    backbone: str = told("the backbone's name; `(fine-tuned)` behind it where it was trained")
    reward_model: str = told("whose scores the rewards are")
    table: str = told("the table, as reports call it")
    members: list[str] = told("the pool, in order", "list", min_length=1)
    seed: Seed = told("of initialisation and the order of batches")
    split_by: str | None = told(
        "what kept prompts together when they were split: `group`, `prompt`, `table`, `category`"
    )
    split_seed: Seed = told("of the split")
    policy: str = told("the policy's name")
    lambda_: float | None = told(
        "of the policy, as configured", "reward per `cost.shown_unit`, like every lambda",
        "a policy whose lambda may be null", alias="lambda",
    )  # fmt: skip
    target: str = told("which statistic of a cell is predicted")
    category: str = told("`given` or `predicted`")
    scale: str = told("of the scores: `reward` or `ordinal`")
    chosen: dict[Setting, Finite | str | None] = told("what fitting chose on validation, like `alpha`")
    versions: dict[Package, str] = told("what the numbers were made with")
    sweep: str | None = told("the sweep it belongs to", null="a single run")
    name: str = told("its folder's name")
    evaluated_on: str | None = told("only in `erp evaluate`: the table", default=None)
    seconds: Finite = told("wall time", "s")
    fit_seconds: Finite | None = told(
        "of it, fitting: from embeddings at hand to a saved router; of an interrupted training, since then",
        "s", "evaluated or extended runs; runs of before it was told", default=None,
    )  # fmt: skip


class Objective(Section):
    """What a sweeper maximises."""

    name: str = told("what a sweeper maximises, on validation", "`utility` or `area`")
    value: Number | None = told(
        "its value", "reward; higher", "no complete validation prompt; evaluated or extended runs"
    )


class Reading(Section):
    """How much of the prompts the backbone reads."""

    window: Count | None = told("tokens of a prompt that the backbone reads at once", "count", "it reads everything")
    long: str | None = told(
        "what it reads of a longer one: `head`, `tail`, or the `mean` over pieces", null="it reads everything"
    )
    cut: Number = told("share of the prompts that were longer and lost something", "0 to 1; lower")
    alike: Number = told(
        "share of the distinct prompts whose vector is exactly that of another: no router can tell them apart",
        "0 to 1; lower",
    )


class Data(Section):
    """The table and its splits."""

    prompts: Count = told("of the table", "count")
    members: Count = told("of the table", "count")
    train: Count = told("prompts of the split", "count")
    validation: Count = told("prompts of the split", "count")
    test: Count = told("prompts of the split", "count")
    excluded: Count = told("test prompts that lack a member's reward", "count")
    lacking: dict[Member, Count] = told(
        "test prompts that lack the reward of this one; only members that lack some", "count"
    )
    categories: Count | None = told("how many", "count", "no categories")
    samples_per_cell: Annotated[list[Count], Field(min_length=2, max_length=2)] = told(
        "least and most samples K of a cell", "two counts"
    )
    reading: Reading | None = told("how much of the prompts the backbone reads", null="runs of before it was told")
    notes: list[str] = told("what was odd about table and split", "texts")


def differ(kind: str, ends: Sequence[float | None] | None) -> bool:
    """Whether there is a cost axis at all: costs of this kind are known, and differ between these ends."""
    if kind == "none" or ends is None:
        return False
    known = numbers(ends)
    return bool(np.isfinite(known).all()) and not all_equal(known)


class Cost(Section):
    """What costs are counted in."""

    kind: str = told("`usd`, `flops`, `tokens`, `completion_tokens` or `none`")
    unit: str = told("the unit of every cost in this file")
    range: Annotated[list[Number | None], Field(min_length=2, max_length=2)] = told(
        "mean cost of the cheapest and the most expensive member", "two costs",
        "both, without a test prompt that has all rewards",
    )  # fmt: skip
    read_first: Number | None = told(
        "what answers cost that the router reads before it decides (`backbone=attempt`), in every cost of the router",
        "cost of one prompt; lower", "the run is of before it was told", ge=0,
    )  # fmt: skip
    fell_back: str | None = told(
        "why costs are in another unit than the one that some members have", "text", "every member has it, or none"
    )
    notes: list[str] = told("what was assumed or estimated", "texts")
    shown_unit: str = told("the unit that reports show costs in; every lambda is reward per one of it")
    shown_size: Number = told("how many of `cost.unit` it is: reward - lambda * cost / shown_size", "number", gt=0)

    @property
    def differ(self) -> bool:
        """Whether there is a cost axis at all: costs are known and members differ in them."""
        return differ(self.kind, self.range)
