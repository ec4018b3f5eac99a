"""Which member answers: a pure function of what is asked, what is predicted, and what holds at this moment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from erp.errors import ErpError
from erp.serving.asked import Asked

Path = Literal["routed", "named", "pinned", "explored", "filtered", "fallback", "budget", "timeout"]


@dataclass(frozen=True)
class Predicted:
    """What the router says of one prompt, by member.

    Attributes:
        rewards: predicted rewards (scores, where the router's are ordinal).
        costs: predicted costs, in base units.
        weights: what the policy gives each member: 1 for the one it chooses, or the odds of several.
        chosen: the member that the policy takes.
    """

    rewards: Mapping[str, float]
    costs: Mapping[str, float]
    weights: Mapping[str, float]
    chosen: str


@dataclass(frozen=True)
class Moment:
    """What holds when a request is decided.

    Attributes:
        capable: members that can answer it and may, in the pool's order; at least one.
        constant: all members from the best on by their means on train, or where the budget is spent from the cheapest
            on: who answers where nothing is predicted.
        lambda_: reward per base unit of cost, by which others are ranked behind the chosen one.
        pinned: the member that the conversation has been with; None for a new one.
        capped: whether the budget is spent.
        explore: share of requests that go to a member at random.
        draw: two numbers in [0, 1): whether this is one of them, and to which.
        late: whether the prediction took too long.
    """

    capable: Sequence[str]
    constant: Sequence[str]
    lambda_: float = 0.0
    pinned: str | None = None
    capped: bool = False
    explore: float = 0.0
    draw: tuple[float, float] = (1.0, 0.0)
    late: bool = False


@dataclass(frozen=True)
class Decision:
    """Who answers, and why.

    Attributes:
        member: who is asked first.
        path: why this one.
        order: all that can answer, from ``member`` on: who is asked next where one fails.
        propensity: the probability with which this member was chosen, given the request.
        utilities: predicted reward less lambda times predicted cost; empty where nothing was predicted.
    """

    member: str
    path: Path
    order: tuple[str, ...]
    propensity: float
    utilities: Mapping[str, float] = field(default_factory=dict)


def decide(predicted: Predicted | None, now: Moment) -> Decision:
    """Choose a member.

    In this order: a budget that is spent takes the cheapest; a conversation that goes on stays where it is; a share is
    explored; then the policy's choice, or where that one cannot answer the best of the others by utility; and where
    nothing is predicted, or what is predicted is no number, the best constant.

    Args:
        predicted: of this prompt; None where the router could not say.
        now: what else holds.

    Raises:
        ErpError: nobody can answer.
    """
    if not now.capable:
        raise ErpError("nobody of the pool can answer this request")
    sound = predicted is not None and not now.late and _is_sound(predicted)
    utilities = _utilities(predicted, now.lambda_) if predicted is not None and sound else {}
    constants = [name for name in now.constant if name in now.capable]
    ranked = sorted(now.capable, key=lambda name: -utilities[name]) if utilities else constants
    if now.capped:
        costs = predicted.costs if predicted is not None and sound else {}
        ranked = sorted(ranked, key=lambda name: costs.get(name, math.inf))
        return _first(ranked[0], ranked, "budget", 1.0, utilities)
    if now.pinned is not None and now.pinned in now.capable:
        return _first(now.pinned, ranked, "pinned", 1.0, utilities)
    if predicted is None or not sound:
        return _first(ranked[0], ranked, "timeout" if now.late else "fallback", 1.0, utilities)
    usual = predicted.chosen if predicted.chosen in now.capable else ranked[0]
    path: Path = "routed" if usual == predicted.chosen else "filtered"
    share = now.explore / len(now.capable)
    if now.draw[0] < now.explore:
        usual, path = now.capable[min(int(now.draw[1] * len(now.capable)), len(now.capable) - 1)], "explored"
    return _first(usual, ranked, path, (1 - now.explore) * _weight(predicted, ranked, now, usual) + share, utilities)


def judged(decision: Decision, asked: Asked, first: str, capable: Sequence[str]) -> tuple[Decision, bool]:
    """What becomes of a decision where answers may be judged before one is sent, and whether this request's are.

    They are where the policy chose and what comes back is a text: not where a conversation stays with its member or a
    budget is spent, not where a member was drawn, and not where tools are in play.

    Args:
        decision: of a policy that looks at rewards.
        asked: the request.
        first: whom that policy asks first, of those that can answer.
        capable: these.
    """
    if not asked.judgeable or decision.path not in ("routed", "filtered", "explored"):
        return decision, False
    if decision.path == "explored":  # requests like this one that are not drawn say nothing of another policy, so that
        return replace(decision, propensity=1 / len(capable)), False  # among those that do it was one of so many
    order = (first, *(name for name in decision.order if name != first))
    return replace(decision, member=first, order=order), True


def _weight(predicted: Predicted, ranked: Sequence[str], now: Moment, member: str) -> float:
    """How likely the policy takes a member: odds on members that cannot answer fall to the best of the others."""
    lost = sum(weight for name, weight in predicted.weights.items() if name not in now.capable)
    return predicted.weights.get(member, 0.0) + (lost if member == ranked[0] else 0.0)


def _first(
    member: str, ranked: Sequence[str], path: Path, propensity: float, utilities: Mapping[str, float]
) -> Decision:
    order = (member, *(name for name in ranked if name != member))
    return Decision(member, path, order, min(propensity, 1.0), utilities)


def _is_sound(predicted: Predicted) -> bool:
    return all(map(math.isfinite, [*predicted.rewards.values(), *predicted.costs.values()]))


def _utilities(predicted: Predicted, lambda_: float) -> dict[str, float]:
    if math.isinf(lambda_):
        return {name: -cost for name, cost in predicted.costs.items()}
    return {name: reward - lambda_ * predicted.costs[name] for name, reward in predicted.rewards.items()}
