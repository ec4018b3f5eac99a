"""What a policy earns that looks at rewards."""

from __future__ import annotations

from erp.results.base import Interval, Number, Section, told


class Beside(Section):
    """The policy at one mean cost, and the others there."""

    cost: Number = told("a mean cost: the policy's own first, then five along its curve", "cost")
    reward: Number = told("of the policy there, between two points of its curve", "reward; higher")
    less_router: Interval = told("minus the router, which decides once, at no more than this cost", "reward; higher")
    less_constant: Interval = told("minus the best constant at this cost", "reward; higher")
    less_cascade: Interval | None = told(
        "minus the cascade of one threshold, chosen on validation for this cost",
        "reward; higher",
        "none was affordable",
    )


class RunTimeCurve(Section):
    """The policy from one end of its lambda or threshold to the other."""

    cost: list[Number] = told("along the policy's curve, scoring included", "lists")
    reward: list[Number] = told("along the policy's curve", "lists")
    low: list[Number | None] = told("along the policy's curve, with intervals", "lists")
    high: list[Number | None] = told("along the policy's curve, with intervals", "lists")
    calls: list[Number] = told("answers asked for, of a prompt, along the policy's curve", "lists; at least 1")


class Cascades(Section):
    """Cascades of one threshold, each chosen on validation for a mean cost."""

    cost: list[Number] = told("of the cascades chosen on validation for rising costs", "lists")
    reward: list[Number] = told("of the cascades chosen on validation for rising costs", "lists")


class RunTime(Section):
    """A policy that looks at rewards, played on samples of test prompts; none is used twice."""

    reward: Number = told("of the answer that is returned", "reward; higher")
    cost: Number = told("of all answers asked for, and of scoring them", "cost; lower")
    calls: Number = told("answers asked for, of a prompt", "at least 1; lower")
    scoring: Number = told("what scoring one answer costs, `cost.scoring`", "cost")
    less_sample_all: Interval = told("minus the best of one answer of every member", "reward; higher")
    cost_of_sample_all: Number = told("what that costs", "cost")
    beside: list[Beside] = told("at equal cost", "list")
    curve: RunTimeCurve = told("reward against cost")
    cascades: Cascades = told("what the plain cascade does")
