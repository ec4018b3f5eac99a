"""Which tasks have something to route: python choose_tasks.py <pilot table> <results.csv>.

For each task of a pilot table: what each member earns; the gain over the best single member (of the whole pilot) of an
oracle that chooses by one half of the samples and is scored on the other; and the cost it saves: that of the cheapest
member which, chosen on one half, earns on the other no less than the best single member there, against the latter's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from erp.config import Cost, Pool
from erp.costs.expected import table_costs
from erp.table.read import read_table

HALVES = 200
KEEP_GAIN = 0.02  # split-half gain over the best single member
KEEP_SAVED = 0.25  # share of the best single member's cost
LEAST, MOST = 0.2, 0.97  # a task that nobody solves, or that everybody does, has nothing to route


def main(table_path: str, results: str) -> None:
    """Print and write the table, the chosen tasks first."""
    table = read_table(table_path, reward_model="verifier")
    costs = table_costs(table, Pool(), Cost()).values
    rewards = cube(table)
    category = table.prompts["category"].to_numpy(dtype=object)
    best = int(rewards.mean(axis=(0, 2)).argmax())
    print(f"best single member of the pilot: {table.members[best]}, {rewards[:, best].mean():.3f}")
    rows = []
    for task in dict.fromkeys(category):
        of_task = np.flatnonzero(category == task)
        r, c = rewards[of_task], costs[of_task].mean(axis=0)
        gain, saved = halves(r, c, best)
        means = r.mean(axis=(0, 2))
        keep = means.max() >= LEAST and means.min() <= MOST and (gain >= KEEP_GAIN or saved >= KEEP_SAVED)
        rows.append({"task": task, "prompts": len(of_task), "kept": keep, "gain": gain, "saved": saved,
                     **dict(zip(table.members, means, strict=True))})  # fmt: skip
    frame = pd.DataFrame(rows).sort_values(["kept", "gain"], ascending=False).round(3)
    frame.to_csv(results, index=False)
    print(frame.to_string(index=False))


def cube(table) -> np.ndarray:
    """Rewards of every sample, (prompts, members, K)."""
    k = int(table.samples.groupby(["prompt", "member"]).size().min())
    rows = table.samples.sort_values(["prompt", "member", "sample"]).groupby(["prompt", "member"]).head(k)
    return rows["reward"].to_numpy().reshape(len(table.prompts), len(table.members), k)


def halves(r: np.ndarray, c: np.ndarray, best: int) -> tuple[float, float]:
    """Mean split-half gain of an oracle by prompt, and share of cost saved by the task's cheapest equal member."""
    random = np.random.default_rng(0)
    gains, saved = [], []
    for _ in range(HALVES):
        order = random.permutation(r.shape[2])
        a, b = (r[:, :, half].mean(axis=2) for half in np.array_split(order, 2))
        chosen = a.argmax(axis=1)
        gains.append((b[np.arange(len(b)), chosen] - b[:, best]).mean())
        equal = np.flatnonzero(a.mean(axis=0) >= a[:, best].mean())
        cheapest = equal[c[equal].argmin()]
        kept = b[:, cheapest].mean() >= b[:, best].mean()
        saved.append(1 - c[cheapest] / c[best] if kept and c[cheapest] < c[best] else 0.0)
    return float(np.mean(gains)), float(np.mean(saved))


if __name__ == "__main__":
    if len(sys.argv) != 3 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python choose_tasks.py <pilot table's folder> <results.csv>")
    main(*sys.argv[1:])
