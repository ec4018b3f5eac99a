"""How well rewards are predicted, and how well members are told apart."""

from __future__ import annotations

from erp.report.facts import known_members, one_sample
from erp.report.text import escaped, interval_text, significant, table
from erp.results import Results

_AUC = (
    " AUC of right: of a right and a wrong answer of the member, how often the first one's prompt is scored higher; .5 "
    "by chance."
)


def prediction_page(results: Results) -> list[str]:
    """R^2 beside what a perfect predictor would reach, then discrimination within a prompt."""
    lines = ["## Predicted rewards"]
    if results.run.scale == "reward":
        lines += [_members(results), _ceilings(results)]
    else:
        lines.append(
            "The router's scores only order members here, they are not rewards: R^2 and RMSE have no meaning for them."
        )
    return [*lines, *_discrimination(results)]


def _members(results: Results) -> str:
    prediction, rows = results.prediction, []
    for name, _ in known_members(results):
        row = prediction.members[name]
        rows.append(
            [escaped(name), significant(row.r2), _ceiling(results, row.r2_ceiling),
             interval_text(row.r2_corrected), significant(row.rmse), significant(row.spearman),
             significant(row.calibration_slope), significant(row.binned_error), significant(row.auc)]
        )  # fmt: skip
    pooled = (
        ("pooled, about each member's mean", prediction.r2_pooled, prediction.r2_pooled_ceiling,
         prediction.r2_pooled_corrected),
        ("differences between two members, pooled", prediction.r2_differences, prediction.r2_differences_ceiling,
         prediction.r2_differences_corrected),
    )  # fmt: skip
    for name, r2, ceiling, corrected in pooled:
        rows.append([name, significant(r2), _ceiling(results, ceiling), interval_text(corrected), *[""] * 5])
    header = [
        "Member", "R^2", "R^2 of a perfect predictor", "R^2 / that", "RMSE", "Spearman", "Calibration slope",
        "Binned error", "AUC of right",
    ]  # fmt: skip
    if all(row.auc is None for row in prediction.members.values()):  # rewards are not right or wrong
        header, rows = header[:-1], [row[:-1] for row in rows]
    if one_sample(results):  # nothing to divide by
        header, rows = [*header[:3], *header[4:]], [[*row[:3], *row[4:]] for row in rows]
    doubt = results.noise.doubt
    marked = f"\n\nWhat a perfect predictor would reach is {escaped(doubt)}." if doubt else ""
    return table(header, rows) + marked


def _ceiling(results: Results, value: float | None) -> str:
    return "not identifiable at K=1" if one_sample(results) else significant(value)


def _ceilings(results: Results) -> str:
    text = (
        "R^2 is the share of a member's variance over prompts that is predicted. Routing lives on the differences "
        "between members: what makes a prompt easy for all of them raises R^2, and cancels in a difference. "
    )
    if results.prediction.r2_pooled_ceiling is not None:
        text += (
            "Labels are means of few samples, so even a perfect predictor stays below 1; R^2 divided by what it would "
            "reach is the share of the predictable variance that the router predicts (never clipped). "
        )
    return text + (
        "Calibration slope: observed on predicted, 1 is right. Binned error: mean distance between predicted and "
        "observed reward over bins of prompts."
        + (_AUC if any(row.auc is not None for row in results.prediction.members.values()) else "")
    )


def _discrimination(results: Results) -> list[str]:
    prediction = results.prediction
    pairs, top = prediction.pairwise_order_accuracy, prediction.top1_accuracy
    by_constant = significant(prediction.pairwise_order_accuracy_constant)
    return [
        f"Of two members' rewards that differ on a prompt, the router orders {significant(pairs)} rightly; the "
        f"members' order on train, the same for every prompt, {by_constant}. "
        f"The router's first choice is a best observed member on {significant(top)} of prompts; the member that is "
        f"first on train, always chosen, on {significant(prediction.top1_accuracy_constant)}. Kendall's tau within "
        f"a prompt, mean: {significant(prediction.kendall_tau)}; of the order on train "
        f"{significant(prediction.kendall_tau_constant)}."
    ]
