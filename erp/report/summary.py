"""What was found, in a few lines of plain words: the head of the report, and what a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from erp.decisions.policy import ORDINAL_PRICE
from erp.errors import one_line
from erp.report.drift import drift_text
from erp.report.facts import cost_scale, decides_at_zero, level_of, percent, policy_label
from erp.report.reading import reading_line
from erp.report.text import gain_text, percents, significant, spread_text, told_apart
from erp.results import Results, number
from erp.results.base import Interval
from erp.results.routing import Row
from erp.table.complete import DROPPED, lacking_text

NO_COMPLETE = "No test prompt has a reward of every member"


def plain_summary(results: Results) -> str:
    """What was found, in a few lines of plain words; the first answers whether a router is worth having."""
    if results.routing is None:
        lines = [f"Better than the best constant: not known. {NO_COMPLETE}.", _shared_line(results)]
    else:
        lines = [
            _verdict_line(results), _single_line(results), _category_line(results),
            headroom_line(results) + _constant(results), _policy_line(results),
        ]  # fmt: skip
    reading = reading_line(results.data.reading, results.run.backbone)
    fallen = results.cost.fell_back
    lines += [_drift_line(results), _left_out_line(results), reading, f"{one_line(fallen)}." if fallen else ""]
    return "\n".join(line for line in lines if line)


def _shared_line(results: Results) -> str:
    """What is known of the router where no test prompt has a reward of every member."""
    overlaps = results.overlaps
    if overlaps is None or overlaps.best_single is None:
        return ""
    name, row = overlaps.best_single, overlaps.members[overlaps.best_single]
    single = f"the best single model ({one_line(name)}, by means on train prompts that are not the same for all)"
    if row.weighted is None or row.weighted.mean is None:
        return f"Its gain over {single} is not known either: they share too few test prompts."
    return (
        f"Against {single}: reward {_judged(results, row.weighted)}, from the {row.shared:,} test prompts that "
        f"have both rewards, weighted to all {results.data.test:,}; that takes rewards to be missing at random."
    )


def _verdict_line(results: Results) -> str:
    """Better than the best constant at equal cost: yes, no or undecided."""
    point = results.decided.equal_cost.policy
    where = " at equal cost" if results.cost.differ else ""
    return (
        f"Better than the best constant{where}: {point.verdict}. Reward "
        f"{_gain(results, point.difference)} over {_blindly(point.constant)}."
    )


def _blindly(weights: Mapping[str, float]) -> str:
    """A constant as what it does."""
    if len(weights) == 1:
        return f"always choosing {mixture(weights)}"
    return f"choosing blindly at the best odds on train: {mixture(weights)}"


def mixture(weights: Mapping[str, float]) -> str:
    """A constant in words: one member, or two with the share of prompts that each gets."""
    if len(weights) == 1:
        return one_line(next(iter(weights)))
    return ", ".join(f"{percent(share)} {one_line(name)}" for name, share in weights.items())


def _constant(results: Results) -> str:
    """What must be said of a router that does not route."""
    member = results.decided.routing.router.constant_member
    if member is None or len(results.run.members) == 1:
        return ""
    return f" It sends every test prompt to {one_line(member)}: here it is a constant, not a router."


def headroom_line(results: Results) -> str:
    """How much of what there is to gain is gained."""
    routing, router = results.decided.routing, one_line(results.run.router)
    recovered, spread = routing.router.headroom_recovered, routing.router.headroom_interval
    if recovered is None or spread is None:
        return _nothing_to_route(results, f"the best single model ({_single(results)})")
    low, high = number(spread.low), number(spread.high)
    share = "none" if recovered == low == high == 0 else f"{percents(recovered)} ({_ci(results)} {percents(low, high)})"
    gap = significant(routing.oracle.reward - routing.best_single.reward)
    return (
        f"Headroom: choosing the best model for every prompt in hindsight (the oracle) would gain {gap} over the best "
        f"single model; {router} gains {share} of that."
    )


def _nothing_to_route(results: Results, single: str) -> str:
    gain = results.decided.routing.oracle.gain_vs_best_single
    mean, low = number(gain.mean), number(gain.low)
    if len(results.run.members) == 1:
        return "There is nothing to route here: the pool has one member."
    if mean == 0:
        return f"There is nothing to route here: on no test prompt does any member earn more than {single}."
    if math.isnan(low):
        return f"How much there is to route is not known: the oracle's gain over {single} has no interval."
    return (
        f"{results.data.test:,} test prompts do not show whether there is anything to route: the oracle's gain "
        f"over {single} is {_judged(results, gain)}."
    )


def _single(results: Results) -> str:
    return one_line(results.decided.routing.best_single.member)


def _single_line(results: Results) -> str:
    """Reward and cost beside the best single member, at lambda = 0."""
    routing = results.decided.routing
    at = "" if decides_at_zero(results) else " at lambda = 0"
    rival = f"the best single model ({_single(results)}){at}"
    return _against(results, rival, routing.router.gain_vs_best_single, routing.best_single)


def _against(results: Results, rival: str, gain: Interval, row: Row) -> str:
    """What the router earns and spends at lambda = 0 beside another row."""
    text = f"Against {rival}: reward {_judged(results, gain)}"
    if not results.cost.differ:
        return f"{text}."
    factor, unit = cost_scale(results)
    own, other = (each.cost * factor for each in (results.decided.routing.router, row))
    return f"{text}; cost {significant(own)} instead of {significant(other)} {unit}{_share_saved(own, other)}."


def headline(results: Results) -> str:
    """The same on one short line, the cost first: what the curve's figure is headed by."""
    row, single = results.decided.routing.router, results.decided.routing.best_single
    saved = _share_saved(row.cost, single.cost).removeprefix(", ")
    cost = f"{saved} cost than" if saved else "The cost of"
    return f"{cost} best single, reward {gain_text(row.gain_vs_best_single)}"


def _share_saved(own: float, other: float) -> str:
    """``, 28% less``; nothing where it is the same, or there is nothing to save."""
    if other <= 0 or own == other:
        return ""
    less = 1 - own / other
    return f", {percents(abs(less))} {'less' if less > 0 else 'more'}"


def _category_line(results: Results) -> str:
    routing = results.decided.routing
    mean, gain = routing.category_mean, routing.gain_vs_category_mean
    if mean is None or gain is None or results.run.router == "category_mean":
        return ""
    rival = "the best model of each prompt's category (category mean)"
    return _against(results, rival, gain, mean)


def _drift_line(results: Results) -> str:
    """What another encoder changes, where the router was asked with one."""
    return "" if results.drift is None else drift_text(results.drift, results.level, results.cost.unit)


def _left_out_line(results: Results) -> str:
    """Whom a pool lost, and whose missing rewards cost test prompts: on those not all members can be compared."""
    data = results.data
    lines = [one_line(note) for note in data.notes if note.startswith(DROPPED)]
    if data.excluded and data.lacking:
        remedy = "" if 2 * data.excluded < data.test else "; pool.complete=auto leaves out those who lack most"
        lines.append(
            f"{data.excluded:,} of {data.test:,} test prompts lack a reward of some member, so that not all are "
            "compared on them: "
            f"{lacking_text(data.lacking, data.test)}{remedy}"
        )
    return "\n".join(f"{line}." for line in lines)


def _ci(results: Results) -> str:
    return f"{level_of(results)} CI"


def _gain(results: Results, gain: Interval) -> str:
    """A gain with its interval: ``+0.045 (95% CI 0.019 to 0.071)``."""
    mean, low, high = map(number, (gain.mean, gain.low, gain.high))
    if mean == low == high == 0:
        return "0 (exactly the same)"
    if math.isnan(low) or math.isnan(high):
        return f"{mean:+.3g} (no interval: too few groups of prompts)"
    estimate, _, interval = spread_text(mean, low, high).partition(" (")
    return f"{'+' if mean > 0 else ''}{estimate} ({_ci(results)} {interval}"


def _judged(results: Results, gain: Interval) -> str:
    """A gain with its interval, and what may be said of it."""
    low, high = number(gain.low), number(gain.high)
    if low == high == 0 or math.isnan(low) or math.isnan(high):
        return _gain(results, gain)
    said = "better" if low > 0 else "worse" if high < 0 else "no significant difference"
    return f"{_gain(results, gain)}, {said}"


def _policy_line(results: Results) -> str:
    """What the run's own policy earns and spends, where that is another choice than at lambda = 0."""
    if not results.cost.differ or decides_at_zero(results):
        return ""
    policy = results.decided.policy
    factor, unit = cost_scale(results)
    rival, gain = one_line(policy.best_single_member), policy.utility_gain_vs_best_single
    at, of = (" at this lambda", " in reward - lambda * cost") if policy.lambda_ != 0 else ("", " in reward")
    own, best = told_apart(policy.reward, policy.best_single_reward)
    text = (
        f"Its policy ({policy_label(results)}) earns {own} at "
        f"{significant(policy.cost * factor)} {unit}; the best single model{at} ({rival}) earns "
        f"{best} at {significant(policy.best_single_cost * factor)}"
    )
    note = f" But {ORDINAL_PRICE}." if ORDINAL_PRICE in policy.notes else ""
    return (f"{text}." if gain is None else f"{text}: {_judged(results, gain)}{of}.") + note
