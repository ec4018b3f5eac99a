"""A run in words and tables: the report, and the three lines a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from erp.report.facts import (
    ROW_NAMES,
    Results,
    cost_scale,
    costs_differ,
    level_of,
    number,
    one_line,
    percent,
    predicted_members,
    routing_members,
)
from erp.report.text import escaped, gain_text, lambda_text, percents, significant, spread_text, table

CAPTIONS = {
    "reward_cost": "Reward against cost, and gains over best single at lambda = 0",
    "predicted_vs_observed": "Observed reward against predicted reward, member by member",
    "route_shares": "Which members the router sends prompts to",
}


def plain_summary(results: Results) -> str:
    """What was found, in at most three lines of plain words."""
    lines = [_headroom_line(results) + _constant(results), _gain_line(results), _cost_line(results)]
    return "\n".join(line for line in lines if line)


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
    if policy["lambda"] == 0:
        return f"It costs {significant(number(router['cost']) * factor)} {unit}, best single {dear}."
    rival, gain = one_line(policy["best_single_member"]), policy["utility_gain_vs_best_single"]
    text = (
        f"Its policy (lambda = {lambda_text(policy['lambda'])}) earns {significant(policy['reward'])} at "
        f"{significant(number(policy['cost']) * factor)} {unit}; the best single at this lambda ({rival}) earns "
        f"{significant(policy['best_single_reward'])} at {significant(number(policy['best_single_cost']) * factor)}"
    )
    return f"{text}." if gain is None else f"{text}: a gain of {_judged(gain)} in reward - lambda * cost."


def render(results: Results, figures: Sequence[str]) -> str:
    """The report of a run.

    Args:
        results: the content of ``results.json``.
        figures: image files as the report should link them.
    """
    run, by_stem = results["run"], {PurePosixPath(figure).stem: figure for figure in figures}
    first = by_stem.pop("reward_cost", None)
    parts = [
        f"# {escaped(run['router'])} on {escaped(run['table'])}",
        *plain_summary(results).splitlines(),
        f"Router `{run['router']}`, backbone `{run['backbone']}`, reward model `{run['reward_model']}`, "
        f"{results['data']['members']} members, {results['data']['test']:,} test prompts.",
        *([_image("reward_cost", first)] if first else []),
        "## At lambda = 0, on test prompts",
        _rows_table(results),
        *_rows_notes(results),
        "## Members",
        _members_table(results),
        "## Predicted rewards",
        *_prediction(results),
    ]
    for stem, figure in by_stem.items():
        parts.append(_image(stem, figure))
        left_out = predicted_members(results)[1] if stem == "predicted_vs_observed" else []
        if left_out:
            parts.append("Members not drawn, because the router chooses others more often: " + _names(left_out) + ".")
    return "\n\n".join([*parts, *_data(results), *_method(results)]) + "\n"


def _rows_table(results: Results) -> str:
    routing, policy = results["routing"], results["policy"]
    factor, _ = cost_scale(results)
    rows = []
    for key in ("random", "best_single", "best_single_hindsight", "category_mean", "router", "oracle"):
        row = routing[key]
        if row is None:
            continue
        name = f"**{escaped(results['run']['router'])}** (the router)" if key == "router" else ROW_NAMES[key]
        name += f" ({escaped(row['member'])})" if "member" in row else ""
        spread = row["headroom_interval"]
        share = "-" if row["headroom_recovered"] is None else percents(row["headroom_recovered"])
        if spread is not None and key not in ("best_single", "oracle"):  # theirs are 0 and 1 by definition
            share += f" ({percents(number(spread['low']), number(spread['high']))})"
        gain = "-" if key == "best_single" else gain_text(row["gain_vs_best_single"])
        rows.append([name, significant(row["reward"]), significant(number(row["cost"]) * factor), gain, share])
    rows.append(
        [f"the run's policy, lambda = {lambda_text(policy['lambda'])}", significant(policy["reward"]),
         significant(number(policy["cost"]) * factor), gain_text(policy["gain_vs_best_single"]), "-"]
    )  # fmt: skip
    level = level_of(results)
    header = [
        "Row",
        "Reward",
        _cost_header(results),
        f"Gain over best single ({level})",
        f"Headroom recovered ({level})",
    ]
    return table(header, rows)


def _cost_header(results: Results) -> str:
    return "Cost" if results["cost"]["kind"] == "none" else f"Cost ({cost_scale(results)[1]})"


def _rows_notes(results: Results) -> list[str]:
    """What a reader of the rows has to know."""
    routing = results["routing"]
    notes = [
        "Best single is chosen on train prompts and scored on test; in hindsight it is chosen on test, "
        "which no one can. The oracle takes the best observed reward of every prompt and so counts luck as skill: "
        "the headroom is overstated, and the share recovered understated."
    ]
    halves = results["oracle_split_half"]
    if halves is None:
        notes[0] += " By how much is not identifiable at K=1."
    else:
        notes[0] += (
            f" An oracle that chooses on one half of the samples and is scored on the other earns "
            f"{significant(halves['reward'])}: too low, so the truth lies between the two."
        )
    if routing["router"]["headroom_recovered"] is None:
        notes.append("No share of the headroom is given: " + plain_summary(results).splitlines()[0])
    other = results["policy"].get("best_single_member")
    if other is not None and other != routing["best_single"].get("member"):
        notes.append(f"The policy's gain is over the best single at its own lambda, {escaped(other)}.")
    if routing["gain_vs_category_mean"] is not None and results["run"]["router"] != "category_mean":
        notes.append(f"Router less category mean: {gain_text(routing['gain_vs_category_mean'])}.")
    audc = {key: value for key, value in results["audc"].items() if value is not None}
    if audc:
        listed = ", ".join(f"{ROW_NAMES.get(key, key)} {significant(value)}" for key, value in audc.items())
        notes.append(f"Area under the curve, as a mean reward over the pool's range of costs: {listed}.")
    if results["regret"] is not None:
        notes.append(
            f"Regret at lambda = 0, the mean reward lost against the oracle: {significant(results['regret'])}."
        )
    return notes


def _members_table(results: Results) -> str:
    factor, _ = cost_scale(results)
    header = [
        "Member",
        "Reward",
        _cost_header(results),
        f"Gain over best single ({level_of(results)})",
        "Router sends there",
    ]
    single = results["routing"]["best_single"].get("member")
    return table(
        header,
        [
            [escaped(name), significant(row["reward"]), significant(number(row["cost"]) * factor),
             "- (best single)" if name == single else gain_text(row["gain_vs_best_single"]),
             percent(number(row["share"]), 1)]
            for name, row in routing_members(results)
        ],
    )  # fmt: skip


def _prediction(results: Results) -> list[str]:
    prediction, lines = results["prediction"], []
    if results["run"]["scale"] == "reward":
        one_sample = results["data"]["samples_per_cell"][1] == 1
        rows = []
        for name, _ in routing_members(results):
            row = prediction["members"][name]
            ceiling = "not identifiable at K=1" if one_sample else significant(row["r2_ceiling"])
            rows.append([escaped(name), significant(row["r2"]), ceiling, significant(row["rmse"])])
        rows.append(["pooled, about each member's mean", significant(prediction["r2_pooled"]), "", ""])
        lines.append(table(["Member", "R^2", "R^2 of a perfect predictor", "RMSE"], rows))
    else:
        lines.append("The router's scores are ordinal, not rewards: R^2 and RMSE have no meaning for them.")
    pairs, top = prediction["pairwise_order_accuracy"], prediction["top1_accuracy"]
    by_constant = significant(prediction["pairwise_order_accuracy_constant"])
    lines.append(
        f"Of two members' rewards that differ on a prompt, the router orders {significant(pairs)} rightly; the "
        f"members' order on train, the same for every prompt, {by_constant}. "
        f"Its first choice is a best observed member on {significant(top)} of prompts; best single is on "
        f"{significant(prediction['top1_accuracy_constant'])}."
    )
    return lines


def _data(results: Results) -> list[str]:
    data, cost = results["data"], results["cost"]
    low, high = data["samples_per_cell"]
    lines = [
        f"- {data['prompts']:,} prompts, {data['members']} members, samples per cell K = "
        + (f"{low}" if low == high else f"{low} to {high}"),
        f"- {data['train']:,} train, {data['validation']:,} validation, {data['test']:,} test prompts "
        f"(split seed {results['run']['split_seed']})",
        f"- {data['excluded']:,} test prompts lack the reward of some member and are left out of every routing row",
        f"- {data['categories']} categories" if data["categories"] else "- no categories",
        "- costs: " + ("none, every member is free" if cost["kind"] == "none" else f"{cost['kind']}, {cost['unit']}"),
        *[f"- {one_line(note)}" for note in [*data["notes"], *cost["notes"]]],
    ]
    return ["## Data", "\n".join(lines)]


def _method(results: Results) -> list[str]:
    run = results["run"]
    chosen = ", ".join(f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
                       for key, value in (run.get("chosen") or {}).items())  # fmt: skip
    text = (
        f"Prompts were split by {run['split_by']} (`split.by`); those of equal text are never parted. "
        "The router was fitted on train, "
        + (
            f"what had to be chosen ({chosen}) was chosen on validation, "
            if chosen
            else "choices were made on validation, "
        )
        + "and test was read once. Gains are paired by prompt; their intervals are from a bootstrap over groups of "
        f"prompts, {level_of(results)}. Validation {results['objective']['name']}: "
        f"{significant(results['objective']['value'])}. It took {number(run['seconds']):.1f} s."
    )
    command = f"The run folder is `{run['name']}`. To repeat the run:\n\n    erp train config=<run folder>/config.yaml"
    return ["## How this was measured", text, command]


def _image(stem: str, figure: str) -> str:
    return f"![{CAPTIONS.get(stem, stem)}]({figure})"


def _names(names: Sequence[str]) -> str:
    return ", ".join(escaped(name) for name in names)
