"""How well costs are predicted prompt by prompt, and what that buys along the curve."""

from __future__ import annotations

from erp.report.facts import level_of
from erp.report.text import escaped, gain_text, interval_text, significant, table
from erp.results import Results, number
from erp.results.predicted_costs import PredictedCosts

_RIDGES = {"linear": "ridge on costs", "log": "one on their logarithms"}
HEADS = {"linear": "linear", "log": "logarithm", "mean": "train mean"}


def predicted_costs_page(results: Results) -> list[str]:
    """R^2 against the train mean, calibration, and the area that predicted costs buy; nothing where none are."""
    found = results.predicted_costs
    if found is None:
        return []
    level, rows = level_of(results), []
    for name, row in found.members.items():
        first, last = ("-", "-") if row.fifths is None else map(interval_text, (row.fifths[0], row.fifths[-1]))
        head = "-" if row.head is None else HEADS[row.head]
        rows.append(
            [escaped(name), head, interval_text(row.r2), interval_text(row.calibration), first, last,
             interval_text(row.calibration_train_mean)]
        )  # fmt: skip
    rows.append(["all members", "", interval_text(found.r2), interval_text(found.calibration), "", "", ""])
    header = [
        "Member", "Predicted by", f"R^2 against the train mean ({level})", f"Predicted / true ({level})",
        "Cheapest fifth", "Dearest fifth", "Train mean / true",
    ]  # fmt: skip
    return ["## Predicted costs", table(header, rows), _words(found), *_bought(results, found)]


def _words(found: PredictedCosts) -> str:
    text = (
        "R^2 against the train mean: the share of its squared error on test that predictions take away; below 0 the "
        "train mean is the better prediction. Predicted / true: mean predicted over mean true cost, 1 is right; so too "
        "in the fifth of prompts that are predicted cheapest and in the one predicted dearest."
    )
    worse = [name for name, row in found.members.items() if row.r2 is not None and number(row.r2.mean) < 0]
    if worse:
        text += f" Worse than the train mean here: {', '.join(map(escaped, worse))}."
    return text + _chosen(found)


def _chosen(found: PredictedCosts) -> str:
    tried = {} if found.on_validation is None else found.on_validation.given(float)
    if not tried:
        return ""
    told = " and ".join(f"{significant(error)} by the {_RIDGES[name]}" for name, error in tried.items())
    return f" On validation the squared error, in units of the train mean's, was {told}."


def _bought(results: Results, found: PredictedCosts) -> list[str]:
    means, true = found.train_means, found.true_costs
    if means is None or true is None or results.audc is None:
        return []
    low, high = number(means.gain.low), number(means.gain.high)
    verdict = "better" if low > 0 else "worse" if high < 0 else "no difference that these prompts can show"
    return [
        f"Along the curve, at true cost and with the same scores, AUDC is {significant(results.audc.router)} by "
        f"predicted costs and {significant(means.audc)} by train means: {gain_text(means.gain)}, {verdict}. By the "
        f"true costs, which nobody knows beforehand, it would be {significant(true.audc)}; by predicted ones it is "
        f"{gain_text(true.gain)} beside that."
    ]
