"""Every row at lambda = 0, the best constants at equal cost, and the members."""

from __future__ import annotations

from collections.abc import Sequence

from erp.decisions.policy import MOST
from erp.report.facts import (
    ROW_NAMES,
    cost_header,
    cost_scale,
    lambda_text,
    level_of,
    one_sample,
    percent,
    policy_label,
    routing_members,
)
from erp.report.summary import headroom_line, mixture
from erp.report.text import escaped, gain_text, percents, significant, table
from erp.results import Results, number
from erp.results.policy import Budget
from erp.results.routing import CascadeRow, SingleRow

POINTS = {
    "lambda_0": "lambda = 0",
    "policy": "the run's policy",
    "most_reward": "most reward on validation",
    "same_reward": "no less than best single, shown on validation, at least cost",
}


def equal_cost_page(results: Results) -> list[str]:
    """The router against what needs no router: the best constant at what the router spends."""
    factor, _ = cost_scale(results)
    rows = []
    for key, name in POINTS.items():
        point = results.decided.equal_cost.points.get(key)
        at = _where(results, key)
        if point is None or (key != "lambda_0" and at == "lambda = 0"):  # the first row is there already
            continue
        rows.append(
            [name if key == "lambda_0" else f"{name}, {escaped(at)}", significant(point.reward),
             significant(number(point.cost) * factor), escaped(mixture(point.constant)),
             significant(point.constant_reward), gain_text(point.difference), point.verdict]
        )  # fmt: skip
    header = [
        "Router at", "Reward", cost_header(results), "Best constant at this cost", "Its reward",
        f"Difference ({level_of(results)})", "Better?",
    ]  # fmt: skip
    text = (
        "A constant does not look at the prompt: it always chooses one member, or one of two at fixed odds. Any cost "
        "between two members' can be had that way, so this is what a router has to beat. Of all constants at the "
        "router's cost, the one that is best by rewards on train stands beside it (in hindsight there may be a better "
        "one). `yes`: the whole interval is above 0; `no`: none of it is; else `undecided`."
    )
    return ["## Against the best constant at equal cost", table(header, rows), text, *_promise(results)]


def _where(results: Results, key: str) -> str:
    if key == "policy":
        return policy_label(results)
    chosen = results.chosen_on_validation
    lambdas = {"lambda_0": 0.0, "most_reward": chosen.most_reward, "same_reward": chosen.same_reward}
    return lambda_text(results, lambdas[key])


def _promise(results: Results) -> list[str]:
    """What a policy promised, and what it kept on test."""
    policy, (factor, unit) = results.decided.policy, cost_scale(results)
    found = policy.promise
    lines = [f"{escaped(note)[:1].upper()}{escaped(note)[1:]}." for note in policy.notes]
    if isinstance(found, Budget):
        budget, guess, spent = (significant(cost * factor) for cost in (found.budget, found.predicted, found.realised))
        lines.append(f"The policy's budget is {budget} {unit}; on test prompts it predicts {guess} and spends {spent}.")
    elif found is not None:
        lines.append(
            f"The policy promises that at most {percent(number(found.alpha), 1)} of prompts lose more than it "
            f"tolerates against {escaped(found.reference)}; of {found.prompts:,} test prompts "
            f"{percent(number(found.lost), 1)} did ({level_of(results)} interval "
            f"{percents(number(found.low), number(found.high))}): {found.verdict}."
        )
    return [" ".join(lines)] if lines else []


def rows_page(results: Results) -> list[str]:
    """The router and its references at lambda = 0."""
    return ["## At lambda = 0 (cost ignored), on test prompts", _rows_table(results), *_rows_notes(results)]


def _rows_table(results: Results) -> str:
    routing, policy = results.decided.routing, results.decided.policy
    factor, _ = cost_scale(results)
    rows = []
    for key in (key for key in ROW_NAMES if key in routing.rows):
        row = routing.rows[key]
        name = f"**{escaped(results.run.router)}** (the router)" if key == "router" else ROW_NAMES[key]
        name += f" ({escaped(row.member)})" if isinstance(row, SingleRow) else ""
        name += f" ({_chain(row.chain)})" if isinstance(row, CascadeRow) else ""
        name += ", at K=1: no router's equal" if key in ("sample_all", "cascade") and one_sample(results) else ""
        gain = "-" if key == "best_single" else gain_text(row.gain_vs_best_single)
        rows.append(
            [name, significant(row.reward), significant(number(row.cost) * factor), gain,
             _share(results, key, "headroom"), _share(results, key, "headroom_split_half")]
        )  # fmt: skip
    rows.append(
        [f"the run's policy, {escaped(policy_label(results))}", significant(policy.reward),
         significant(number(policy.cost) * factor), gain_text(policy.gain_vs_best_single), "-", "-"]
    )  # fmt: skip
    level = level_of(results)
    header = [
        "Row", "Reward", cost_header(results), f"Gain over best single ({level})", f"Headroom recovered ({level})",
        "Of the split-half headroom",
    ]  # fmt: skip
    if results.oracle_split_half is None:
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows)


def _chain(members: Sequence[str]) -> str:
    """Who is asked in turn, as long as a cell has room for it."""
    return escaped(" -> ".join(members)) if len(members) <= 2 else f"{len(members)} members"


def _share(results: Results, key: str, headroom: str) -> str:
    row = results.decided.routing.rows[key]
    share, spread = (
        (row.headroom_recovered, row.headroom_interval)
        if headroom == "headroom"
        else (row.headroom_split_half_recovered, row.headroom_split_half_interval)
    )
    if share is None:
        return "-"
    known = key == "best_single" or (key == "oracle" and headroom == "headroom")  # 0 and 1 by definition
    if spread is None or known:
        return percents(share)
    return f"{percents(share)} ({percents(number(spread.low), number(spread.high))})"


def _rows_notes(results: Results) -> list[str]:
    """What a reader of the rows has to know."""
    routing = results.decided.routing
    notes = [
        "Best single is chosen on train prompts and scored on test; in hindsight it is chosen on test, "
        "which no one can. The oracle takes the best observed reward of every prompt and so counts luck as skill: "
        "the headroom, its gain over best single, is overstated, and the share recovered understated."
    ]
    halves = results.oracle_split_half
    if halves is None:
        why = results.noise.reason or f"not known for this target, {results.run.target}"
        notes[0] += f" By how much is {why}."
    else:
        notes[0] += (
            f" An oracle that chooses on one half of the samples and is scored on the other earns "
            f"{significant(halves.reward)}: too low, since it chooses by half of what is known. The truth lies "
            "between the two."
            if halves.prompts == results.data.test - results.data.excluded
            else f" On the {halves.prompts:,} prompts with two samples of every member that oracle earns "
            f"{significant(halves.oracle)}, and one that chooses on one half of the samples and is scored on the "
            f"other {significant(halves.reward)}: too low."
        )
        if routing.router.headroom_split_half_recovered is None:
            notes[0] += " Its headroom's interval holds 0, so no share of it is given."
    if routing.router.headroom_recovered is None:
        notes.append("No share of the headroom is given: " + escaped(headroom_line(results)))
    if results.noise.doubt:
        notes.append(f"The split-half oracle is {escaped(results.noise.doubt)}.")
    notes += _sampled_notes(results)
    other = results.decided.policy.best_single_member
    if other != routing.best_single.member:
        notes.append(f"The policy's gain is over the best single at its own lambda, {escaped(other)}.")
    if routing.gain_vs_category_mean is not None and results.run.router != "category_mean":
        notes.append(f"Router minus category mean: {gain_text(routing.gain_vs_category_mean)}.")
    notes.append(
        f"Regret at lambda = 0, the mean reward lost against the oracle: {significant(results.decided.regret)}."
    )
    return notes + _tests(results)


def _sampled_notes(results: Results) -> list[str]:
    """Why predict and not score?"""
    routing, notes = results.decided.routing, []
    if routing.sample_all is not None:
        text = (
            "Why predict and not score? *Sample all* asks every member once and keeps the answer that the reward model "
            "likes best; its cost is that of all of them, without the reward model's own"
        )
        text += (
            "; at K=1 its reward is the oracle's." if one_sample(results)
            else ". It sees the rewards of the answers themselves, so it may pass the oracle, which only chooses "
            "members; so may *Cascade*."
        )  # fmt: skip
        if routing.cascade is not None:
            chain, threshold = routing.cascade.chain, number(routing.cascade.threshold)
            first = f"reward of {significant(threshold)} or more" if abs(threshold) < MOST else "answer"
            stops = "never stops before the last" if threshold == MOST else f"stops at the first {first}"
            text += (
                f" *Cascade* asks in turn {escaped(', '.join(chain))} and {stops}; members and "
                "threshold were chosen on validation, at no more than the router's cost there."
            )
            if one_sample(results):
                text += (
                    " At K=1 it stops at the very answers that the oracle chooses by: where it asks until the best one "
                    "its reward is the oracle's too. Both rows are bounds here, not routers."
                )
        notes.append(text)
    return notes


def _tests(results: Results) -> list[str]:
    router = results.decided.routing.router
    if router.p_vs_best_single is None:
        return []
    text = f"Two-sided p of no difference from best single: {significant(router.p_vs_best_single)} (bootstrap"
    if router.mcnemar_vs_best_single is not None:
        text += f"; McNemar's exact test {significant(router.mcnemar_vs_best_single)}"
    return [f"{text}), for this router alone; `erp compare` corrects for many."]


def members_page(results: Results) -> list[str]:
    """Every member as a constant, and how often the router sends a prompt to it."""
    factor, _ = cost_scale(results)
    header = [
        "Member", "Reward", cost_header(results), f"Gain over best single ({level_of(results)})", "Router sends there",
    ]  # fmt: skip
    single = results.decided.routing.best_single.member
    rows = [
        [escaped(name), significant(row.reward), significant(number(row.cost) * factor),
         "- (best single)" if name == single else gain_text(row.gain_vs_best_single),
         percent(number(row.share), 1)]
        for name, row in routing_members(results)
    ]  # fmt: skip
    return ["## Members", table(header, rows)]
