"""Which runs can be compared, and which of them are one contender.

Runs of one *panel* have table, reward model, members and cost unit in common. Runs of a panel that differ in split and
seed alone are one *contender*, named by its router and by what tells it from the others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from erp.errors import shortened
from erp.findings import PANEL
from erp.results import Content, look_up

Floats = NDArray[np.float64]
Runs = Sequence[tuple[Path, Content]]


@dataclass(frozen=True, eq=False)
class KnownRun:
    """What a run is.

    Attributes:
        folder: of the run.
        panel: table, reward model, members, cost unit: what runs have in common that can be compared.
        router, backbone: names.
        settings: all else that makes it another contender than another run: dotted key -> value as JSON.
        split: all that decides which prompts are test, as one text: what splits are told apart by.
        split_seed, seed: which of the hashed splits; initialisation.
    """

    folder: Path
    panel: tuple[str, str, tuple[str, ...], str]
    router: str
    backbone: str
    settings: Mapping[str, str]
    split: str
    split_seed: int
    seed: int


@dataclass(frozen=True, eq=False)
class TestedRun(KnownRun):
    """One run on its N test prompts whose cells are all present, at lambda = 0.

    Attributes:
        ids: (N,) prompt ids, unique.
        groups: (N,) group of every prompt; prompts of a group are resampled together.
        observed: (N, M) rewards.
        reward, cost: (N,) of the member that the router sends the prompt to.
        single: (N,) reward of the best single member, chosen on train.
    """

    __test__ = False  # pytest takes every class called Test... for one of its own

    ids: NDArray[Any]
    groups: NDArray[Any]
    observed: Floats
    reward: Floats
    cost: Floats
    single: Floats

    @property
    def gain(self) -> Floats:
        """Reward above the best single (N,)."""
        return self.reward - self.single


def panel_key(results: Content) -> tuple[str, str, tuple[str, ...], str]:
    """What runs have in common that can be compared: table, reward model, members and cost unit."""
    run = results["run"]
    return run["table"], run["reward_model"], tuple(run["members"]), look_up(results, "cost", "unit") or "none"


def panel_facts(position: int, key: tuple[str, str, tuple[str, ...], str]) -> dict[str, Any]:
    """The columns `PANEL` of every table: the panel's number, counted from 1, and what its runs have in common."""
    table, reward_model, members, unit = key
    return dict(zip(PANEL, (position, table, reward_model, len(members), unit), strict=True))


def part_panels(runs: Sequence[KnownRun], notes: list[str]) -> list[list[KnownRun]]:
    """Runs that can be compared, together; equal names of two tables do not make them one.

    Args:
        runs: in any order. Those that are not tested show no rewards, and join the first panel of their names.
        notes: a line is added for every run whose rewards show that its table is another one.
    """
    panels: list[list[KnownRun]] = []
    # Stable: within a panel as given, the tested ones first, so that there are rewards to tell others by.
    for run in sorted(runs, key=lambda run: (str(run.panel), not isinstance(run, TestedRun))):
        rivals = [panel for panel in panels if panel[0].panel == run.panel]
        same = next((panel for panel in rivals if _agree(panel[0], run)), None)
        if same is not None:
            same.append(run)
            continue
        panels.append([run])
        if rivals:
            notes.append(
                f"{run.folder}: compared apart from {rivals[0][0].folder}: on the same prompts of {run.panel[0]} the "
                "observed rewards are others"
            )
    return panels


def _agree(first: KnownRun, second: KnownRun) -> bool:
    """Whether the same rewards were observed on the prompts that both have."""
    if not (isinstance(first, TestedRun) and isinstance(second, TestedRun)):
        return True
    at = pd.Index(first.ids).get_indexer(pd.Index(second.ids))
    return np.allclose(first.observed[at[at >= 0]], second.observed[at >= 0], rtol=1e-9, atol=1e-12)


def part_contenders(panel: Sequence[KnownRun]) -> dict[str, list[KnownRun]]:
    """Runs that differ in split and seed alone, by name; the second of equal settings, split and seed opens another."""
    parted: dict[tuple[str, int], list[KnownRun]] = defaultdict(list)
    seen: Counter[tuple[str, str, int]] = Counter()
    for run in panel:
        settings = json.dumps([run.router, run.backbone, sorted(run.settings.items())])
        one = (settings, run.split, run.seed)
        parted[settings, seen[one]].append(run)
        seen[one] += 1
    groups = list(parted.values())
    several = len({run.backbone for run in panel}) > 1
    heads = [f"{runs[0].router} {runs[0].backbone}" if several else runs[0].router for runs in groups]
    names: dict[int, str] = {}
    for head in set(heads):
        own = [i for i, other in enumerate(heads) if other == head]
        names |= dict(zip(own, _named(head, [groups[i] for i in own]), strict=True))
    return {names[i]: runs for i, runs in enumerate(groups)}


def _named(head: str, groups: Sequence[list[KnownRun]]) -> list[str]:
    """Names of contenders with one router and backbone: what their settings differ in, then where they lie."""
    settings = [runs[0].settings for runs in groups]
    keys = sorted({key for one in settings for key in one if any(other.get(key) != one[key] for other in settings)})
    last = Counter(key.rsplit(".", 1)[-1] for key in keys)
    short = {key: key.rsplit(".", 1)[-1] if last[key.rsplit(".", 1)[-1]] == 1 else key for key in keys}
    names = [
        ", ".join([head, *(f"{short[key]}={shortened(one.get(key, 'unset').strip(chr(34)), 24)}" for key in keys)])
        for one in settings
    ]
    folders = [{run.folder.resolve().parent.name for run in runs} for runs in groups]
    for name in [name for name, times in Counter(names).items() if times > 1]:
        alike = [i for i, other in enumerate(names) if other == name]
        places = ["".join(folders[i]) if len(folders[i]) == 1 else "" for i in alike]
        apart = len(set(places)) == len(alike) and all(places)
        for k, i in enumerate(alike):
            names[i] = f"{name} ({places[k] if apart else k + 1})"
    return names
