"""What the curve is worth: areas and other projects' metrics, who is chosen along it, and when it pays."""

from __future__ import annotations

from erp.report.facts import ROW_NAMES, cost_scale, lambda_text, percent
from erp.report.text import escaped, gain_text, percents, significant, spread_text, table
from erp.results import Results, number, numbers
from erp.results.base import Interval
from erp.results.economics import BreakEven
from erp.results.policy import Chosen


def curve_page(results: Results) -> list[str]:
    """Areas under the curves and distances to the frontier; nothing where all members cost the same."""
    if not results.cost.differ:
        return []
    rows, audc, aiq = [], results.decided.audc.named, results.decided.aiq.named
    places = {} if results.pareto is None else results.pareto.named
    for key in ("router", "category_mean", "best_single", "oracle"):
        if key not in audc or (key == "category_mean" and results.run.router == key):
            continue
        name = escaped(results.run.router) if key == "router" else ROW_NAMES[key]
        place = places.get(key)
        distance = "-" if place is None else significant(place.distance)
        on = "-" if place is None else percent(place.on_frontier)
        rows.append([name, significant(audc[key]), significant(aiq.get(key)), distance, on])
    header = ["Curve", "AUDC", "AIQ", "ParetoDist", "Points on the frontier"]
    return [
        "## Along the curve",
        table(header, rows),
        "Metrics of routing benchmarks. AUDC: area under the curve by steps, as a mean reward over the pool's range "
        "of costs; AIQ: the same under "
        "its upper hull. ParetoDist: mean distance of its points to the frontier of all curves and members here, axes "
        "scaled by the pool's range. Below the cost at which best single can be had, the cheapest member stands for it."
        + _rivals(results),
        *_chosen(results),
        *_pair(results),
        *_collapse(results),
    ]


def _rivals(results: Results) -> str:
    if results.pareto is None or not (names := results.pareto.router.rivals):
        return ""
    shown = [ROW_NAMES.get(name, name.removeprefix("member: ")) for name in names]
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    beside = "Beside the router on" if results.pareto.router.on_frontier > 0 else "On"
    return f" {beside} the frontier: {', '.join(map(escaped, shown[:6]))}{more}."


def _chosen(results: Results) -> list[str]:
    """PerfGain and CostSave, at lambdas chosen on validation."""
    factor, unit = cost_scale(results)
    lines = []
    if (most := results.perf_gain) is not None:
        ratio = "" if most.ratio is None else f", {percents(most.ratio)} of its reward"
        lines.append(
            f"PerfGain at {lambda_text(results, most.lambda_)}, which earned most on validation (by chance not "
            f"always 0): {gain_text(most.reward_gain)} over best single{ratio}."
        )
    found = results.cost_save
    if found is None:
        why = _why_none(results.chosen_on_validation)
        lines.append(f"CostSave, the cost saved at a reward shown to be kept: none, because {why}.")
        return [" ".join(lines)]
    text = (
        f"CostSave at {lambda_text(results, found.lambda_)}, the cheapest {_shown(results)}: "
        f"{_saves(found.cost_saved, factor, unit)}"
    )
    if found.value is None:
        text += f", but on test it earns less than best single: {gain_text(found.reward_gain)}, so nothing counts"
    elif found.ratio is not None:
        text += f", {percents(abs(found.ratio))} of its cost, and earns {gain_text(found.reward_gain)} beside it"
    return [" ".join([*lines, f"{text}."])]


def _above(chosen: Chosen) -> str:
    margin = chosen.same_reward_margin
    return f"above {f'-{significant(margin)}' if margin else '0'}"


def _shown(results: Results) -> str:
    """What is known on validation of the point that CostSave is read at."""
    chosen = results.chosen_on_validation
    gained = chosen.same_reward_difference
    if gained is None:  # of before it was chosen by its interval
        return "that reached best single's reward on validation"
    return f"whose gain over best single on validation, {gain_text(gained)}, has its interval {_above(chosen)}"


def _why_none(chosen: Chosen) -> str:
    if chosen.most_reward is None:
        return "validation had no complete prompt"
    return (
        "on the validation prompts the gain over best single at lambda = 0, where the search begins, has no interval "
        f"{_above(chosen)}"
    )


def _pair(results: Results) -> list[str]:
    found = results.pair
    if found is None:
        return []
    shares = {"50": found.cpt_50, "80": found.cpt_80}
    reached = "; ".join(
        f"{name}% of the gap takes {percent(share)} of calls" if share is not None
        else f"{name}% of the gap is never reached"
        for name, share in shares.items()
    )  # fmt: skip
    if found.apgr is None:
        return [
            f"Between the cheapest member ({escaped(found.weak)}) and best single ({escaped(found.strong)}) "
            "there is no gap on test to recover: APGR and CPT are null."
        ]
    return [
        f"Between the cheapest member ({escaped(found.weak)}) and best single ({escaped(found.strong)}) alone: "
        f"APGR {significant(found.apgr)} (at random .5); CPT: {reached} to best single."
    ]


def _collapse(results: Results) -> list[str]:
    """Does the router collapse onto the dearest member as the budget grows?"""
    dearest, evenness = numbers(results.decided.shares.dearest), numbers(results.decided.shares.evenness)
    if not len(dearest) or len(results.run.members) == 1:
        return []
    return [
        f"With cost no object (lambda = 0) {percent(float(dearest[0]))} of prompts go to the most expensive member; "
        f"evenness of the shares, entropy over its maximum, is {significant(float(evenness[0]))} (0: one member gets "
        "all)."
    ]


def economics_page(results: Results) -> list[str]:
    """What labels and router cost, and after how many prompts that is paid."""
    found = results.economics
    if found is None:
        return []
    factor, unit = cost_scale(results)
    each = unit.split(" per ")[0]
    own = found.router_per_prompt
    text = (
        f"Labels, the scored answers: the table's {found.responses:,} cost "
        f"{_total(found.labels_table, each, factor, unit)}; those "
        "of train and validation prompts, which a router needs, "
        f"{_total(found.labels_learnt_from, each, factor, unit)} (scoring them is not counted). "
    )
    text += (
        "What deciding a prompt costs is not counted: give `cost.router_per_prompt`. " if own is None
        else f"Deciding a prompt costs {significant(own * factor)} {unit}. "
    )  # fmt: skip
    return ["## When it pays", text + _break_even(found.break_even, factor, unit)]


def _saves(saved: Interval, factor: float, unit: str) -> str:
    """What is saved beside best single, with its interval; what it costs more where that is below 0."""
    mean, low, high = (number(end) * factor for end in (saved.mean, saved.low, saved.high))
    if mean >= 0:
        return f"it saves {spread_text(mean, low, high)} {unit}"
    return f"it costs {spread_text(-mean, -high, -low)} {unit} more"


def _total(value: float, each: str, factor: float, unit: str) -> str:
    """A sum of costs of prompts, in the unit of one."""
    per = {"thousand prompts": 1e-3, "million prompts": 1e-6}.get(unit.partition(" per ")[2], 1.0)
    return f"{significant(value * factor * per)} {each}"


def _break_even(found: BreakEven, factor: float, unit: str) -> str:
    at = {"same_reward": "the point chosen on validation to keep best single's reward", "policy": "the run's policy"}
    if found.prompts is not None:
        return (
            f"At {at[found.at]} it saves {significant(number(found.net_saving) * factor)} {unit} net: labels are "
            f"paid back after {found.prompts:,.0f} prompts, against best single."
        )
    return f"At {at[found.at]} labels are never paid back: the router {found.reason}."
