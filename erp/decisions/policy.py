"""Policies turn scores and costs into a `Choice`. Here: what they share, and the paper's rule at a fixed lambda.

The others have a file each: `policy_budget`, `policy_tolerance`, `policy_guarded`, `policy_guarantee`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from erp.decisions.checks import require_costs, require_finite, require_lambda, require_matrix
from erp.decisions.choice import Choice, choose, one_hot
from erp.decisions.forecast import Forecast
from erp.errors import ErpError, shorten

if TYPE_CHECKING:
    from erp.table.samples import Samples

Floats = NDArray[np.floating]
State = dict[str, float | int | str | list[float]]
"""What a policy learnt: numbers, lists of them and names, finite: JSON and checkpoints hold it, and no code runs."""
MOST = sys.float_info.max
"""How an infinity stands in a `State`."""


@dataclass(frozen=True, eq=False)
class Observed:
    """Prompts of one split: what the trained router says of them, and what was observed.

    Attributes:
        scores: (N, M) the router's.
        predicted_costs: (M,) or (N, M).
        rewards: (N, M) observed; NaN where missing.
        groups: (N,) codes; prompts of a group are not independent.
        forecast: the same scores and costs, beside what else the router predicts; read with ``samples``.
        costs: (N, M) observed; likewise.
        samples: single rewards of the prompts that have one in every cell, by their positions among these; None where
            the policy does not look at rewards, or no prompt has.
    """

    scores: Floats
    predicted_costs: Floats
    rewards: Floats
    groups: NDArray[np.integer]
    forecast: Forecast | None = None
    costs: Floats | None = None
    samples: Samples | None = None

    def take(self, rows: NDArray[np.int64]) -> Observed:
        """These prompts only, by position; what is read with samples is left out."""
        costs = self.predicted_costs if self.predicted_costs.ndim == 1 else self.predicted_costs[rows]
        return Observed(self.scores[rows], costs, self.rewards[rows], self.groups[rows])


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a policy may learn from, once the router is trained. Nothing of it is test.

    Attributes:
        members: the pool, in the order of all columns.
        scale: of the scores, ``reward`` or ``ordinal``.
        train_mean_reward, train_mean_cost: (M,) what the best single member is chosen on.
        validation: its prompts.
        calibration: those of `split.calibration`; None where the policy does not need it.
        scoring: what scoring one answer costs, in units of the cost.
    """

    members: tuple[str, ...]
    scale: Literal["reward", "ordinal"]
    train_mean_reward: Floats
    train_mean_cost: Floats
    validation: Observed
    calibration: Observed | None = None
    scoring: float = 0.0


class Policy:
    """Base of all policies: subclasses define ``choose``, and what is learnt after training, if anything is.

    Attributes:
        name: in error lines and reports.
        needs_reward_scale: the scores must be in reward units; ``ordinal`` ones are refused.
        needs_calibration: ``split.calibration`` is carved out of the train half for it.
        needs_neighbours: ``choose`` reads the rewards of each prompt's neighbours.
        needs_matches: it reads how likely the best of several answers does as well as a reference's.
        needs_samples: it looks at rewards of single answers.
        lambda_: reward per unit of cost the policy weighs by; None where it has no such price.
        reference: name of the member it compares with, as configured; None where it names none.
    """

    name: ClassVar[str]
    needs_reward_scale: ClassVar[bool] = False
    needs_calibration: ClassVar[bool] = False
    needs_neighbours: ClassVar[bool] = False
    needs_matches: ClassVar[bool] = False
    needs_samples: ClassVar[bool] = False
    lambda_: float | None = None
    reference: str | None = None

    @property
    def needs_costs(self) -> bool:
        """Whether the policy means nothing where no costs are known."""
        return True

    @property
    def label(self) -> str:
        """What it is, on one line."""
        return self.name

    def calibrate(self, known: Calibration) -> None:
        """Learn what has to be learnt, once. Raises ErpError where it cannot be."""

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Decide for N prompts.

        Args:
            scores: (N, M) predicted rewards.
            costs: (M,) or (N, M) predicted costs.
            neighbours: (N, k, M) rewards of each prompt's k nearest train prompts, NaN where missing; read only by
                policies that need them.

        Raises:
            ErpError: on numbers that are not finite, on shapes that do not fit, before it was calibrated.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no choose")

    def state(self) -> State:
        """What was learnt."""
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Take back what ``state`` gave. Raises ErpError where something of it is missing."""

    def notes(self) -> tuple[str, ...]:
        """What a reader must know of what was learnt, a plain sentence each."""
        return ()


class LambdaPolicy(Policy):
    """The paper's rule: the member with the best predicted reward less lambda times its cost.

    Args:
        lambda_: reward per unit of cost, from 0 (cost is free) to infinity (always the cheapest).

    Raises:
        ErpError: on a negative or NaN lambda.
    """

    name = "lambda"
    lambda_: float

    def __init__(self, lambda_: float = 0.0) -> None:
        self.lambda_ = require_lambda(lambda_)

    @property
    def needs_costs(self) -> bool:
        """Only a price above 0 weighs costs."""
        return self.lambda_ > 0

    @property
    def label(self) -> str:
        """With its lambda."""
        return f"lambda = {self.lambda_:g}"

    def choose(self, scores: Floats, costs: Floats, neighbours: Floats | None = None) -> Choice:
        """Decide for scores (N, M) and costs (M,) or (N, M); see `erp.decisions.choice.choose`."""
        del neighbours
        return one_hot(choose(scores, costs, self.lambda_), scores.shape[1])


def require_suited(
    policy: Policy,
    *,
    router: str,
    scale: str,
    has_neighbours: bool,
    cost_kind: str,
    members: tuple[str, ...],
    single: bool = True,
    has_matches: bool = True,
) -> None:
    """Refuse a policy that this router, these costs or this pool cannot serve; to be asked before training.

    Args:
        policy: as built.
        router: its name.
        scale: of its scores.
        has_neighbours: whether it can tell the rewards of a prompt's neighbours.
        cost_kind: ``none`` where no costs are known.
        members: the pool.
        single: whether the table tells the rewards of single answers, and their mean is what is predicted.
        has_matches: whether it can tell how likely the best of several answers does as well as a reference's.

    Raises:
        ErpError: one line for every fault.
    """
    faults = []
    if policy.needs_reward_scale and scale != "reward":
        faults.append(ordinal_fault(policy, router))
    if policy.needs_neighbours and not has_neighbours:
        faults.append(
            f"policy = {policy.name}: reads the rewards of each prompt's neighbours, and router = {router} has none; "
            "routers that keep train prompts are allowed; choose router=knn or another policy"
        )
    if policy.needs_matches and not has_matches:
        faults.append(
            f"policy = {policy.name}: reads how likely several answers are enough, and router = {router} does not "
            "predict it; router=best_route is allowed; choose it, or policy=reservation"
        )
    if policy.needs_costs and cost_kind == "none":
        faults.append(
            f"policy = {policy.name}: no costs are known to weigh; policy=lambda with policy.lambda=0 is allowed; give "
            "the table costs or tokens, or the pool prices"
        )
    if policy.needs_samples and not single:
        faults.append(
            f"policy = {policy.name}: looks at the rewards of single answers, and the table holds means of several, or "
            "target.kind is not mean; separate responses with target.kind=mean are allowed; choose policy=lambda"
        )
    if policy.reference is not None and policy.reference not in members:
        faults.append(unknown_fault(policy.reference, members))
    if faults:
        raise ErpError(*faults)


ORDINAL_PRICE = (
    "the router's scores are ordinal: lambda weighs them, not rewards, against costs, so that it is no price per reward"
)


def price_notes(policy: Policy, scale: str) -> tuple[str, ...]:
    """What a reader must know of the policy's lambda, where scores of this scale have no price."""
    priced = policy.lambda_ is not None and 0 < policy.lambda_ < math.inf
    return (ORDINAL_PRICE,) if priced and scale == "ordinal" else ()


def ordinal_fault(policy: Policy, router: str) -> str:
    """The error line for scores that are not in reward units."""
    return (
        f"policy = {policy.name}: compares predicted rewards in reward units, and the scores of router = {router} are "
        "ordinal; scores of scale reward are allowed; choose router=ridge or another such, or policy=budget"
    )


def unknown_fault(reference: str, members: tuple[str, ...]) -> str:
    """The error line for a reference that is no member."""
    return (
        f"policy.reference = {reference}: is no member of the pool; {shorten(members)} are allowed; name one of them, "
        "or null for the best single member on train"
    )


def require_scores_and_costs(scores: Floats, costs: Floats) -> tuple[int, int]:
    """What every policy checks first; returns (N, M). Raises ErpError on what `choose` refuses."""
    shape = require_matrix("scores", scores)
    require_finite("scores", scores)
    require_costs("costs", costs, shape)
    return shape


def number_in(state: Mapping[str, object], key: str, policy: Policy) -> float:
    """A number of a policy's state; an infinity where `finite` wrote the largest number. Raises ErpError."""
    value = state.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ErpError(
            f"policy = {policy.name}: its state has no number under {key} ({value!r}); what `state` gave is allowed; "
            "train the run again"
        )
    return math.copysign(math.inf, value) if abs(value) >= MOST else float(value)


def position_in(state: Mapping[str, object], key: str, policy: Policy) -> int:
    """A member's position in a policy's state. Raises ErpError."""
    value = number_in(state, key, policy)
    if not (value >= 0 and value.is_integer()):
        raise ErpError(
            f"policy = {policy.name}: {key} = {value} in its state is no position in the pool; whole numbers from 0 "
            "are allowed; train the run again"
        )
    return int(value)


def finite(value: float) -> float:
    """A number as it stands in a `State`."""
    return min(max(float(value), -MOST), MOST)


def not_calibrated(policy: Policy) -> ErpError:
    """The error of a policy that is asked before it has learnt."""
    return ErpError(
        f"policy = {policy.name}: has not been calibrated, so it cannot choose; a policy of a finished run is allowed; "
        "call `calibrate`, or `restore` what it learnt"
    )
