"""The tables of the pages, made from the results: python page.py PAGE.md...

In each page the lines between the marks `<!-- board: NAME -->` and `<!-- end of board -->` are replaced by table NAME:
`routers` (over all tables) or `gains` (table by table).
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
MARKED = re.compile(r"(<!-- board: (\w+) -->\n).*?(<!-- end of board -->)", re.DOTALL)
KEY = ["table", "reward_model"]


def routers() -> str:
    """A line for each router, best mean rank first."""
    ranks, speeds = read("ranks"), read("speeds")
    lines = [
        "| router | mean rank | share of the headroom | minus category mean, given | minus category mean, predicted "
        "| fits in, s | decisions/s | tables |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for _, row in ranks.iterrows():
        own = speeds[speeds["router"] == row["router"]]
        cells = [
            named(row["router"]), interval(row, "rank", "{:.1f}"), interval(row, "share", "{:+.0%}"),
            *(told(row, f"less_{short}", row[f"p_{short}"]) for short in ("given", "predicted")),
            span(own, "fit_seconds"), span(own, "decisions"), f"{row['tables']:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gains() -> str:
    """A line for each router, a column for each table: the gain over the best single member at lambda = 0."""
    board, ranks = read("board"), read("ranks")
    panels = board[KEY].drop_duplicates().to_records(index=False).tolist()
    order = [*ranks["router"], *dict.fromkeys(name for name in board["router"] if name not in set(ranks["router"]))]
    lines = [
        "| router | " + " | ".join(title(*panel) for panel in panels) + " |",
        "|---" * (1 + len(panels)) + "|",
    ]
    known = board.set_index([*KEY, "router"])
    for name in order:
        cells = [cell(known, (*panel, name)) for panel in panels]
        lines.append(f"| {named(name)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read(name: str) -> pd.DataFrame:
    """A table that was written here."""
    return pd.read_csv(HERE / f"{name}.csv")


def title(table: str, reward_model: str) -> str:
    """A table's column."""
    return table.split(".")[0] + ("" if reward_model == "reward" else f", {reward_model}")


def named(router: str) -> str:
    """A router as its option is called; category mean says how it gets the category."""
    if router in ("best single", "oracle", "random"):
        return f"*{router}*"
    name, _, how = router.partition(", ")
    return f"`{name}`" + (f", {how} category" if how else ", given category" if name == "category_mean" else "")


def cell(board: pd.DataFrame, key: tuple[str, str, str]) -> str:
    """A gain, or why there is none."""
    if key not in board.index:
        return ""
    row = board.loc[key]
    if pd.isna(row["gain"]):
        return str(row["why_not"])
    fewer = f" [{row['splits']:.0f}]" if 0 < row["splits"] < 5 else ""
    return told(row, "gain", 0.0) + fewer


def told(row: pd.Series, name: str, p: float) -> str:
    """A difference with its interval, bold where that leaves out 0 and the corrected p is at most .05."""
    if pd.isna(row[name]):
        return ""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    text = f"{short(row[name], '+')} ({short(low)} to {short(high)})"
    return f"**{text}**" if (low > 0 or high < 0) and p <= 0.05 else text


def short(value: float, sign: str = "-") -> str:
    """Three decimals without a leading zero."""
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def interval(row: pd.Series, name: str, form: str) -> str:
    """A number with its interval; nothing where there is none."""
    if pd.isna(row[name]):
        return ""
    return f"{form.format(row[name])} ({form.format(row[f'{name}_low'])} to {form.format(row[f'{name}_high'])})"


def span(speeds: pd.DataFrame, name: str) -> str:
    """The median over tables, and from the least to the most of any."""
    values = speeds[[name, f"{name}_low", f"{name}_high"]].to_numpy()
    if not len(values):
        return ""
    return f"{brief(np.median(values[:, 0]))} ({brief(values[:, 1].min())} to {brief(values[:, 2].max())})"


def brief(value: float) -> str:
    """Two digits, with thousands' commas."""
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 10 else f"{value:.2g}"


def main(*pages: str) -> None:
    """Make the tables of some pages anew."""
    for page in map(Path, pages):
        text = page.read_text(encoding="utf-8")
        made = MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)
        page.write_text(made, encoding="utf-8")


TABLES = {"routers": routers, "gains": gains}

if __name__ == "__main__":
    main(*sys.argv[1:])
