"""How well rewards are predicted, member by member, and how well members are told apart on a prompt."""

from __future__ import annotations

from typing import Any

import numpy as np

from erp.decisions.choice import constant
from erp.evaluation.held_out import HeldOut, plain
from erp.metrics.discrimination import auc, kendall_tau, pairwise_order_accuracy, r2_of_differences, top1_accuracy
from erp.metrics.intervals import GroupBootstrap
from erp.metrics.noise import Corrected, corrected_r2, corrected_r2_of_differences, pooled_reliability
from erp.metrics.prediction import binned_error, calibration, pearson, r2, r2_pooled, rmse, spearman
from erp.targets import reliability


def prediction_section(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """The section ``prediction``; what needs scores in units of the reward is null for ordinal ones.

    Args:
        held_out: every held-out prompt, cells may be missing.
        bootstrap: over their groups.
    """
    return {**_members(held_out, bootstrap), **_discrimination(held_out, bootstrap)}


def _members(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    predicted, observed = held_out.scores, held_out.rewards
    in_reward_units = held_out.scale == "reward"
    blank = np.full(len(held_out.members), np.nan)
    columns = {"spearman": spearman(predicted, observed), "pearson": pearson(predicted, observed)}
    targets = held_out.targets
    columns["auc"] = auc(predicted, observed, targets.count) if targets.binary else blank
    corrected = Corrected([None] * len(held_out.members), None)
    if in_reward_units:
        slope, intercept = calibration(predicted, observed)
        columns |= {
            "r2": r2(predicted, observed), "rmse": rmse(predicted, observed), "calibration_slope": slope,
            "calibration_intercept": intercept, "binned_error": binned_error(predicted, observed),
        }  # fmt: skip
        corrected = corrected_r2(predicted, held_out.targets, bootstrap)
    else:
        names = ("r2", "rmse", "calibration_slope", "calibration_intercept", "binned_error")
        columns |= dict.fromkeys(names, blank)
    ceilings = reliability(held_out.targets)
    return {
        "members": {
            name: {
                **{key: values[m] for key, values in columns.items()},
                "r2_ceiling": ceilings[m],
                "r2_corrected": plain(corrected.each[m]),
            }
            for m, name in enumerate(held_out.members)
        },
        "r2_pooled": r2_pooled(predicted, observed) if in_reward_units else None,
        "r2_pooled_ceiling": pooled_reliability(held_out.targets),
        "r2_pooled_corrected": plain(corrected.pooled),
    }


def _discrimination(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    predicted, observed = held_out.scores, held_out.rewards
    in_reward_units = held_out.scale == "reward" and len(held_out.members) > 1
    # What a constant gets on the same prompts: the members in the order of their train means, and the best of them.
    by_train_mean = np.broadcast_to(held_out.train_mean_reward, observed.shape)
    single = constant(held_out.single(), *observed.shape).weights
    corrected = corrected_r2_of_differences(predicted, held_out.targets, bootstrap) if in_reward_units else None
    return {
        "r2_differences": r2_of_differences(predicted, observed)[1] if in_reward_units else None,
        "r2_differences_ceiling": pooled_reliability(held_out.targets, of_differences=True),
        "r2_differences_corrected": None if corrected is None else plain(corrected.pooled),
        "kendall_tau": kendall_tau(predicted, observed),
        "kendall_tau_constant": kendall_tau(by_train_mean, observed),
        "pairwise_order_accuracy": pairwise_order_accuracy(predicted, observed),
        "pairwise_order_accuracy_constant": pairwise_order_accuracy(by_train_mean, observed),
        "top1_accuracy": top1_accuracy(predicted, observed),
        "top1_accuracy_constant": top1_accuracy(single, observed),
    }
