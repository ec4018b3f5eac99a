"""How much of the labels is noise, where the variance lies, and what a label budget buys."""

from __future__ import annotations

from erp.report.facts import percent
from erp.report.text import escaped, significant, table
from erp.results import Results
from erp.results.noise import Headroom, Noise

MOST_CATEGORIES = 20


def noise_page(results: Results) -> list[str]:
    """The table's own limits, over all its complete prompts."""
    noise = results.noise
    of_means = "" if results.run.target == "mean" else "What follows is of mean rewards. "
    parts = ["## How much is noise", of_means + _headroom(noise.headroom)]
    if noise.doubt is not None:
        parts.insert(1, f"**Warning.** What is said of noise in this report is {escaped(noise.doubt)}.")
    if noise.reason is not None:
        parts.append(f"Reliability, variance shares and label budgets are {noise.reason}.")
    else:
        parts += [_shares(noise), *_differences(noise), *_budget(noise)]
    return [*parts, *_categories(noise)]


def _headroom(found: Headroom) -> str:
    if found.naive is None:
        return "No prompt of the table has a reward of every member, so how much there is to route is not known."
    text = (
        f"Over all {found.prompts:,} complete prompts of the table, train ones too, the headroom over the member "
        "that is best on them is "
    )
    if found.split_half is None:
        return f"{text}at most {significant(found.naive)}, luck included."
    return (
        f"{text}between {significant(found.split_half)} (split-half oracle, too low) and "
        f"{significant(found.naive)} (oracle, too high)."
    )


def _shares(noise: Noise) -> str:
    found = noise.components
    if found.shares is None or found.variance is None:
        return f"Variance shares are null: {found.reason}."
    names = {
        "prompt": "prompts (difficulty, which no router can use)",
        "member": "members (one is better on average: the best single has this already)",
        "interaction": "interaction (which member suits which prompt: what routing needs)",
        "error": "one sample's noise",
    }
    rows = [
        [names[key], significant(variance), percent(found.shares.given(float)[key], 1)]
        for key, variance in found.variance.given(float).items()
    ]
    used = f" From {found.prompts:,} of {found.of:,} prompts, {found.samples:.3g} samples of each member."
    return (
        table(["Variance of a sampled reward", "Variance", "Share"], rows)
        + "\n\nInteraction is necessary for routing, not sufficient: one member may still be best everywhere. "
        "Estimates are unbiased, so a small one may come out below 0: read it as 0." + used
    )


def _differences(noise: Noise) -> list[str]:
    found = noise.reliability_of_differences
    text = f"Over all these prompts a perfect predictor would reach R^2 {significant(noise.reliability_pooled)}"
    if found is not None:
        text += (
            f"; on the differences between members {significant(found.pooled)} (by pair from "
            f"{significant(found.lowest)} to {significant(found.highest)})"
        )
    return [f"{text}."]


def _budget(noise: Noise) -> list[str]:
    if not noise.budget:
        return []
    rows = [
        [f"{point.prompts:,} x {point.samples}", *map(significant, (
            point.reliability, point.reliability_of_differences, point.se_mean, point.se_difference))]
        for point in noise.budget
    ]  # fmt: skip
    header = [
        "Prompts x samples", "R^2 of a perfect predictor", "Of differences", "Standard error of a member's mean",
        "Of a difference",
    ]  # fmt: skip
    return [
        "The same number of responses per member, spread otherwise (computed from the shares above, not measured):",
        table(header, rows),
    ]


def _categories(noise: Noise) -> list[str]:
    found = noise.categories
    if not found:
        return []
    identified = noise.reason is None
    rows = []
    for name, row in list(found.items())[:MOST_CATEGORIES]:
        shares = row.components.shares
        cells = [
            escaped(name), f"{row.prompts:,}", escaped(row.best), significant(row.reward),
            significant(row.best_single_reward), significant(row.headroom.naive),
        ]  # fmt: skip
        if identified:
            cells.append(significant(row.headroom.split_half))
            cells += ["-", "-"] if shares is None else [percent(shares.interaction, 1), percent(shares.error, 1)]
        rows.append(cells)
    header = ["Category", "Prompts", "Best member", "Its reward", "Best single's", "Headroom over best member, at most"]
    header += ["At least", "Interaction", "Noise"] if identified else []
    left = len(found) - len(rows)
    more = [f"{left} more categories are in `results.json`."] if left > 0 else []
    return ["Category by category, in hindsight:", table(header, rows), *more]
