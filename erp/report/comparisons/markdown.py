"""The tables of a comparison as Markdown, each with what its columns are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from erp.findings import MOST_ALL_PAIRS, POOLED, Pairs
from erp.report.comparisons.columns import (
    CONTENDERS,
    MEMBERS,
    PREDICTION,
    Column,
    by_panel,
    pair_columns,
    panel_name,
    untold,
)
from erp.report.facts import percent, shown_unit
from erp.report.text import escaped, significant, spread_text, table
from erp.results import number

# Columns that say what a run is. Where all runs agree, they are said once, above the table.
FACTS = ("table", "reward_model", "members", "backbone", "router", "split_seed", "seed", "test_prompts", "lambda")
MOST_PREDICTED = 40  # contenders in the table of predictability

CONTENDERS_TEXT = (
    "A contender is a router with its settings; its runs differ in seed and split (split seed, category left out) "
    "alone. `gain` is its reward at lambda = 0 on test prompts minus that of the best single member, chosen on train, "
    "over all its runs; in brackets the {level} interval, from a paired bootstrap over groups of prompts: what other "
    "prompts might have given, with these splits and seeds. Bold: the best of the table, and every contender that "
    "does not differ significantly from it. `vs best` and `vs single` are how it stands to that best contender and to "
    "the best single member, by the corrected p of the differences. `sd over splits` is the standard deviation of the "
    "gain from one split to the next, `sd over seeds` that from one seed to the next on the same split. Neither is in "
    "the interval, nor in any p."
)
PAIRS_TEXT = (
    "Rows are pairs of rewards of the same prompt, split and seed; where a contender has a single seed on a "
    "split, it stands beside every seed of the other. Brackets: {level} interval, each for itself, from the same "
    "bootstrap ({draws} draws of groups of prompts). `p`: two-sided, corrected for all differences between the "
    "contenders at once, by what the largest of them would be if none were real. `verdict`: the first is better or "
    "worse where p is at most {alpha}; above, the difference is not significant; without rows they are not compared. "
    "McNemar's exact p, for rewards of 0 and 1, is not corrected."
)
PREDICTION_TEXT = (
    "R² of all members together on test prompts: the mean over splits and its standard deviation from split to split. "
    "`ceiling` is the reliability of the rewards, the most that R² can reach for noise; not known where a cell has one "
    "sample. `R² / ceiling` is the share of what can be predicted that is, with the interval of one split."
)
MEMBERS_TEXT = (
    "`share`: of prompts sent to the member at lambda = 0; `reward` and `cost`: its means. In the row `pooled` these "
    "are the means over members. The members of all contenders are in members.csv."
)
RUNS_TEXT = (
    "At lambda = 0 on test prompts. `gain` is the router's reward minus that of the best single member, chosen on "
    "train; in brackets its interval, from a paired bootstrap over groups of prompts. Runs on different "
    "splits have different test prompts: compare their gains, not their rewards."
)


def contenders_to_markdown(pairs: Pairs) -> str:
    """The contenders, panel by panel."""
    parts = ["## Contenders"]
    for panel in by_panel(pairs.contenders):
        parts += [*_heading(panel, pairs.contenders), _table(panel, CONTENDERS, untold(panel))]
    return "\n\n".join([*parts, CONTENDERS_TEXT.format(level=f"{100 * pairs.level:g}%")])


def pairs_to_markdown(pairs: Pairs) -> str:
    """The differences, panel by panel."""
    parts = ["## Differences"]
    for panel in by_panel(pairs.pairs):
        parts += [*_heading(panel, pairs.contenders), _table(panel, pair_columns(panel))]
        if (pairs.contenders["panel"] == panel["panel"].iloc[0]).sum() > MOST_ALL_PAIRS:
            parts.append(
                f"More than {MOST_ALL_PAIRS} contenders: shown are the differences to the best of them and to the best "
                "single. The best was picked on these very prompts, so p is corrected for the differences between all."
            )
    level, alpha = f"{100 * pairs.level:g}%", f"{1 - pairs.level:.3g}"
    return "\n\n".join([*parts, PAIRS_TEXT.format(level=level, alpha=alpha, draws=f"{pairs.draws:,}")])


def members_to_markdown(members: pd.DataFrame) -> str:
    """How well rewards are predicted, a row per contender; then the members of each panel's first contender."""
    pooled = members[members["member"] == POOLED]
    several = len(set(members["panel"])) > 1
    about = [Column("reward model", "reward_model"), Column("members", "members", "count")] if several else []
    if len(set(members["table"])) > 1:
        about.insert(0, Column("table", "table"))
    columns = [*about, Column("contender", "contender"), *PREDICTION]
    parts = ["## Predictability", _table(pooled.head(MOST_PREDICTED), columns)]
    if len(pooled) > MOST_PREDICTED:
        parts.append(f"{len(pooled) - MOST_PREDICTED} more contenders are in members.csv.")
    parts += [PREDICTION_TEXT, "## Members"]
    for panel in by_panel(members):
        name = panel["contender"].iloc[0]
        rows = panel[panel["contender"] == name]
        parts += [*_heading(panel, members), f"As {escaped(name)} predicts and chooses them:", _table(rows, MEMBERS)]
    return "\n\n".join([*parts, MEMBERS_TEXT])


def runs_to_markdown(frame: pd.DataFrame) -> str:
    """The runs; what all of them agree in is said once, above the table."""
    same = [name for name in FACTS if len(frame) > 1 and len(set(frame[name])) == 1]
    rows = []
    for record in frame.to_dict("records"):
        cells = {name: _fact(record[name]) for name in ("run", *FACTS) if name not in same}
        factor, unit = shown_unit(record["cost_unit"])
        cells |= {"reward": significant(record["reward"]), "cost": f"{significant(record['cost'] * factor)} {unit}"}
        cells["best single"] = significant(record["best_single"])
        for name, heading in (("gain", "gain"), ("gain_vs_category_mean", "gain over category mean")):
            cells[heading] = spread_text(record[name], record[f"{name}_low"], record[f"{name}_high"], signed=True)
        cells |= {name: significant(record[name]) for name in ("headroom_recovered", "r2_pooled", "audc", "regret")}
        rows.append(cells)
    header = [name.replace("_", " ") for name in rows[0]]
    body = table(header, [list(row.values()) for row in rows])
    agreed = "; ".join(f"{name.replace('_', ' ')} {_fact(frame[name].iloc[0])}" for name in same)
    return f"All runs: {agreed}.\n\n{body}" if agreed else body


def _table(frame: pd.DataFrame, columns: Sequence[Column], bold: Sequence[bool] = ()) -> str:
    """A data frame's columns as a Markdown table, the gains of some rows bold."""
    strong = list(bold) or [False] * len(frame)
    rows = [
        [f"**{_cell(row, column)}**" if b and column.kind == "gain" else _cell(row, column) for column in columns]
        for row, b in zip(frame.to_dict("records"), strong, strict=True)
    ]
    return table([column.heading for column in columns], rows)


def _cell(row: Mapping[Any, Any], column: Column) -> str:
    value = row[column.key]
    if column.kind == "word":
        return escaped(value)
    if math.isnan(number(value)):
        return "-"
    if column.kind == "count":
        return f"{value:.0f}"
    if column.kind == "percent":
        return percent(value, 1)
    if column.kind == "p":
        return f"{value:.2g}"
    if column.kind == "cost":
        return significant(value * shown_unit(row["cost_unit"])[0])
    if column.ends is None:
        return significant(value)
    return spread_text(value, *(row[end] for end in column.ends), signed=column.kind == "gain")


def _heading(panel: pd.DataFrame, whole: pd.DataFrame) -> list[str]:
    """A panel's name; one panel needs none."""
    return [f"### {escaped(panel_name(panel))}"] if len(set(whole["panel"])) > 1 else []


def _fact(value: Any) -> str:
    if isinstance(value, float):
        return "infinity" if math.isinf(value) else "-" if math.isnan(value) else f"{value:g}"
    return "-" if value is None else escaped(value)
