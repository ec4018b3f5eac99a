"""A router asked with another encoder's vectors than it was trained with."""

from __future__ import annotations

from erp.results.base import Count, Interval, Number, Section, told

_NONE = "no test prompt has a reward of every member"


class Drift(Section):
    """What changes where another encoder stands in for the run's own; everything else of the router stays."""

    backbone: str = told("the run's own encoder")
    asked_with: str = told("the one it was asked with here, on the same test prompts")
    prompts: Count = told("test prompts whose decisions were compared", "count")
    changed: Interval = told("share of them that the run's policy sends to another member", "0 to 1; lower")
    reward: Interval | None = told(
        "mean reward of the policy's choices with that encoder, minus with the run's own", "reward; higher", _NONE
    )
    cost: Interval | None = told("the same of cost", "`cost.unit`; lower", _NONE)
    r2_pooled: Number | None = told("R^2 of all members together with that encoder", "below 1; higher", "ordinal")
    own_r2_pooled: Number | None = told("the same with the run's own", "below 1; higher", "ordinal")
