"""All routers on all tables: python results.py <sweep.json>... results.csv [ranks.csv].

results.csv has a row for each table, reward model and router: what it gains over the best single member at lambda = 0,
its area under the curve, what it saves, how it stands to category mean; all with intervals, and why a row is blank.
ranks.csv has a row for each router, over all tables.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from reading import Run, blanks_of, read_runs
from standing import SINGLE, differences, over_tables

from erp.metrics.intervals import GroupBootstrap, Interval
from erp.metrics.routing import audc

DRAWS, DRAWS_OF_AREAS = 10_000, 1_000
Pairs = Sequence[tuple[Run, np.ndarray]]  # of each split a run, and values (n,) on its prompts
COUNTS = ["splits", "prompts", "saving_splits"]
POINTS = 48  # of a curve, in its area: a thinner curve than the run's own, for the draws' sake


class Panel:
    """The runs of one table and reward model, on whose prompts all draws are the same.

    Attributes:
        routers: the runs of each router, in the order of the splits.
        reference: a run of every split, for what needs no router.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.name = runs[0].panel
        self.routers: dict[str, list[Run]] = {}
        for run in sorted(runs, key=lambda run: (run.router, run.split)):
            self.routers.setdefault(run.router, []).append(run)
        self.reference = list({run.split: run for run in runs}.values())
        groups = pd.concat([pd.Series(run.groups, run.ids) for run in self.reference]).sort_index()
        groups = groups[~groups.index.duplicated()]
        self._ids, (codes, _) = groups.index, pd.factorize(groups)
        seed = zlib.crc32(self.name[0].encode())  # other tables, other draws; the same for two reward models of one
        self.bootstrap = GroupBootstrap(codes, DRAWS, seed)
        self._of_areas = GroupBootstrap(codes, DRAWS_OF_AREAS, seed)

    def spread(self, run: Run, values: np.ndarray) -> np.ndarray:
        """(N, D) over all prompts of the table, of values (n, D) on a run's; 0 elsewhere."""
        found = np.zeros((len(self._ids), values.shape[1]))
        found[self._ids.get_indexer(run.ids)] = values
        return found

    def pooled(self, pairs: Pairs) -> np.ndarray:
        """(N, 2): sums over splits of values (n,), and how often each prompt was tested."""
        return sum(self.spread(run, np.column_stack([values, np.ones(len(run.ids))])) for run, values in pairs)

    def intervals(self, many: Sequence[Pairs]) -> list[Interval]:
        """Of the mean of values (n,) over all splits' test prompts, for each of many."""
        return self.bootstrap.of_means(self._side_by_side(many), means_of_pooled)

    def drawn(self, many: Sequence[Pairs]) -> np.ndarray:
        """(B + 1, D) the same D means on every draw, behind the sample's own."""
        table = self._side_by_side(many)
        return means_of_pooled(np.concatenate([table.mean(axis=0)[None], self.bootstrap.draws(table)]))

    def _side_by_side(self, many: Sequence[Pairs]) -> np.ndarray:
        return np.concatenate([self.pooled(pairs) for pairs in many], axis=1)  # one pass over the draws for all

    def area(self, curves: Sequence[tuple[Run, np.ndarray, np.ndarray]]) -> list[Interval]:
        """The area under a curve, and that less the best single's: means over splits.

        Args:
            curves: of each split the run, and what the choices of each point earn and cost (n, P).
        """
        columns = [
            self.spread(run, np.column_stack([cost, reward, run.cost, run.observed, np.ones(len(run.ids))]))
            for run, reward, cost in curves
        ]
        statistic = partial(areas, [run for run, _, _ in curves], [part.shape[1] for part in columns])
        return self._of_areas.of_means(np.concatenate(columns, axis=1), statistic)


def means_of_pooled(means: np.ndarray) -> np.ndarray:
    """(B, D) means over what was tested, from means (B, 2 D) of `Panel.pooled`."""
    return means[:, ::2] / means[:, 1::2]


def areas(runs: Sequence[Run], widths: Sequence[int], means: np.ndarray) -> np.ndarray:
    """(B, 2) mean over splits of the area and of the area less the best single's, from means (B, D) of all columns."""
    found = np.zeros((len(means), 2))
    for run, part in zip(runs, np.split(means, np.cumsum(widths)[:-1], axis=1), strict=True):
        members = run.observed.shape[1]
        points = (part.shape[1] - 1) // 2 - members
        for b, row in enumerate(part[:, :-1] / part[:, -1:]):
            cost, reward, pool = row[:points], row[points : 2 * points], row[2 * points :].reshape(2, members)
            single = [np.array([pool[axis, run.single]]) for axis in (0, 1)]
            own = audc(cost, reward, *pool)
            found[b] += own, own - audc(*single, *pool)
    return found / len(runs)


def rows(panel: Panel) -> Iterator[dict[str, Any]]:
    """The references of a panel, then its routers."""
    first = panel.reference
    known = {"oracle": np.max, "random": np.mean}
    gains = [[(run, earns(run.observed, axis=1) - run.alone) for run in first] for earns in known.values()]
    gains += [[(run, run.reward - run.alone) for run in runs] for runs in panel.routers.values()]
    found_gains = dict(zip([*known, *panel.routers], panel.intervals(gains), strict=True))
    headroom = {"headroom": found_gains["oracle"].mean}
    for name in known:
        yield row(panel, name, first) | told("gain", found_gains[name]) | headroom
    yield row(panel, SINGLE, first) | told("gain", Interval(0.0, 0.0, 0.0)) | headroom
    for name, runs in panel.routers.items():
        curves = [(run, *run.earned(run.lambdas(POINTS))) for run in runs]
        found = row(panel, name, runs) | told("gain", found_gains[name]) | headroom
        if all(run.costs_differ for run in runs):
            own, less = panel.area(curves)
            found |= told("audc", own) | told("audc_less_single", less)
        found |= saved(panel, runs)
        yield found


def row(panel: Panel, name: str, runs: Sequence[Run]) -> dict[str, Any]:
    """What a row is of."""
    table, reward_model = panel.name
    prompts = len(np.unique(np.concatenate([run.ids for run in runs])))
    return {"table": table, "reward_model": reward_model, "router": name, "splits": len(runs), "prompts": prompts}


def told(name: str, interval: Interval) -> dict[str, float]:
    """An interval as columns."""
    return {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}


def saved(panel: Panel, runs: Sequence[Run]) -> dict[str, Any]:
    """CostSave: the share of the best single's cost that is saved, and the reward gained there.

    At the cheapest lambda that validation showed to earn no less than it, over the splits that have such a lambda.
    """
    found = [(run, *run.earned([run.cheapest])) for run in runs if run.cheapest is not None]
    if not found:
        return {"saving_splits": 0}
    less = panel.pooled([(run, run.alone_cost - cost[:, 0]) for run, _, cost in found])
    alone = panel.pooled([(run, run.alone_cost) for run, _, _ in found])
    gain = panel.pooled([(run, reward[:, 0] - run.alone) for run, reward, _ in found])
    columns = np.column_stack([less[:, 0], alone[:, 0], gain])
    saving, gained = panel.bootstrap.of_means(columns, means_of_pooled)
    return {"saving_splits": len(found)} | told("saving", saving) | told("saving_gain", gained)


def main(sweeps: Sequence[str], results: str, ranks: str | None) -> None:
    """Write the tables."""
    runs, panels = read_runs(map(Path, sweeps)), []
    for name in sorted({run.panel for run in runs}):
        panels.append(Panel([run for run in runs if run.panel == name]))
        print(f"{' '.join(name)}: {len(panels[-1].routers)} routers", file=sys.stderr)
    frame = pd.DataFrame([found for panel in panels for found in rows(panel)])
    frame = frame.merge(pd.DataFrame(found for panel in panels for found in differences(panel)), how="left")
    blanks = pd.DataFrame(blanks_of(map(Path, sweeps), runs), columns=["table", "reward_model", "router", "why_not"])
    board = pd.concat([frame, blanks]).astype(dict.fromkeys(COUNTS, "Int64"))
    board.to_csv(results, index=False, float_format="%.5g")
    if ranks is not None:
        headrooms = frame.drop_duplicates(["table", "reward_model"]).set_index(["table", "reward_model"])["headroom"]
        over_tables(panels, headrooms.to_dict()).round(5).to_csv(ranks, index=False)


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument.endswith(".json")]
    rest = sys.argv[1 + len(given) :]
    if not given or len(rest) not in (1, 2):
        sys.exit("usage: python results.py <sweep.json>... results.csv [ranks.csv]")
    main(given, rest[0], rest[1] if len(rest) == 2 else None)
