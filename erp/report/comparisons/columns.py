"""What the tables of a comparison show of their data frames: one list of columns for Markdown and LaTeX alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from erp.errors import one_line
from erp.findings import NOT_COMPARED, UNTOLD, Pairs
from erp.report.facts import shown_unit
from erp.report.text import spread_text


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        heading: above it.
        key: the data frame's column.
        kind: ``word`` (text), ``count``, ``number``, ``cost`` (in the panel's unit), ``gain`` (signed), ``share`` (of a
            ceiling: no sign), ``percent``, ``p``.
        ends: the data frame's columns with the ends of the interval of a gain or share.
    """

    heading: str
    key: str
    kind: Literal["word", "count", "number", "cost", "gain", "share", "percent", "p"] = "word"
    ends: tuple[str, str] | None = None


CONTENDERS = (
    Column("contender", "contender"),
    Column("gain", "gain", "gain", ("gain_low", "gain_high")),
    Column("vs best", "vs_best"),
    Column("vs single", "vs_single"),
    Column("reward", "reward", "number"),
    Column("best single", "best_single", "number"),
    Column("cost", "cost", "cost"),
    Column("sd over splits", "sd_over_splits", "number"),
    Column("sd over seeds", "sd_over_seeds", "number"),
    Column("runs", "runs", "count"),
    Column("splits", "splits", "count"),
    Column("seeds", "seeds", "count"),
    Column("prompts", "prompts", "count"),
)
MCNEMAR = Column("McNemar p", "mcnemar_p", "p")
PAIRS = (
    Column("first", "first"),
    Column("less second", "second"),
    Column("rows", "rows", "count"),
    Column("difference", "difference", "gain", ("low", "high")),
    Column("p", "p_adjusted", "p"),
    MCNEMAR,
    Column("verdict", "verdict"),
)
PREDICTION = (
    Column("R²", "r2", "number"),
    Column("sd over splits", "r2_sd", "number"),
    Column("ceiling", "r2_ceiling", "number"),
    Column("R² / ceiling", "r2_corrected", "share", ("r2_corrected_low", "r2_corrected_high")),
)
MEMBERS = (
    Column("member", "member"),
    *PREDICTION,
    Column("Pearson", "pearson", "number"),
    Column("RMSE", "rmse", "number"),
    Column("share", "share", "percent"),
    Column("reward", "reward", "number"),
    Column("cost", "cost", "cost"),
)


def pair_columns(panel: pd.DataFrame) -> tuple[Column, ...]:
    """The columns of differences; without McNemar's where no difference of the panel has it."""
    tested = panel["mcnemar_p"].notna().any()
    return tuple(column for column in PAIRS if tested or column is not MCNEMAR)


def panel_name(panel: pd.DataFrame) -> str:
    """What the runs of a panel have in common, on one line."""
    about = panel.iloc[0]
    _, unit = shown_unit(about["cost_unit"])
    return one_line(f"{about['table']}, {about['reward_model']}, {about['members']} members, cost: {unit}")


def by_panel(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of a table, panel by panel."""
    return [panel for _, panel in frame.groupby("panel")]


def untold(contenders: pd.DataFrame) -> list[bool]:
    """Which rows are to be bold: the best of its panel, and all that do not differ significantly from it."""
    return [verdict in ("best", UNTOLD) for verdict in contenders["vs_best"]]


def leads(pairs: Pairs) -> list[str]:
    """What came out, a sentence per panel."""
    return [_lead(panel) for panel in by_panel(pairs.contenders)]


def _lead(panel: pd.DataFrame) -> str:
    """Which contender is the best, how sure its gain is, and how it stands to those that it is compared with."""
    best, others = panel.iloc[0], panel.iloc[1:]
    told = {"better": "which is more than chance", "worse": "so the best single is better"}
    gain = spread_text(best["gain"], best["gain_low"], best["gain_high"], signed=True)
    sentence = (
        f"On {one_line(best['table'])}, scored by {one_line(best['reward_model'])}, {best['members']} members: "
        f"{best['contender']} gains {gain} in reward over the best single member, "
        + told.get(best["vs_single"], "not significantly different from 0")
    )
    compared = others[others["vs_best"] != NOT_COMPARED]
    if compared.empty:
        return f"{sentence}."
    if (others["vs_best"] == "worse").all():
        return f"{sentence}. It is better than each of the others."
    alike, above = (list(compared["contender"][compared["vs_best"] == verdict]) for verdict in (UNTOLD, "better"))
    said = [f"has the largest gain of {len(compared) + 1}"]
    said += [f"does not differ significantly from {_listed(alike)}"] if alike else []
    said += [f"is worse than {_listed(above)} on the rows they share"] if above else []
    return f"{sentence}. It {', and '.join(said)}."


def _listed(names: Sequence[str], most: int = 3) -> str:
    more = [f"{len(names) - most} more"] if len(names) > most else []
    shown = [*names[:most], *more]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
