"""Reward against cost over every lambda, and what follows from the curve."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from erp.results.base import Member, Number, Section, told


class Curve(Section):
    """Points of a curve, at most 500; all lists are of one length."""

    lambda_: list[Number | None] = told(
        "its points, at most 500", "lists; lambda null at infinity", alias="lambda", min_length=1
    )
    cost: list[Number] = told("its points, at most 500", "lists; lambda null at infinity")
    reward: list[Number] = told("its points, at most 500", "lists; lambda null at infinity")

    @model_validator(mode="after")
    def _as_long(self) -> Self:
        if not len(self.lambda_) == len(self.cost) == len(self.reward):
            raise ValueError("lambda, cost and reward are not of one length")
        return self


class Curves(Section):
    """The router's and those beside it; ``category_mean`` is absent without categories."""

    router: Curve = told("the router's")
    category_mean: Curve = told("the category mean's", default=None)
    oracle: Curve = told("the oracle's")

    @property
    def named(self) -> dict[str, Curve]:
        """Every curve that there is, by name."""
        return self.given(Curve)


class Areas(Section):
    """An area under every curve."""

    router: Number | None
    category_mean: Number | None = Field(default=None)
    oracle: Number | None
    best_single: Number | None

    @property
    def named(self) -> dict[str, float]:
        """Every area that there is, by name."""
        return self.given(float)


class IntervalsAlong(Section):
    """The router's curve at up to 40 lambdas."""

    lambda_: list[Number | None] = told(
        "the router's curve at up to 40 lambdas, with intervals", "lists", alias="lambda"
    )
    cost: list[Number] = told("the router's curve at up to 40 lambdas, with intervals", "lists")
    reward: list[Number] = told("the router's curve at up to 40 lambdas, with intervals", "lists")
    low: list[Number | None] = told("the router's curve at up to 40 lambdas, with intervals", "lists")
    high: list[Number | None] = told("the router's curve at up to 40 lambdas, with intervals", "lists")


class SharesAlong(Section):
    """Who is chosen along the curve."""

    lambda_: list[Number | None] = told("where shares are told", "lists", alias="lambda")
    cost: list[Number] = told("where shares are told", "lists")
    members: dict[Member, list[Number]] = told("share of prompts along the curve", "lists, 0 to 1")
    entropy: list[Number] = told("of the shares", "nats, at least 0")
    evenness: list[Number | None] = told("entropy over its maximum", "0 (one member gets all) to 1", "one member")
    dearest: list[Number | None] = told("share to the most expensive member", "0 to 1")


class Frontier(Section):
    """A curve beside the frontier of all curves and members."""

    distance: Number | None = told(
        "mean distance to the joint frontier of curves and members, axes scaled by the pool's range",
        "at least 0; lower", "all members cost the same",
    )  # fmt: skip
    on_frontier: Number = told("share of its points on the frontier", "0 to 1; higher", "likewise")
    rivals: list[str] = told("who else is on it", "names", "likewise")


class Pareto(Section):
    """Which curve is on the joint frontier; ``category_mean`` is absent without categories."""

    router: Frontier = told("the router's curve")
    category_mean: Frontier = told("the category mean's curve", default=None)

    @property
    def named(self) -> dict[str, Frontier]:
        """Every curve that there is, by name."""
        return self.given(Frontier)


class WeakAndStrong(Section):
    """Routing between two: the cheapest member and best single."""

    weak: str = told("the cheapest member and best single", "", "they are one member")
    strong: str = told("the cheapest member and best single", "", "they are one member")
    weak_reward: Number = told("their rewards on test", "reward", "they are one member")
    strong_reward: Number = told("their rewards on test", "reward", "they are one member")
    apgr: Number | None = told(
        "area between them that routing recovers, over shares of calls", "higher; .5 at random",
        "strong is not better on test",
    )  # fmt: skip
    cpt_50: Number | None = told(
        "smallest share of calls to the strong one that recovers 50, 80% of the gap", "0 to 1; lower", "never reached"
    )
    cpt_80: Number | None = told(
        "smallest share of calls to the strong one that recovers 50, 80% of the gap", "0 to 1; lower", "never reached"
    )
