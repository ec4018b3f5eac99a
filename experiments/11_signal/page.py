"""The table of a page, made from the results: python page.py table.csv PAGE.md...

In each page the lines between `<!-- signal -->` and `<!-- end of signal -->` are replaced.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pandas as pd

MARKED = re.compile(r"(<!-- signal -->\n).*?(<!-- end of signal -->)", re.DOTALL)
KEY = ["table", "reward_model"]
LEVEL = 0.05


def table(rows: pd.DataFrame) -> str:
    """A line for each backbone and router, a column for each table: reward less category mean's, given the category."""
    panels = rows[KEY].drop_duplicates().to_records(index=False).tolist()
    twice = rows["table"].nunique() < len(panels)
    titles = [
        f"{name}, {reward_model}" if twice and name == "mini" else name.removesuffix(".parquet")
        for name, reward_model in panels
    ]
    lines = ["| backbone | router | " + " | ".join(titles) + " |", "|---" * (2 + len(panels)) + "|"]
    known = rows.set_index([*KEY, "router"])
    for router, own in rows.groupby("router", sort=False):
        first = own.iloc[0]
        name = "*category, predicted*" if pd.isna(first["backbone"]) else f"`{first['backbone']}`"
        cells = [cell(known.loc[(*panel, router)]) if (*panel, router) in known.index else "" for panel in panels]
        if any(cells):
            lines.append(f"| {name} | `{first['name']}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(row: pd.Series) -> str:
    """The difference and its interval, bold where p by Holm is below .05; empty for category mean itself."""
    if pd.isna(row["less_given"]):
        return ""
    mean = number(row["less_given"], sign=True)
    text = f"{mean} ({number(row['less_given_low'])} to {number(row['less_given_high'])})"
    return f"**{text}**" if row["p_given"] < LEVEL else text


def number(value: float, sign: bool = False) -> str:
    """Three digits, without a 0 before the point."""
    return f"{value:{'+' if sign else ''}.3f}".replace("0.", ".", 1)


def main(results: str, pages: list[str]) -> None:
    """Put the table into the pages."""
    made = table(pd.read_csv(results))
    for page in map(Path, pages):
        page.write_text(MARKED.sub(lambda found: f"{found[1]}{made}\n{found[2]}", page.read_text()))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python page.py table.csv PAGE.md...")
    main(sys.argv[1], sys.argv[2:])
