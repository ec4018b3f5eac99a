"""Several runs side by side: tables and figures of the runs, and of the differences between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from erp.files import jsonable
from erp.report.curves import along, curve_points, y_limits
from erp.report.facts import Results, cost_scale, costs_differ, number, one_line, shortened
from erp.report.gains import GainRow, gain_row, gain_strip
from erp.report.pairs import MOST_ALL_PAIRS, Pairs
from erp.report.style import (
    BLACK,
    COLOURS,
    GREY,
    PALETTE,
    Label,
    canvas,
    cost_axis,
    freeze,
    nice_ticks,
    place_labels,
    title,
)
from erp.report.text import escaped, gain_text, significant, table

Floats = NDArray[np.float64]
Runs = Sequence[tuple[str, Results]]
MOST_PANELS = 24  # of one figure; what is left out is said in it
MOST_STRIPS = 40  # contenders of one panel of the figure of differences
# Columns that say what a run is. Where all runs agree, they are said once, above the table.
FACTS = ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed", "test_prompts", "lambda")

CONTENDERS_TEXT = (
    "A contender is a router with its settings; its runs differ in seed and split seed alone. `gain` is its reward at "
    "lambda = 0 on test prompts less that of the best single member, chosen on train, over all its runs; in brackets "
    "the {level} interval, from a paired bootstrap over groups of prompts: what other prompts might have given, with "
    "these splits and seeds. `sd over splits` is the standard deviation of the gain from one split seed to the next, "
    "`sd over seeds` that from one seed to the next on the same split. Neither is in the interval, nor in any p."
)
PAIRS_TEXT = (
    "Rows are pairs of rewards of the same prompt, split seed and seed; where a contender has a single seed on a "
    "split, it stands beside every seed of the other. Brackets: {level} interval, each for itself, from the same "
    "bootstrap ({draws} draws of groups of prompts). `p`: two-sided, from the same draws, Holm-corrected over all "
    "differences of the table. `verdict`: the first is better or worse where p is at most {alpha}; above, it cannot be "
    "told which is better. McNemar's exact p, for rewards of 0 and 1, is not corrected."
)


def compare(results: Runs) -> pd.DataFrame:
    """One row per run: what it is, and what it gained at lambda = 0 on its test prompts.

    Args:
        results: run folder and content of ``results.json``, for every run.

    Returns:
        Sorted by table, reward model and pool, then by gain over best single, the largest first. Missing values are
        NaN. ``table`` to ``lambda`` say what the run is; ``gain`` and ``gain_vs_category_mean`` have ``_low`` and
        ``_high`` beside them.
    """
    frame = pd.DataFrame([_row(folder, run) for folder, run in results])
    by, ascending = ["table", "reward_model", "members", "gain", "run"], [True, True, True, False, True]
    return frame.sort_values(by, ascending=ascending, kind="stable", ignore_index=True)


def _row(folder: str, results: Results) -> dict[str, Any]:
    run, routing = results["run"], results["routing"]
    category = routing["gain_vs_category_mean"] or {}
    gain = routing["router"]["gain_vs_best_single"]
    return {
        "run": Path(folder).name,
        "table": run["table"],
        "reward_model": run["reward_model"],
        "members": len(run["members"]),
        "backbone": run["backbone"],
        "router": run["router"],
        "split_seed": run["split_seed"],
        "seed": run["seed"],
        "lambda": math.inf if run["lambda"] is None else number(run["lambda"]),
        "test_prompts": results["data"]["test"],
        "reward": number(routing["router"]["reward"]),
        "cost": number(routing["router"]["cost"]),
        "best_single": number(routing["best_single"]["reward"]),
        "gain": number(gain["mean"]),
        "gain_low": number(gain["low"]),
        "gain_high": number(gain["high"]),
        "gain_vs_category_mean": number(category.get("mean")),
        "gain_vs_category_mean_low": number(category.get("low")),
        "gain_vs_category_mean_high": number(category.get("high")),
        "headroom_recovered": number(routing["router"]["headroom_recovered"]),
        "r2_pooled": number(results["prediction"]["r2_pooled"]),
        "audc": number(results["audc"].get("router")),
        "regret": number(results["regret"]),
    }


def to_markdown(frame: pd.DataFrame) -> str:
    """The comparison as a Markdown table; what all runs agree in is said once, above it."""
    same = [name for name in FACTS if len(frame) > 1 and len(set(frame[name])) == 1]
    rows = []
    for record in frame.to_dict("records"):
        cells = {name: _cell(record[name]) for name in ("run", *FACTS) if name not in same}
        cells |= {name: significant(record[name]) for name in ("reward", "cost", "best_single")}
        for name, heading in (("gain", "gain"), ("gain_vs_category_mean", "gain over category mean")):
            cells[heading] = gain_text(
                {"mean": record[name], "low": record[f"{name}_low"], "high": record[f"{name}_high"]}
            )
        cells |= {name: significant(record[name]) for name in ("headroom_recovered", "r2_pooled", "audc", "regret")}
        rows.append(cells)
    header = [name.replace("_", " ") for name in rows[0]]
    body = table(header, [list(row.values()) for row in rows])
    agreed = "; ".join(f"{name.replace('_', ' ')} {_cell(frame[name].iloc[0])}" for name in same)
    return f"All runs: {agreed}.\n\n{body}" if agreed else body


def pairs_to_markdown(pairs: Pairs) -> str:
    """Contenders and differences as Markdown, panel by panel, each with what its columns are."""
    parts = ["## Contenders"]
    several = len(set(pairs.contenders["panel"])) > 1
    for _, panel in pairs.contenders.groupby("panel"):
        rows = [
            [
                escaped(row["contender"]), str(row["runs"]), str(row["splits"]), str(row["seeds"]),
                str(row["prompts"]), *(significant(row[name]) for name in ("reward", "cost", "best_single")),
                gain_text({"mean": row["gain"], "low": row["gain_low"], "high": row["gain_high"]}),
                significant(row["sd_over_splits"]), significant(row["sd_over_seeds"]),
            ]
            for row in panel.to_dict("records")
        ]  # fmt: skip
        header = ["contender", "runs", "splits", "seeds", "prompts", "reward", "cost", "best single", "gain"]
        parts += [*_panel_heading(panel, several), table([*header, "sd over splits", "sd over seeds"], rows)]
    level, alpha = f"{100 * pairs.level:g}%", f"{1 - pairs.level:.3g}"
    parts += [CONTENDERS_TEXT.format(level=level), "## Differences"]
    for number_, panel in pairs.pairs.groupby("panel"):
        tested = panel["mcnemar_p"].notna().any()
        rows = [
            [
                escaped(row["first"]), escaped(row["second"]), str(row["rows"]),
                gain_text({"mean": row["difference"], "low": row["low"], "high": row["high"]}),
                _p_text(row["p_holm"]), *([_p_text(row["mcnemar_p"])] if tested else []), row["verdict"],
            ]
            for row in panel.to_dict("records")
        ]  # fmt: skip
        header = ["first", "less second", "rows", "difference", "p", *(["McNemar p"] if tested else []), "verdict"]
        parts += [*_panel_heading(panel, several), table(header, rows)]
        if (pairs.contenders["panel"] == number_).sum() > MOST_ALL_PAIRS:
            parts.append(
                f"More than {MOST_ALL_PAIRS} contenders: they are compared with the best of them and the best single "
                "only. The best was picked on these very prompts, which flatters it a little."
            )
    return "\n\n".join([*parts, PAIRS_TEXT.format(level=level, alpha=alpha, draws=f"{pairs.draws:,}")])


def _panel_heading(panel: pd.DataFrame, several: bool) -> list[str]:
    about = panel.iloc[0]
    return [f"### {escaped(_panel_name(about))}"] if several else []


def _panel_name(about: Any) -> str:
    facts = f"{about['table']}, {about['reward_model']}, {about['members']} members, cost: {about['cost_unit']}"
    return one_line(facts)


def _p_text(p: float) -> str:
    return "-" if math.isnan(p) else f"{p:.2g}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "infinity" if math.isinf(value) else f"{value:g}"
    return escaped(value)


def to_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The comparison as a list of plain objects; missing values, and an infinite lambda, are None."""
    return [jsonable(record) for record in frame.to_dict("records")]


def draw_comparison(results: Runs, path: Path) -> Path:
    """All curves in one figure: a panel per table, reward model and pool, a colour per router.

    Where runs of a panel have different test prompts, rewards are drawn as differences from each run's own best
    single: that takes out how easy the prompts were, which is not what is compared.
    """
    panels: dict[tuple[Any, ...], list[Results]] = {}
    for _, run in results:
        panels.setdefault(panel_key(run), []).append(run)
    keys = sorted(panels, key=str)[:MOST_PANELS]
    colours = _colours([run for _, run in results])
    heights = [_height(panels[key]) for key in keys]
    with canvas(path, 0.5 + sum(heights)) as figure:
        grid = figure.subplots(len(keys), 1, height_ratios=heights, squeeze=False)[:, 0]
        pending = []
        for axes, key in zip(grid, keys, strict=True):
            about = f"{one_line(key[0])}, {one_line(key[1])}, {len(key[2])} members, cost: {key[3]}"
            about = about if len(panels) > 1 else ""
            axes.set_title(about, loc="left", fontsize=9.5)
            if all(costs_differ(run) for run in panels[key]):
                pending.append((axes, *_curves_panel(axes, panels[key], colours)))
            else:
                _gains_panel(axes, panels[key], colours)
        left_out = len(panels) - len(keys)
        note = [f"{left_out} more tables or pools are not drawn"] if left_out else []
        title(figure, f"{len(results)} runs on test prompts", *note)
        freeze(figure)
        for axes, labels, curves, dots in pending:
            place_labels(figure, axes, labels, curves, dots)
    return path


def draw_differences(pairs: Pairs, results: Runs, path: Path) -> Path:
    """Every contender's gain over the best single with its interval: a strip per panel, colours as in the curves.

    Args:
        pairs: with one contender at least.
        results: all runs of the comparison, for the colours.
        path: of the PNG.
    """
    colours = _colours([run for _, run in results])
    panels = [panel for _, panel in pairs.contenders.groupby("panel")]
    drawn = [panel.head(MOST_STRIPS) for panel in panels[:MOST_PANELS]]
    heights = [(1.05 if len(panels) > 1 else 0.85) + 0.27 * len(panel) for panel in drawn]
    with canvas(path, 0.5 + sum(heights)) as figure:
        grid = figure.subplots(len(drawn), 1, height_ratios=heights, squeeze=False)[:, 0]
        for axes, panel in zip(grid, drawn, strict=True):
            rows = []
            for row in panel.iloc[::-1].to_dict("records"):
                colour = colours[_kind_in({"run": row}, colours)]
                name = shortened(row["contender"], 34)
                rows.append(GainRow(name, row["gain"], row["gain_low"], row["gain_high"], colour, core=True))
            # The strip's own label names the best single of one run; here every split has its own.
            gain_strip(axes, rows, {"routing": {"best_single": {}, "members": {}}, "level": pairs.level})
            axes.set_xlabel(f"Gain in reward over best single\nat λ = 0, with {100 * pairs.level:g}% intervals")
            if len(panels) > 1:  # from the figure's edge: right of the names there is too little room
                axes.set_title(" ", fontsize=9.5)
                axes.annotate(
                    shortened(_panel_name(panel.iloc[0]), 66), (0.012, 1), (0, 6), fontsize=9.5,
                    xycoords=("figure fraction", "axes fraction"), textcoords="offset points",
                ).set_in_layout(False)  # fmt: skip
        left_out = sum(map(len, panels)) - sum(map(len, drawn))
        note = (
            ["Intervals that overlap may yet differ: see the paired differences"] if len(pairs.contenders) > 1 else []
        )
        note += [f"{left_out} more are not drawn"] if left_out else []
        title(figure, f"{len(pairs.contenders)} contenders on test prompts", *note)
    return path


def panel_key(run: Results) -> tuple[str, str, tuple[str, ...], str]:
    """What runs have in common that can be compared: table, reward model, members and cost unit."""
    return run["run"]["table"], run["run"]["reward_model"], tuple(run["run"]["members"]), run["cost"]["unit"]


def _height(runs: list[Results]) -> float:
    return 4.0 if all(costs_differ(run) for run in runs) else 0.9 + 0.27 * (len(runs) + 1)


def _kind(run: Results, several_backbones: bool) -> str:
    return f"{run['run']['router']} {run['run']['backbone']}" if several_backbones else str(run["run"]["router"])


def _colours(runs: list[Results]) -> dict[str, str]:
    """A colour for every kind of router, the same in all panels."""
    several = len({run["run"]["backbone"] for run in runs}) > 1
    kinds = sorted({_kind(run, several) for run in runs})
    return {kind: PALETTE[i % len(PALETTE)] for i, kind in enumerate(kinds)}


def _kind_in(run: Results, colours: dict[str, str]) -> str:
    return next(kind for kind in (_kind(run, False), _kind(run, True)) if kind in colours)


def _curves_panel(axes: Axes, runs: list[Results], colours: dict[str, str]) -> tuple[list[Label], list[Floats], Floats]:
    """Draw one panel; returns its labels and what they have to keep off."""
    relative = len({(run["run"]["split_seed"], run["data"]["test"]) for run in runs}) > 1
    factor, unit = cost_scale(runs[0])
    scale = np.array([factor, 1.0])
    drawn: list[tuple[str, Floats]] = []
    references = []
    for run in runs:
        base = number(run["routing"]["best_single"]["reward"]) if relative else 0.0
        shift = np.array([0.0, base])
        drawn.append((_kind_in(run, colours), curve_points(run, "router") * scale - shift))
        references.append((curve_points(run, "oracle") * scale - shift, _dots(run) * scale - shift))
    oracle = references[0][0]
    dots = np.mean([dots for _, dots in references], axis=0)
    single = np.array([[np.mean([number(r["routing"]["best_single"][k]) for r in runs]) for k in ("cost", "reward")]])
    single = single * scale if not relative else np.array([[single[0, 0] * factor, 0.0]])

    curves = [points for _, points in drawn]
    rewards = np.concatenate([*(points[:, 1] for points in curves), single[:, 1]])
    low, high = y_limits(rewards, np.concatenate([dots[:, 1], oracle[:, 1]]))
    axes.set_ylim(low, high)
    costs = np.concatenate([dots[:, 0], *(points[:, 0] for points in [*curves, oracle])])
    cost_axis(axes, float(costs.min()), float(costs.max()), f"Mean cost ({unit})")
    axes.set_ylabel("Reward above best single" if relative else "Mean reward")
    axes.yaxis.set_major_locator(nice_ticks(6))
    axes.plot(*oracle.T, color=GREY, lw=1.2, ls="--", zorder=1)
    axes.plot(*dots.T, "o", color=GREY, ms=4, mew=0, alpha=0.8, zorder=2)
    axes.plot(*single.T, "o", color=BLACK, ms=8, zorder=4)
    if relative:
        axes.axhline(0, color=BLACK, lw=0.8, ls=":", zorder=1)
    repeats = max(sum(kind == other for other, _ in drawn) for kind, _ in drawn)
    for kind, points in drawn:
        axes.plot(*points.T, color=colours[kind], lw=2.0 if repeats == 1 else 1.0, alpha=0.9, zorder=3)

    labels = [Label("best single", single, bold=True)]
    for kind in dict(drawn):
        ends = np.concatenate([along(points, 8) for other, points in drawn if other == kind])
        labels.append(Label(kind, ends, colours[kind], bold=True))
    labels.append(Label("oracle", along(oracle), "#5A5A5A", optional=True))
    return labels, [*curves, oracle], np.concatenate([dots, single])


def _dots(run: Results) -> Floats:
    members = run["routing"]["members"]
    return np.array([[number(members[m]["cost"]), number(members[m]["reward"])] for m in run["run"]["members"]])


def _gains_panel(axes: Axes, runs: list[Results], colours: dict[str, str]) -> None:
    """Without a cost axis: every run's gain with its interval, the best at the top."""
    seeds = len({(run["run"]["split_seed"], run["run"]["seed"]) for run in runs}) > 1
    rows = []
    for run in runs:
        facts, kind = run["run"], _kind_in(run, colours)
        name = f"{kind}, split {facts['split_seed']}" if seeds else kind
        gain = run["routing"]["router"]["gain_vs_best_single"]
        rows.append(gain_row(name, gain, colours[kind], core=True))
    rows.sort(key=lambda row: row.mean)
    oracle = max(runs, key=lambda run: number(run["routing"]["oracle"]["gain_vs_best_single"]["mean"]))
    rows.append(gain_row("oracle", oracle["routing"]["oracle"]["gain_vs_best_single"], COLOURS["oracle"]))
    gain_strip(axes, rows, runs[0])
