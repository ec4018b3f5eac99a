"""Where rewards are missing: members on their own prompts, and what can be compared on shared ones."""

from __future__ import annotations

from erp.report.facts import level_of, percent
from erp.report.text import escaped, gain_text, interval_text, table
from erp.results import Results
from erp.results.overlaps import Overlaps

MOST_PAIRS = 15  # in the report; results.json has more

TEXT = (
    "Some test prompts lack a reward of some member. This is what can be compared all the same. *Router less it, where "
    "both are known*: the reward of the member that the router chooses at lambda = 0, minus that of this one, on the "
    "test prompts that have both. *Weighted to all test prompts*: the same, where the router sends a prompt to this "
    "very member counted as 0, and every other known difference standing for as many prompts as the share of prompts "
    "that have both rewards says; no number where a member that the router chooses shares no test prompt with this one."
)
BIAS = (
    "All of it takes for granted that which rewards are known has nothing to do with the prompt. If a member was asked "
    "what it was thought good at, or scored only where it answered, then its mean, and every difference to it, is of "
    "such prompts, and nothing in the table can show by how much that is off. The first of the two columns depends, "
    "beside that, on whose rewards are known: where the router chooses this member the difference is 0, and it is "
    "known more often than the others. Means of two members are of different prompts: compare them by the differences."
)


def overlaps_page(results: Results) -> list[str]:
    """Nothing where every test prompt has a reward of every member, or the run was made before this was looked at."""
    found = results.overlaps
    if found is None:
        return []
    level = level_of(results)
    header = [
        "Member", "Prompts", f"Reward on them ({level})", "Router sends there", "Prompts with both",
        f"Router less it, where both are known ({level})", f"Weighted to all test prompts ({level})",
    ]  # fmt: skip
    rows = [
        [escaped(name), f"{row.prompts:,}", interval_text(row.reward), percent(row.share, 1),
         f"{row.shared:,}", gain_text(row.difference), gain_text(row.weighted)]
        for name, row in found.members.items()
    ]  # fmt: skip
    return ["## On the prompts that have the rewards", table(header, rows), TEXT, BIAS, *_pairs(found, level)]


def _pairs(found: Overlaps, level: str) -> list[str]:
    pairs = found.pairs
    if not pairs:
        return []
    rows = [
        [" less ".join(map(escaped, pair.members)), f"{pair.prompts:,}", gain_text(pair.difference)]
        for pair in pairs[:MOST_PAIRS]
    ]
    left = len(pairs) - len(rows)
    more = [f"{left} more pairs are in `results.json`."] if left > 0 else []
    return [table(["Two members", "Prompts with both", f"Difference ({level})"], rows), *more]
