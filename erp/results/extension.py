"""A member that joined a trained router."""

from __future__ import annotations

from erp.results.base import Count, Finite, Interval, Number, Section, Seed, told

_REGRET = ("regret with so many labels, by method", "reward; lower")


class Labelled(Section):
    """Every method with a number of labels."""

    labels: Count = told("a number of labels", "count")
    scratch: Number = told(*_REGRET)
    shrunk: Number = told(*_REGRET)
    low_rank: Number = told(*_REGRET)
    uniroute: Number = told(*_REGRET)
    auto: Number = told(*_REGRET)


class Extension(Section):
    """Who joined, by which method, and what it earns."""

    run: str = told("the run that was extended")
    member: str = told("who joined")
    asked: str = told("the method asked for")
    seed: Seed = told("which prompts are the labels")
    labels: Count = told("labels used", "count")
    available: Count = told("labels that there were", "count")
    method: str = told("the method taken")
    alpha: Finite | None = told("what the labels chose; by method", default=None)
    clusters: Finite | None = told("what the labels chose; by method", default=None)
    kappa: Finite | None = told("what the labels chose; by method", default=None)
    regret: Number = told("at lambda = 0, with the member", "reward; lower")
    regret_without: Number = told("at lambda = 0, without it", "reward; lower")
    curve: list[Labelled] = told("by number of labels")
    gain_of_joining: Interval = told("reward that joining earns", "reward; higher")
    saved_against_scratch: Interval = told("regret saved against a ridge on the same labels", "reward; higher")
