"""How well rewards are predicted."""

from __future__ import annotations

from erp.results.base import Interval, Member, Number, Section, told


class PredictedMember(Section):
    """Predictions of one member's rewards."""

    spearman: Number | None = told("correlation of predicted and observed", "-1 to 1; higher", "either is constant")
    pearson: Number | None = told("correlation of predicted and observed", "-1 to 1; higher", "either is constant")
    r2: Number | None = told(
        "share of the variance about the member's test mean that is predicted", "below 1; higher; 0 is a constant",
        "ordinal; no variance",
    )  # fmt: skip
    rmse: Number | None = told("root mean squared error", "reward; lower", "ordinal")
    calibration_slope: Number | None = told(
        "of observed on predicted", "1 is right; below 1: predictions spread too far", "ordinal; constant"
    )
    calibration_intercept: Number | None = told("likewise", "reward; 0 is right", "ordinal; constant")
    binned_error: Number | None = told(
        "mean distance of predicted and observed over ten bins", "reward; lower", "ordinal"
    )
    auc: Number | None = told(
        "how often the prompt of a right answer is scored above that of a wrong one, over all answers",
        "0 to 1; higher; .5 by chance", "rewards other than 0 and 1; all right or all wrong",
    )  # fmt: skip
    r2_ceiling: Number | None = told(
        "what a perfect predictor would reach on these labels (reliability)", "up to 1", "K = 1"
    )
    r2_corrected: Interval | None = told(
        "R^2 over its ceiling, never clipped", "higher; 1 is perfect", "ordinal; K = 1; a ceiling that may be 0"
    )


class Prediction(Section):
    """Predictions on the test cells."""

    members: dict[Member, PredictedMember] = told("of each member")
    r2_pooled: Number | None = told(
        "R^2 of all members together, each about its own mean", "below 1; higher", "ordinal"
    )
    r2_pooled_ceiling: Number | None = told("its ceiling", "up to 1", "K = 1")
    r2_pooled_corrected: Interval | None = told(
        "R^2 over the ceiling", "higher; 1 is perfect", "ordinal; K = 1; a ceiling that may be 0"
    )
    r2_differences: Number | None = told(
        "R^2 of the differences between two members, all pairs: what routing lives on", "below 1; higher",
        "ordinal; one member",
    )  # fmt: skip
    r2_differences_ceiling: Number | None = told("its ceiling", "up to 1", "K = 1; one member")
    r2_differences_corrected: Interval | None = told(
        "R^2 over the ceiling", "higher; 1 is perfect", "ordinal; K = 1; one member; a ceiling that may be 0"
    )
    kendall_tau: Number | None = told(
        "mean tau-b of scores and rewards within a prompt", "-1 to 1; higher", "nowhere defined"
    )
    kendall_tau_constant: Number | None = told(
        "the same of the members' order on train, equal for every prompt", "as above", "as above"
    )
    pairwise_order_accuracy: Number | None = told(
        "of two members whose rewards differ, how often the scores order them rightly", "0 to 1; higher; .5 by chance",
        "no rewards differ",
    )  # fmt: skip
    pairwise_order_accuracy_constant: Number | None = told(
        "the same of the members' order on train, equal for every prompt", "as above", "as above"
    )
    top1_accuracy: Number | None = told(
        "how often the first choice is a best observed member", "0 to 1; higher", "no complete prompt"
    )
    top1_accuracy_constant: Number | None = told(
        "the same of the members' order on train, equal for every prompt", "as above", "as above"
    )
