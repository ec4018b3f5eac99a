"""What the labels cost, and when a router has paid for them."""

from __future__ import annotations

from typing import Literal

from erp.results.base import Count, Finite, Section, told


class BreakEven(Section):
    """When the labels are paid."""

    at: Literal["same_reward", "policy"] = told("`same_reward` where it exists, else `policy`")
    saving: Finite | None = told("against best single, a prompt", "cost; higher", "it earns less than best single")
    net_saving: Finite | None = told(
        "the same minus what deciding costs", "cost; higher", "it earns less than best single"
    )
    prompts: Finite | None = told("after how many prompts the labels are paid", "count; lower", "never")
    reason: str | None = told("why never", null="it is paid")


class Economics(Section):
    """What labels and deciding cost."""

    labels_learnt_from: Finite = told(
        "what the responses of train and validation cost",
        "cost of one prompt, times prompts",
        "no costs; another table",
    )
    labels_table: Finite = told(
        "what those of the whole table cost", "cost of one prompt, times prompts", "no costs; another table"
    )
    responses: Count = told("in the table", "count", "likewise")
    router_per_prompt: Finite | None = told(
        "what deciding one prompt costs, answers that are read first included", "cost; lower", "nobody said"
    )
    break_even: BreakEven = told("when the labels are paid")
