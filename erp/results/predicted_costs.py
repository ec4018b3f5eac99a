"""How well costs are predicted, and what that buys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from erp.results.base import Interval, Member, Number, Section, told


class PredictedCost(Section):
    """Predictions of what one member's answers cost."""

    head: Literal["linear", "log", "mean"] | None = told(
        "what predicts: a ridge on costs, one on their logarithms, or the train mean", null="costs of one's own"
    )
    r2: Interval | None = told(
        "share of the train mean's squared error on test that predictions take away",
        "below 1; higher; 0 is the train mean", "no known cost on test differs from the train mean",
    )  # fmt: skip
    calibration: Interval | None = told(
        "mean predicted over mean true cost on test", "1 is right; above: predicted too dear", "true mean 0"
    )
    calibration_train_mean: Interval | None = told("the same of the train mean", "likewise", "true mean 0")
    fifths: Annotated[list[Interval | None], Field(min_length=5, max_length=5)] | None = told(
        "mean predicted over mean true cost in fifths of the test prompts, from those predicted cheapest to dearest",
        "five, each as above", "all predictions are one; fewer than five prompts; an entry: its true mean is 0",
    )  # fmt: skip


class OnValidation(Section):
    """What the head was chosen by."""

    linear: Number | None = told("the ridge on costs", "below 1 beats the train mean; lower", "not known")
    log: Number | None = told("the one on logarithms", "likewise", "it was not tried; not known")


class Bought(Section):
    """The router's curve decided by other costs, at true cost, with the same scores."""

    audc: Number = told("AUDC with these costs in the decision", "reward; higher")
    gain: Interval = told("of the router as it is, less that", "reward; higher")


class PredictedCosts(Section):
    """Costs that are predicted prompt by prompt, on test."""

    members: dict[Member, PredictedCost] = told("of each member")
    r2: Interval | None = told("mean of the members' R^2", "below 1; higher; 0 is the train mean", "no member has one")
    calibration: Interval | None = told(
        "mean predicted over mean true cost, all members together", "1 is right", "true mean 0"
    )
    on_validation: OnValidation | None = told(
        "squared error on validation in units of the train mean's, mean over members", null="costs of one's own"
    )
    train_means: Bought | None = told(
        "decided by the members' train means: `gain` is what predicting costs buys",
        null="no complete test prompt; all members cost the same",
    )  # fmt: skip
    true_costs: Bought | None = told(
        "decided by what answers turned out to cost, luck included: minus `gain` is what there is to buy beyond",
        null="likewise",
    )  # fmt: skip
