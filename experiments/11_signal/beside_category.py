"""Every backbone by every router beside category mean: python beside_category.py <sweep.json>... table.csv.

A row for each table, reward model, backbone and router: gain over the best single member at lambda = 0, and that less
category mean's, given and predicted, on the same prompts, with p by Holm over all rows of a table and reward model.
``equal_cost`` is its reward less category mean's where it spends as much as that, asking the backbone included.
Reads 10_board's modules: run with that folder on PYTHONPATH.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from reading import Run, read_runs
from results import POINTS, Panel, row, saved, told
from standing import REFERENCES, differences

from erp.decisions.choice import Outcome
from erp.evaluation.run_time import at_cost
from erp.runs import RunFolder

AT = " on "


def named(run: Run) -> Run:
    """The run, called by its router and backbone; category mean reads no embedding to speak of."""
    if run.router in REFERENCES:
        return run
    return replace(run, router=f"{run.router}{AT}{RunFolder(run.folder).load_config()['backbone']['name']}")


def rows(panel: Panel) -> Iterator[dict[str, Any]]:
    """Of each router on each backbone: gain, R^2, what it saves, and what asking the backbone costs."""
    gains = [[(run, run.reward - run.alone) for run in runs] for runs in panel.routers.values()]
    others = {run.split: run for run in panel.routers["category_mean"]}
    equal = panel.intervals(
        [[(run, at_equal_cost(run, others[run.split])) for run in runs] for runs in panel.routers.values()]
    )
    for (name, runs), gain, level in zip(panel.routers.items(), panel.intervals(gains), equal, strict=True):
        router, _, backbone = name.partition(AT)
        found = (
            row(panel, name, runs)
            | told("gain", gain)
            | saved(panel, runs)
            | of_results(runs)
            | told("equal_cost", level)
        )
        share, saving = found["backbone_share"], found.get("saving")
        yield found | {
            "name": router, "backbone": backbone or None,
            "saving_net": None if share is None or saving is None else saving - share,
        }  # fmt: skip


def at_equal_cost(run: Run, other: Run) -> np.ndarray:
    """(n,) reward where the run's curve, with what asking its backbone costs, meets the other's cost, less the other's.

    Between two points of the curve that is a mixture; where the whole curve is cheaper, or dearer, its nearest end.
    """
    if run.router == other.router:
        return np.zeros(len(run.ids))
    asked = asked_of(run) or 0.0
    points = zip(*(part.T for part in run.earned(run.lambdas(POINTS))), strict=True)
    curve = [Outcome(reward, cost + asked, np.empty(0)) for reward, cost in points]
    return at_cost(curve, float(other.earned([0.0])[1].mean())) - other.reward


def asked_of(run: Run) -> float | None:
    """What asking the backbone about a prompt costs; None where that is not known."""
    economics = RunFolder(run.folder).load_results()["economics"] or {}
    return economics.get("router_per_prompt")


def of_results(runs: Sequence[Run]) -> dict[str, float | None]:
    """Means over splits of R^2 and of its ceiling, and the backbone's cost as a share of the best single's."""
    results = [RunFolder(run.folder).load_results() for run in runs]
    prediction = pd.DataFrame([result["prediction"] or {} for result in results])
    known = [cost / run.alone_cost.mean() for run in runs if (cost := asked_of(run)) is not None]
    return {
        **{key: mean_of(prediction, key) for key in ("r2_pooled", "r2_pooled_ceiling", "r2_differences")},
        "backbone_share": sum(known) / len(known) if known else None,
    }


def mean_of(frame: pd.DataFrame, key: str) -> float | None:
    """Mean of a column; None where no run has it."""
    values = frame[key].dropna().astype(float) if key in frame else pd.Series(dtype=float)
    return float(values.mean()) if len(values) else None


def main(sweeps: Sequence[str], table: str) -> None:
    """Write the table."""
    runs = [named(run) for run in read_runs(map(Path, sweeps))]
    panels = [Panel([run for run in runs if run.panel == name]) for name in sorted({run.panel for run in runs})]
    frame = pd.DataFrame(found for panel in panels for found in rows(panel))
    less = pd.DataFrame(found for panel in panels for found in differences(panel))
    frame.merge(less, how="left").to_csv(table, index=False, float_format="%.5g")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: PYTHONPATH=../10_board python beside_category.py <sweep.json>... table.csv")
    main(sys.argv[1:-1], sys.argv[-1])
