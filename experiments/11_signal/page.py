"""The tables of a page, made from the results: python page.py table.csv PAGE.md...

In each page the lines between `<!-- signal -->` and `<!-- end of signal -->` are replaced by `all.csv`; by a table in
which heads stand beside plain ones (`beside_plain.py`), those that are marked with its name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

MARKED = r"(<!-- {0} -->\n).*?(<!-- end of {0} -->)"
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


def pairs(rows: pd.DataFrame) -> str:
    """A line for each table, head and encoder: how it stands to category mean and to the plain one, R^2, area."""
    titles = "table, splits, head, encoder, less category mean, less the plain one, R^2, area under the curve"
    lines = [f"| {titles.replace(', ', ' | ')} |", "|---" * 8 + "|"]
    for row in rows.to_dict("records"):
        table = f"{row['table'].removesuffix('.parquet')}, {row['reward_model']} | {row['splits']}"
        encoder = "" if pd.isna(row["backbone"]) else f"`{row['backbone']}`"
        rest = [cell(row), cell(row, "plain"), *(known(row[key]) for key in ("r2_pooled", "audc"))]
        lines.append(f"| {table} | `{row['name']}` | {encoder} | " + " | ".join(rest) + " |")
    return "\n".join(lines)


def cell(row: Mapping[str, Any], other: str = "given") -> str:
    """The difference and its interval, bold where p by Holm is below .05; empty for category mean itself."""
    low, middle, high = (row.get(f"less_{other}{end}") for end in ("_low", "", "_high"))
    if pd.isna(middle):
        return ""
    text = f"{number(middle, sign=True)} ({number(low)} to {number(high)})"
    return f"**{text}**" if row[f"p_{other}"] < LEVEL else text


def known(value: float) -> str:
    """Three digits; empty where there is none."""
    return "" if pd.isna(value) else number(value)


def number(value: float, sign: bool = False) -> str:
    """Three digits, without a 0 before the point."""
    return f"{value:{'+' if sign else ''}.3f}".replace("0.", ".", 1)


def main(results: str, pages: list[str]) -> None:
    """Put the table into the pages."""
    rows = pd.read_csv(results)
    stem = Path(results).stem
    name, made = ("signal", table(rows)) if stem == "all" else (stem, pairs(rows))
    marked = re.compile(MARKED.format(name), re.DOTALL)
    for page in map(Path, pages):
        page.write_text(marked.sub(lambda found: f"{found[1]}{made}\n{found[2]}", page.read_text()))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python page.py table.csv PAGE.md...")
    main(sys.argv[1], sys.argv[2:])
