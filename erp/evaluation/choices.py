"""What a run chooses on validation beside the router itself: points of its curve, and the best cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from erp.config import TrainConfig
from erp.decisions.alternatives import Cascade, best_cascade
from erp.decisions.policy import finite
from erp.errors import ErpError
from erp.evaluation.held_out import HeldOut, interval, plain
from erp.evaluation.points import Chosen, choose_lambdas
from erp.rounding import MEAN
from erp.table.samples import separate_samples
from erp.training.data import RoutingData

BUDGETS = 24
"""Mean costs, from the cheapest member's to that of asking everyone, for which a cascade is chosen."""


@dataclass(frozen=True)
class Choices:
    """What was chosen on validation, beside the router itself.

    Attributes:
        lambdas: operating points; None where validation had no complete prompt.
        cascade: the best one at no more than the router's cost at lambda = 0; None where there is none.
        cascades: the best ones for rising mean costs; None where the policy looks at no reward.
    """

    lambdas: Chosen | None
    cascade: Cascade | None
    cascades: tuple[Cascade, ...] | None = None

    def as_plain(self, members: Sequence[str]) -> dict[str, Any]:
        """As it stands in ``results.json``; a threshold without end is the largest number there is."""
        cascade, lambdas = self.cascade, self.lambdas
        return {
            "most_reward": None if lambdas is None else lambdas.most_reward,
            "same_reward": None if lambdas is None else lambdas.same_reward,
            "same_reward_margin": None if lambdas is None else lambdas.margin,
            "same_reward_difference": None if lambdas is None else plain(lambdas.difference),
            "cascade": None if cascade is None else _told(cascade, members),
            "cascades": None if self.cascades is None else [_told(each, members) for each in self.cascades],
        }  # fmt: skip

    @classmethod
    def from_plain(cls, found: Mapping[str, Any], members: Sequence[str], size: float = 1.0) -> Choices:
        """Read back what `as_plain` wrote; ``size``: base units of cost in the unit that its lambdas are a price of."""
        cascade, most, same = found["cascade"], found["most_reward"], found["same_reward"]
        cascades = found.get("cascades")
        return cls(
            None if most is None
            else Chosen(
                most / size, None if same is None else same / size, found["same_reward_margin"],
                interval(found["same_reward_difference"]),
            ),
            None if cascade is None else _read(cascade, members),
            None if cascades is None else tuple(_read(each, members) for each in cascades),
        )  # fmt: skip


def _told(cascade: Cascade, members: Sequence[str]) -> dict[str, Any]:
    return {"chain": [members[m] for m in cascade.chain], "threshold": finite(cascade.threshold)}


def _read(found: Mapping[str, Any], members: Sequence[str]) -> Cascade:
    return Cascade(tuple(members.index(name) for name in found["chain"]), found["threshold"])


def chosen_in(results: Mapping[str, Any], members: Sequence[str]) -> Choices:
    """What a run chose on validation, from its ``results.json``. Raises ErpError where that does not say."""
    chosen, size = results.get("chosen_on_validation"), (results.get("cost") or {}).get("shown_size")
    if not chosen or size is None:
        raise ErpError("run: its results.json lacks chosen_on_validation or its cost; restore it or train again")
    return Choices.from_plain(chosen, members, size)


def choose(data: RoutingData, validation: HeldOut, config: TrainConfig, for_each_cost: bool = False) -> Choices:
    """Operating points and the cascade, from the validation prompts; `validation` holds all of them.

    The cascade is of single answers: where another statistic than their mean is predicted there is none. With
    ``for_each_cost`` there is one for each of a row of mean costs, to hold a policy against that looks at rewards.
    """
    complete = validation.complete()
    of_means = config.target.kind == "mean"
    samples = separate_samples(data.table, data.complete(data.split.validation)) if of_means else None
    cascade, cascades = None, None
    if samples is not None and len(samples.rows) == complete.size[0] and data.costs.kind != "none":
        budget = complete.routed(complete.choice(0.0)).mean_cost
        paid = complete.costs + (config.cost.scoring or 0.0)
        cascade = best_cascade(samples, paid, validation.train_mean_cost, budget)
        if for_each_cost:
            budgets = np.geomspace(max(paid.mean(axis=0).min(), MEAN * paid.max()), paid.sum(axis=1).mean(), BUDGETS)
            found = (best_cascade(samples, paid, validation.train_mean_cost, float(each)) for each in budgets)
            cascades = tuple(dict.fromkeys(each for each in found if each is not None))
    lambdas = choose_lambdas(validation, config.bootstrap.model_dump(), config.same_reward_margin)
    return Choices(lambdas, cascade, cascades)
