"""What was found, in a few lines of plain words: the head of the report, and what a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from erp.costs import fell_back
from erp.decisions.policy import ORDINAL_PRICE
from erp.errors import one_line
from erp.report.facts import Results, cost_scale, costs_differ, decides_at_zero, level_of, number, percent, policy_label
from erp.report.reading import reading_line
from erp.report.text import percents, significant, spread_text, told_apart
from erp.table.complete import DROPPED, lacking_text

NO_COMPLETE = "No test prompt has a reward of every member"


def plain_summary(results: Results) -> str:
    """What was found, in a few lines of plain words; the first answers whether a router is worth having."""
    if results["routing"] is None:
        lines = [f"Better than the best constant: not known. {NO_COMPLETE}.", _shared_line(results)]
    else:
        lines = [
            _verdict_line(results), _headroom_line(results) + _constant(results), _gain_line(results),
            _cost_line(results),
        ]  # fmt: skip
    reading = reading_line(results["data"].get("reading"), results["run"]["backbone"])
    fallen = fell_back(results["cost"]["notes"])
    lines += [_left_out_line(results), reading, f"{one_line(fallen)}." if fallen else ""]
    return "\n".join(line for line in lines if line)


def _shared_line(results: Results) -> str:
    """What is known of the router where no test prompt has a reward of every member."""
    name = results["overlaps"]["best_single"]
    row = results["overlaps"]["members"][name]
    single = f"best single ({one_line(name)}, by means on train prompts that are not the same for all)"
    if row["weighted"]["mean"] is None:
        return f"Its gain over {single} is not known either: they share too few test prompts."
    return (
        f"On {row['shared']:,} test prompts that have both rewards, weighted to all {results['data']['test']:,}, its "
        f"gain over {single} is {_judged(row['weighted'])}; that takes rewards to be missing at random."
    )


def _verdict_line(results: Results) -> str:
    """Better than the best constant at equal cost: yes, no or undecided."""
    point = results["equal_cost"]["policy"]
    where = " at equal cost" if costs_differ(results) else ""
    difference = _judged(point["difference"]).replace(", no difference can be told", "")
    return (
        f"Better than the best constant{where}: {point['verdict']}. "
        f"Its reward less that of {mixture(point['constant'])}: {difference}."
    )


def mixture(weights: Mapping[str, float]) -> str:
    """A constant in words: one member, or two with the share of prompts that each gets."""
    if len(weights) == 1:
        return one_line(next(iter(weights)))
    return " / ".join(f"{percent(share)} {one_line(name)}" for name, share in weights.items())


def _constant(results: Results) -> str:
    """What must be said of a router that does not route."""
    member = results["routing"]["router"].get("constant_member")
    if member is None or len(results["run"]["members"]) == 1:
        return ""
    return f" It sends every test prompt to {one_line(member)}: here it is a constant, not a router."


def _headroom_line(results: Results) -> str:
    routing, router = results["routing"], one_line(results["run"]["router"])
    single = f"best single ({one_line(routing['best_single'].get('member', '?'))})"
    recovered, spread = routing["router"]["headroom_recovered"], routing["router"]["headroom_interval"]
    if recovered is None or spread is None:
        return _nothing_to_route(results, single)
    low, high = number(spread["low"]), number(spread["high"])
    interval = f"{level_of(results)} interval {percents(low, high)}"
    text = f"{percents(recovered)} ({interval}) of the headroom between {single} and oracle"
    if recovered == low == high == 0:
        return (
            f"{router} recovers nothing of the headroom between {single} and oracle: it earns the same as best single."
        )
    if low > 0:
        return f"{router} recovers {text}."
    if high < 0:
        return f"{router} loses to best single: it recovers {text}."
    return f"{router} recovers {text}: the interval holds 0, so no difference from best single can be told."


def _nothing_to_route(results: Results, single: str) -> str:
    gain = results["routing"]["oracle"]["gain_vs_best_single"]
    mean, low, high = (number(gain[key]) for key in ("mean", "low", "high"))
    if len(results["run"]["members"]) == 1:
        return "There is nothing to route here: the pool has one member."
    if mean == 0:
        return f"There is nothing to route here: on no test prompt does any member earn more than {single}."
    if math.isnan(low):
        return f"How much there is to route cannot be told: the oracle's gain over {single} has no interval."
    return (
        f"Whether there is anything to route cannot be told from {results['data']['test']:,} test prompts: the "
        f"oracle's gain over {single} is {spread_text(mean, low, high)}, and its {level_of(results)} interval holds 0."
    )


def _gain_line(results: Results) -> str:
    routing = results["routing"]
    single = routing["router"]["gain_vs_best_single"]
    text = f"Its gain over best single is {_judged(single)}"
    category = routing["gain_vs_category_mean"]
    if category is None or results["run"]["router"] == "category_mean":
        return f"{text}."
    return f"{text}; over category mean {_judged(category)}."


def _left_out_line(results: Results) -> str:
    """Whom a pool lost, and whose missing rewards cost test prompts: on those not all members can be compared."""
    data = results["data"]
    lines = [one_line(note) for note in data["notes"] if note.startswith(DROPPED)]
    if data["excluded"] and data.get("lacking"):
        remedy = "" if 2 * data["excluded"] < data["test"] else "; pool.complete=auto leaves out whoever breaks most"
        lines.append(
            f"{data['excluded']:,} of {data['test']:,} test prompts lack a reward of some member, so that not all are "
            "compared on them: "
            f"{lacking_text(data['lacking'], data['test'])}{remedy}"
        )
    return "\n".join(f"{line}." for line in lines)


def _judged(gain: Mapping[str, float | None]) -> str:
    """A gain with its interval, and what may be said of it."""
    mean, low, high = (number(gain[key]) for key in ("mean", "low", "high"))
    if mean == low == high == 0:
        return "exactly 0"
    if math.isnan(low) or math.isnan(high):
        return f"{mean:.3g} (no interval: too few groups of prompts)"
    verdict = ", a loss" if high < 0 else ", no difference can be told" if low <= 0 else ""
    return f"{spread_text(mean, low, high)}{verdict}"


def _cost_line(results: Results) -> str:
    if not costs_differ(results):
        return ""
    router, single, policy = results["routing"]["router"], results["routing"]["best_single"], results["policy"]
    factor, unit = cost_scale(results)
    dear = significant(number(single["cost"]) * factor)
    if decides_at_zero(results):
        return f"It costs {significant(number(router['cost']) * factor)} {unit}, best single {dear}."
    rival, gain = one_line(policy["best_single_member"]), policy["utility_gain_vs_best_single"]
    at, of = (" at this lambda", " in reward - lambda * cost") if policy["lambda"] != 0 else ("", " in reward")
    own, best = told_apart(number(policy["reward"]), number(policy["best_single_reward"]))
    text = (
        f"Its policy ({policy_label(results)}) earns {own} at "
        f"{significant(number(policy['cost']) * factor)} {unit}; the best single{at} ({rival}) earns "
        f"{best} at {significant(number(policy['best_single_cost']) * factor)}"
    )
    note = f" But {ORDINAL_PRICE}." if ORDINAL_PRICE in policy["notes"] else ""
    return (f"{text}." if gain is None else f"{text}: a gain of {_judged(gain)}{of}.") + note
