"""A head that is taught more beside the plain one: python beside_plain.py <sweep.json>... table.csv.

The rows of `beside_category.py`, with the area under the curve, and, where the encoder is fine-tuned or rewards of
another reward model are learnt too, reward at lambda = 0 less that of the same head without: paired by split and
prompt, p by Holm over the heads of a table and reward model.
Reads 10_board's modules: run with that folder on PYTHONPATH.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from beside_category import named, rows
from reading import read_runs
from results import POINTS, Panel, told
from standing import against, differences, paired

MORE = ("_finetuned", "_beside")  # what the name of a backbone or router has more than the plain one's


def areas(panel: Panel) -> Iterator[dict[str, Any]]:
    """Of each router the area under its curve."""
    for name, runs in panel.routers.items():
        found = {"table": panel.name[0], "reward_model": panel.name[1], "router": name}
        if all(run.costs_differ for run in runs):
            own, less = panel.area([(run, *run.earned(run.lambdas(POINTS))) for run in runs])
            found |= told("audc", own) | told("audc_less_single", less)
        yield found


def plain(name: str) -> str:
    """The name of the plain one."""
    for more in MORE:
        name = name.replace(more, "")
    return name


def beside_plain(panel: Panel) -> Iterator[dict[str, Any]]:
    """Of each head that is taught more, reward at lambda = 0 less that of the same head without."""
    pairs = {
        name: paired(runs, panel.routers[plain(name)])
        for name, runs in panel.routers.items()
        if plain(name) != name and plain(name) in panel.routers
    }
    for name, columns in against(panel, pairs, "plain").items():
        yield {"table": panel.name[0], "reward_model": panel.name[1], "router": name, **columns}


def main(sweeps: Sequence[str], table: str) -> None:
    """Write the table."""
    runs = [named(run) for run in read_runs(map(Path, sweeps))]
    panels = [Panel([run for run in runs if run.panel == name]) for name in sorted({run.panel for run in runs})]
    frame = pd.DataFrame(found for panel in panels for found in rows(panel))
    for columns in (areas, differences, beside_plain):
        more = pd.DataFrame(found for panel in panels for found in columns(panel))
        frame = frame.merge(more, how="left") if len(more) else frame
    frame.to_csv(table, index=False, float_format="%.5g")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: PYTHONPATH=../10_board python beside_plain.py <sweep.json>... table.csv")
    main(sys.argv[1:-1], sys.argv[-1])
