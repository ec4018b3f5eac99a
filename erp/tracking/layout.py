"""What the dashboard shows: sections that ask a question, panels that answer it, and the keys that they read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

# What a panel draws, and where the numbers come from: the summary of every run, its history, or a table of it.
Kind = Literal["bars", "scatter", "columns", "importance", "history", "table lines", "table scatter", "figure"]
PLACES: dict[Kind, str] = {
    "bars": "summary", "scatter": "summary", "columns": "summary", "importance": "summary", "history": "history",
    "table lines": "table", "table scatter": "table", "figure": "figure",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        kind: how it is drawn.
        title: what it shows.
        keys: what it draws: x before y; of a table, its columns, the one that tells lines apart last.
        by: the key of the config whose values the runs are grouped by; of a history, the x axis.
        table: the table that the keys are columns of.
    """

    kind: Kind
    title: str
    keys: tuple[str, ...]
    by: str | None = None
    table: str | None = None

    def reads(self) -> Iterator[tuple[str, str]]:
        """Where it looks, and for which key: (summary, gain), (config, choices.router), (tables/curves, cost)."""
        for key in self.keys:
            in_config = key.startswith("choices.")
            yield "config" if in_config else self.table or PLACES[self.kind], key
        if self.by is not None:
            yield "history" if self.kind == "history" else "config", self.by


@dataclass(frozen=True)
class Section:
    """A question and the panels that answer it."""

    question: str
    panels: tuple[Panel, ...]


ROUTER, REWARD_MODEL, POOL = "choices.router", "choices.reward_model", "choices.pool"
SECTIONS = (
    Section(
        "Which router wins at equal cost?",
        (
            Panel("table lines", "Reward against cost", ("cost", "reward", "line"), table="tables/curves"),
            Panel("bars", "Reward above the best constant of equal cost", ("gain_at_equal_cost",), ROUTER),
            Panel("bars", "Reward above the best single member", ("gain",), ROUTER),
            Panel("bars", "Share of the headroom recovered", ("headroom_recovered",), ROUTER),
            Panel("bars", "Area under the reward-cost curve", ("area",), ROUTER),
            Panel("scatter", "Where each run stands: cost and reward", ("cost", "reward")),
        ),
    ),
    Section(
        "Which reward model is most predictable?",
        (
            Panel("bars", "R^2 of the predicted rewards", ("r2",), REWARD_MODEL),
            Panel("bars", "R^2 that a perfect predictor would reach", ("r2_ceiling",), REWARD_MODEL),
            Panel("scatter", "R^2 against its ceiling", ("r2_ceiling", "r2")),
            Panel("bars", "R^2 by backbone", ("r2",), "choices.backbone"),
            Panel("bars", "Reward above the best single member, by reward model", ("gain",), REWARD_MODEL),
        ),
    ),
    Section(
        "What is a pool member worth?",
        (
            Panel("bars", "Reward by pool", ("reward",), POOL),
            Panel("bars", "Area by pool", ("area",), POOL),
            Panel("table scatter", "Members: cost and reward alone", ("cost", "reward"), table="tables/members"),
            Panel("table scatter", "Members: reward and share of prompts", ("reward", "share"), table="tables/members"),
            Panel("table scatter", "Members: R^2 and its ceiling", ("r2_ceiling", "r2"), table="tables/members"),
        ),
    ),
    Section(
        "What does a sweep find?",
        (
            Panel("columns", "Choices and what they lead to", (ROUTER, REWARD_MODEL, POOL, "objective/value", "gain")),
            Panel("importance", "What the objective depends on", ("objective/value",)),
        ),
    ),
    Section(
        "Does training converge?",
        (
            Panel("history", "Validation loss", ("val/loss",), "epoch"),
            Panel("history", "Training loss", ("train/loss",), "epoch"),
            Panel("history", "Validation R^2", ("val/r2",), "epoch"),
        ),
    ),
    Section("What does a run's report show?", (Panel("figure", "Reward against cost", ("figures/reward_cost",)),)),
)
# Of the list of runs, beside their names.
COLUMNS = ("verdict", "gain", "gain_low", "gain_high", "reward", "cost", "area", "r2", "r2_ceiling", "objective/value")


def as_text() -> str:
    """The layout in words: what is shown, and what it reads."""
    lines = [f"runs: {', '.join(COLUMNS)}"]
    for section in SECTIONS:
        lines += ["", section.question]
        for panel in section.panels:
            reads = ", ".join(f"{place}: {key}" for place, key in panel.reads())
            lines.append(f"  {panel.title} [{panel.kind}]  {reads}")
    return "\n".join(lines)
