"""What is left of the gain on a category never seen: python results.py <unseen.json> <seen.json> > results.csv.

A prompt's gain over best single (of the same run, by its train prompts) where its category was left out, beside its
gain where the category was learnt from and the prompt was held out: mean over the splits that hold it out.
At lambda = 0. `reward_less` does not depend on which single member was best on train. Intervals are over groups of
prompts, the categories taken as given; in the row `tasks` whole categories are resampled, as for a task that nobody has
seen yet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from erp.evaluation.comparison.contenders import TestedRun
from erp.evaluation.comparison.tested import read_tested
from erp.metrics.intervals import GroupBootstrap
from erp.programs.compare import find_runs
from erp.runs import RunFolder

KEYS = ["reward_model", "router"]
NUMBERS = ("gain_seen", "gain_unseen", "gain_less", "reward_less")


def gains(sweep: str, category: bool) -> pd.DataFrame:
    """A row for every prompt of every reward model and router: group, reward and gain, mean over its runs."""
    content = list(find_runs([sweep], Path(sweep).parent.parent).runs.items())
    parts = []
    for run in read_tested(content)[0]:
        if isinstance(run, TestedRun):
            part = pd.DataFrame({"prompt": run.ids, "group": run.groups, "reward": run.reward, "gain": run.gain})
            part = part.assign(reward_model=run.panel[1], router=run.router)
            parts.append(
                part.assign(category=RunFolder(run.folder).load_config()["split"]["category"]) if category else part
            )
    keys = [*KEYS, "prompt", "group", *(["category"] if category else [])]
    return pd.concat(parts).groupby(keys, as_index=False)[["reward", "gain"]].mean()


def rows(unseen: str, seen: str) -> Iterator[dict[str, object]]:
    """A row for every reward model, router and category, and for all categories together."""
    both = gains(unseen, True).merge(gains(seen, False), on=[*KEYS, "prompt", "group"], suffixes=("_unseen", "_seen"))
    for (reward_model, router), own in both.groupby(KEYS, sort=False):
        parts = [(name, part, part["group"]) for name, part in own.groupby("category")]
        for category, part, groups in [*parts, ("all", own, own["group"]), ("tasks", own, own["category"])]:
            less = {name: part[f"{name}_unseen"] - part[f"{name}_seen"] for name in ("gain", "reward")}
            columns = np.column_stack([part["gain_seen"], part["gain_unseen"], less["gain"], less["reward"]])
            found = GroupBootstrap(groups.factorize()[0]).intervals(columns)
            yield {
                "reward_model": reward_model, "router": router, "category": category, "prompts": len(part),
                **{f"{name}{end}": value for name, i in zip(NUMBERS, found, strict=True)
                   for end, value in (("", i.mean), ("_low", i.low), ("_high", i.high))},
            }  # fmt: skip


if __name__ == "__main__":
    pd.DataFrame(rows(*sys.argv[1:])).round(5).to_csv(sys.stdout, index=False)
