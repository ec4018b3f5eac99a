"""What every section of a report is computed from: held-out prompts, what was predicted and what was observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import Choice, Outcome, choose, constant, one_hot, outcome
from erp.decisions.curve import Curve, exact_curve
from erp.decisions.forecast import Forecast
from erp.decisions.policy import Observed, Policy
from erp.decisions.references import best_single
from erp.decisions.sequential.policy import SequentialPolicy
from erp.metrics.intervals import GroupBootstrap, Interval, as_they_are, together
from erp.targets import Targets

Floats = NDArray[np.float64]
Routed = TypeVar("Routed", bound=Outcome)
DECIDED_AT_ONCE = 16_384
"""Prompts whose neighbours' rewards are held at once."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out prompts with what was predicted for them and what was observed.

    Attributes:
        members: the pool, in the order of all columns.
        scores: (N, M) the router's.
        category_scores: (N, M) the category mean's; None without categories.
        guessed_category_scores: (N, M) the category mean's by the category predicted from the embedding; likewise.
        targets: observed mean rewards (NaN where missing), their counts and errors, (N, M) each.
        costs: (N, M) observed costs.
        predicted_costs: (M,) of each member, or (N, M).
        train_mean_reward, train_mean_cost: (M,) what the best single member is chosen on.
        groups: (N,) codes; prompts of a group are resampled together.
        scale: of the scores, ``reward`` or ``ordinal``.
        neighbours: positions (n,) -> (n, k, M) rewards of the nearest train prompts of these prompts, for policies
            that read them: never held for all N.
        read_first: what the router pays of each prompt for answers that it reads before it decides.
        costs_known: (N, M) where a cost was observed, and does not stand for the member's train mean; None: everywhere.
        spread, points, weights, matches: what the router predicts of single rewards, as in
            `erp.decisions.forecast.Forecast`; None where it predicts none, or no policy reads it.
    """

    members: tuple[str, ...]
    scores: Floats
    category_scores: Floats | None
    targets: Targets
    costs: Floats
    predicted_costs: Floats
    train_mean_reward: Floats
    train_mean_cost: Floats
    groups: NDArray[np.int64]
    scale: str
    guessed_category_scores: Floats | None = None
    neighbours: Callable[[NDArray[np.int64]], Floats | None] | None = None
    read_first: float = 0.0
    costs_known: NDArray[np.bool_] | None = None
    spread: Floats | None = None
    points: Floats | None = None
    weights: Floats | None = None
    matches: Floats | None = None

    @property
    def rewards(self) -> Floats:
        """(N, M) observed mean rewards, NaN where missing."""
        return self.targets.mean

    def complete(self) -> HeldOut:
        """Only the prompts whose cells are all present: what decisions are compared on."""
        rows = np.flatnonzero(self.targets.complete)
        return self if len(rows) == len(self.scores) else self.take(rows)

    def take(self, rows: NDArray[np.int64]) -> HeldOut:
        """These prompts only, by position."""

        def some(values: Floats | None) -> Floats | None:
            return None if values is None else values[rows]

        near = self.neighbours
        costs = self.predicted_costs if self.predicted_costs.ndim == 1 else self.predicted_costs[rows]
        return replace(
            self, scores=self.scores[rows], category_scores=some(self.category_scores), predicted_costs=costs,
            guessed_category_scores=some(self.guessed_category_scores), targets=self.targets.take(rows),
            costs=self.costs[rows], groups=self.groups[rows],
            costs_known=None if self.costs_known is None else self.costs_known[rows],
            neighbours=None if near is None else lambda at: near(rows[at]),
            spread=some(self.spread), points=some(self.points), matches=some(self.matches),
        )  # fmt: skip

    def choice(self, lambda_: float, scores: Floats | None = None) -> Choice:
        """The decision rule on the router's scores, or on others."""
        return one_hot(choose(self.scores if scores is None else scores, self.predicted_costs, lambda_), self.size[1])

    def decided(self, policy: Policy) -> Choice:
        """What a policy decides on the router's scores; whom to ask first, where it looks at rewards."""
        if isinstance(policy, SequentialPolicy):
            return policy.first(self.forecast)
        if self.neighbours is None:
            return policy.choose(self.scores, self.predicted_costs)
        weights = np.empty(self.size)
        for start in range(0, len(weights), DECIDED_AT_ONCE):  # each prompt is decided by itself
            rows = np.arange(start, min(start + DECIDED_AT_ONCE, len(weights)))
            part = self.take(rows)
            weights[rows] = policy.choose(part.scores, part.predicted_costs, self.neighbours(rows)).weights
        return Choice(weights)

    @property
    def forecast(self) -> Forecast:
        """What is known before anybody is asked."""
        costs = np.broadcast_to(self.predicted_costs, self.size)
        return Forecast(self.scores, costs, self.spread, self.points, self.weights, self.matches)

    @property
    def observed(self) -> Observed:
        """What a policy may learn from."""
        return Observed(self.scores, self.predicted_costs, self.rewards, self.groups, self.forecast, self.costs)

    def single(self, lambda_: float = 0.0) -> int:
        """Position of the best single member, chosen on train."""
        return best_single(self.train_mean_reward, self.train_mean_cost, lambda_)

    def constant(self, member: int) -> Outcome:
        """What one member for every prompt earns and costs."""
        return self.outcome(constant(member, *self.size))

    def outcome(self, choice: Choice) -> Outcome:
        """What a choice earns and costs here."""
        return outcome(choice, self.rewards, self.costs)

    def routed(self, choice: Choice) -> Outcome:
        """What a choice of the router earns and costs here, with what it read before."""
        return self.paid(self.outcome(choice))

    def paid(self, found: Routed) -> Routed:
        """An outcome of the router with what it read before."""
        return replace(found, cost=found.cost + self.read_first)

    def curve(self, scores: Floats | None = None) -> Curve:
        """The exact curve of the router's scores, with what it read before, or of others; cells must be complete."""
        if scores is not None:
            return exact_curve(scores, self.predicted_costs, self.rewards, self.costs)
        found = exact_curve(self.scores, self.predicted_costs, self.rewards, self.costs)
        return replace(found, cost=found.cost + self.read_first)

    @property
    def size(self) -> tuple[int, int]:
        """Prompts and members."""
        return len(self.scores), len(self.members)

    @property
    def means(self) -> tuple[Floats, Floats]:
        """(M,) mean cost and (M,) mean reward of the members here."""
        return self.costs.mean(axis=0), self.rewards.mean(axis=0)


def named_intervals(columns: Mapping[str, Floats], bootstrap: GroupBootstrap) -> dict[str, list[Interval]]:
    """Intervals of named columns, (N, D) each, in one pass over the draws."""
    found = together((bootstrap, values, as_they_are) for values in columns.values())
    return dict(zip(columns, found, strict=True))


def plain(interval: Interval | None) -> dict[str, float] | None:
    """An interval as it stands in ``results.json``; None stays None."""
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high}


def interval(found: Mapping[str, float] | None) -> Interval | None:
    """Read back what `plain` wrote."""
    return None if found is None else Interval(found["mean"], found["low"], found["high"])


def means(result: Outcome) -> dict[str, Any]:
    """Mean reward and cost of an outcome."""
    return {"reward": result.mean_reward, "cost": result.mean_cost}
