"""What the labels cost, what the router costs, and when it has paid for both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.backbones.base import Backbone
from erp.build import build
from erp.config import Cost, Plug
from erp.costs.base import Costs
from erp.decisions.choice import Outcome
from erp.evaluation.held_out import HeldOut
from erp.metrics.economics import break_even, collection_cost
from erp.table.schema import RewardTable
from erp.values import estimated_tokens

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """What a table's labels cost, in the unit of the costs.

    Attributes:
        learnt_from: those of train and validation prompts, which the router needs.
        table: all of the table's.
        responses: number of responses in the table.
        router_per_prompt: what deciding one prompt costs; None where nobody said.
    """

    learnt_from: float
    table: float
    responses: int
    router_per_prompt: float | None

    @classmethod
    def of(
        cls, costs: Costs, counts: NDArray[np.int64], learnt: Rows, responses: int, own: float | None, read: float = 0.0
    ) -> Labels:
        """What N prompts' labels cost.

        Args:
            costs: of an answer, for every prompt and member; an answer may be several responses.
            counts: (N, M) responses behind every reward.
            learnt: the prompts, by position, whose labels the router needs.
            responses: of an answer.
            own: what deciding one prompt costs; None where nobody said.
            read: what each prompt's answers cost that are read before deciding: who learns of them has paid for them.
        """
        each, values = counts / responses, costs.values
        of_learnt = collection_cost(values[learnt], each[learnt]) + read * len(learnt)
        return cls(of_learnt, collection_cost(values, each) + read * len(values), int(counts.sum()), own)


def economics_section(held_out: HeldOut, points: Mapping[str, Outcome], labels: Labels | None) -> dict[str, Any] | None:
    """The section ``economics``; None where no costs are known.

    Break-even is at the point that was to keep the best single's reward at less cost, chosen on validation; else at the
    run's policy.
    """
    if labels is None:
        return None
    point = "same_reward" if "same_reward" in points else "policy"
    router = replace(points[point], cost=points[point].cost - held_out.read_first)  # it is in the router's own
    found = break_even(
        router, held_out.constant(held_out.single()), labels.learnt_from, labels.router_per_prompt or 0.0
    )
    return {
        "labels_learnt_from": labels.learnt_from,
        "labels_table": labels.table,
        "responses": labels.responses,
        "router_per_prompt": labels.router_per_prompt,
        "break_even": {
            "at": point,
            "saving": found.saving,
            "net_saving": found.net_saving,
            "prompts": found.prompts if found.prompts is not None and np.isfinite(found.prompts) else None,
            "reason": found.reason,
        },
    }


def router_cost(table: RewardTable, backbone: Plug, cost: Cost, kind: str) -> float | None:
    """What deciding one prompt costs, in the unit of the costs: as configured, else the backbone's FLOPs; None unknown.

    2 * parameters * tokens, as for the members, each time it reads the prompt; the heads are nothing beside it.
    """
    if cost.router_per_prompt is not None:
        return cost.router_per_prompt
    if kind != "flops":
        return None
    parameters = build(backbone, Backbone, key="backbone").parameters_per_token()
    if parameters is None:
        return None
    return float(2 * parameters * table.prompts["prompt"].map(estimated_tokens).mean())
