"""Decisions on prompts that lack some member's reward."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from erp.results.base import Count, Interval, Member, Number, Section, told

Two = Annotated[list[str], Field(min_length=2, max_length=2)]


class OverlappingMember(Section):
    """A member, on the prompts that have its reward."""

    prompts: Count = told("that have a reward of it", "count")
    reward: Interval | None = told("its mean there: not of the prompts that another's is of", "reward", "it has none")
    share: Number = told("of test prompts that the router sends there", "0 to 1")
    shared: Count = told("prompts that have its reward and that of the member the router chooses", "count")
    difference: Interval | None = told(
        "the chosen member's reward minus its, there; 0 where it is chosen itself", "reward", "there are none"
    )
    weighted: Interval | None = told(
        "the same for all test prompts: 0 where it is chosen itself, the other differences weighted by one over the "
        "share of test prompts that have a reward of both members", "reward; higher",
        "a member that is chosen shares no test prompt with it; no difference is known",
    )  # fmt: skip


class Pair(Section):
    """Two members."""

    members: Two = told(
        "two members, and how many prompts have a reward of both", "", "one member, or more than twelve"
    )
    prompts: Count = told(
        "two members, and how many prompts have a reward of both", "", "one member, or more than twelve"
    )
    difference: Interval | None = told("the first minus the second, there", "reward", "likewise; they share none")


class Overlaps(Section):
    """Over all test prompts, at lambda = 0."""

    best_single: str | None = told("the member with the best mean on train, where means may be of different prompts")
    members: dict[Member, OverlappingMember] = told("of each member")
    pairs: list[Pair] | None = told("of every two members", null="one member, or more than twelve")
