"""Run experiments anew, and say how far their results are from those that stood there.

python reproduce.py [folder ...] [key=value ...]: every folder's run.sh is run on the table that ships, with these
overrides, and the README's table is made anew. A number of results.csv may be off by .005 plus 2%: other processors
round otherwise, and a rounding can turn a choice. Texts must be equal. Exits with 1 where something is further off.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import headlines
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ABSOLUTE, RELATIVE = 0.005, 0.02
# What a draw or a rounding may turn: p-values, and words that depend on a threshold.
NOT_RESULTS = ("p_value", "p_holm", "p_vs_best", "p_vs_single", "mcnemar_p", "verdict", "vs_best", "vs_single")


def main(names: list[str], workers: list[str]) -> int:
    """Run the folders named (all of them if none is); 0 if all agree."""
    folders = sorted(path.parent for path in HERE.glob("[0-9]*/run.sh"))
    chosen = [folder for folder in folders if not names or folder.name in names]
    bad, took = 0, []
    for folder in chosen:
        before, start = pd.read_csv(folder / "results.csv"), time.perf_counter()
        subprocess.run(["bash", str(folder / "run.sh"), *workers], check=True)
        said = difference(before, pd.read_csv(folder / "results.csv"))
        took.append(f"{folder.name}: {time.perf_counter() - start:.0f} s; {said or 'as before, within tolerance'}")
        print(took[-1], flush=True)
        bad += said is not None
    headlines.main(str(HERE.parent / "README.md"))
    print("\n".join(["", *took]))
    return 1 if bad else 0


def difference(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """The first thing by which two tables of results differ too much, in words; None if none does."""
    if list(before) != list(after) or len(before) != len(after):
        return f"{len(before)} rows x {len(before.columns)} columns before, {len(after)} x {len(after.columns)} now"
    for column in [name for name in before if name not in NOT_RESULTS]:
        old, new = before[column], after[column]
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            same = np.isclose(new, old, atol=ABSOLUTE, rtol=RELATIVE, equal_nan=True)
        else:
            same = ((old == new) | (old.isna() & new.isna())).to_numpy()
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            return f"{(~same).sum()} numbers of {column} are others, first row {row}: {old[row]} before, {new[row]} now"
    return None


if __name__ == "__main__":
    sys.exit(main([a for a in sys.argv[1:] if "=" not in a], [a for a in sys.argv[1:] if "=" in a]))
