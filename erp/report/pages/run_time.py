"""A policy that looks at rewards, beside what does not, at equal cost."""

from __future__ import annotations

from erp.report.facts import cost_header, cost_scale, level_of, one_sample, policy_label
from erp.report.text import escaped, gain_text, significant, table
from erp.results import Results, number


def run_time_page(results: Results) -> list[str]:
    """At its own cost and along its curve; nothing for a policy that looks at no reward."""
    found = results.rewards_at_run_time
    if found is None:
        return []
    factor, unit = cost_scale(results)
    rows = [
        [
            escaped(policy_label(results)) if i == 0 else "on its curve", significant(number(point.cost) * factor),
            significant(point.reward), gain_text(point.less_router), gain_text(point.less_constant),
            "-" if point.less_cascade is None else gain_text(point.less_cascade),
        ]
        for i, point in enumerate(found.beside)
    ]  # fmt: skip
    level = level_of(results)
    header = [
        "Policy", cost_header(results), "Reward", f"Minus the router ({level})", f"Minus the best constant ({level})",
        f"Minus the plain cascade ({level})",
    ]  # fmt: skip
    text = (
        "The policy sees the reward of an answer before it decides whether to ask for another, and pays for every "
        f"answer: {number(found.calls):.2f} of a prompt on average. It is played on test samples, none used twice. "
        "Beside it, at no more than its cost: the router, which decides once; the best constant; and the cascade, one "
        "order of members and one threshold, that was chosen on validation for this cost. "
        f"Asking everyone and keeping the best costs {significant(number(found.cost_of_sample_all) * factor)} {unit}; "
        f"the policy's reward less that one's is {gain_text(found.less_sample_all)}."
    )
    if one_sample(results):
        text += (
            " At K=1 there is one answer of each member: what it earned by luck counts, as for the oracle, and a "
            "router, which chooses before it sees it, cannot have that."
        )
    return ["## With rewards at run time", table(header, rows), text]
