"""Run experiments anew, and say how far their results are from those that are committed.

python reproduce.py [folder ...] [key=value ...]: every folder's run.sh is run on the table that ships, with these
overrides, and the README's table is made anew. A number of results.csv may be off by .005 plus 2%: other processors
round otherwise, and a rounding can turn a choice. Texts must be equal. Exits with 1 where something is further off.
"""

from __future__ import annotations

import io
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
NOT_RESULTS = (
    "p_value", "p_adjusted", "p_vs_best", "p_vs_single", "p_given", "p_predicted", "mcnemar_p", "verdict", "vs_best",
    "vs_single",
)  # fmt: skip


def main(names: list[str], overrides: list[str]) -> int:
    """Run the folders named (all of them if none is); 0 if all agree."""
    folders = {path.parent.name: path.parent for path in sorted(HERE.glob("[0-9]*/run.sh"))}
    if unknown := [name for name in names if name not in folders]:
        print(f"{', '.join(unknown)}: no such experiment; choose of {', '.join(folders)}", file=sys.stderr)
        return 2
    said = []
    for name in names or folders:
        before, start = committed(folders[name] / "results.csv"), time.perf_counter()
        done = subprocess.run(["bash", str(folders[name] / "run.sh"), *overrides], check=False)
        moved = f"run.sh failed ({done.returncode})" if done.returncode else None
        moved = moved or difference(before, pd.read_csv(folders[name] / "results.csv"))
        said.append((moved, f"{name}: {time.perf_counter() - start:.0f} s; {moved or 'as before, within tolerance'}"))
        print(said[-1][1], flush=True)
    headlines.main(str(HERE.parent / "README.md"))
    print("\n".join(["", *(line for _, line in said)]))
    return 1 if any(moved for moved, _ in said) else 0


def committed(file: Path) -> pd.DataFrame:
    """The results as they are committed, so that a second call compares with the same; outside git, as they stand."""
    shown = subprocess.run(["git", "show", f"HEAD:./{file.name}"], cwd=file.parent, capture_output=True, check=False)
    return pd.read_csv(file if shown.returncode else io.BytesIO(shown.stdout))


def difference(before: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """The first thing by which two tables of results differ too much, in words; None if none does.

    The order of rows does not count: some are sorted by a number, and two of them may change places.
    """
    if list(before) != list(after) or len(before) != len(after):
        return f"{len(before)} rows x {len(before.columns)} columns before, {len(after)} x {len(after.columns)} now"
    columns = [name for name in before if name not in NOT_RESULTS]
    texts = [name for name in columns if not pd.api.types.is_numeric_dtype(before[name])]
    if texts:
        before, after = (frame.sort_values(texts, kind="stable", ignore_index=True) for frame in (before, after))
    for column in columns:
        old, new = before[column], after[column]
        if column not in texts and pd.api.types.is_numeric_dtype(new):
            same = np.isclose(new, old, atol=ABSOLUTE, rtol=RELATIVE, equal_nan=True)
        else:
            same = ((old == new) | (old.isna() & new.isna())).to_numpy()
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            what = " ".join(str(before.loc[row, name]) for name in texts) or f"row {row}"
            return f"{(~same).sum()} of {column} are others, first {what}: {old[row]} before, {new[row]} now"
    return None


if __name__ == "__main__":
    sys.exit(main([a for a in sys.argv[1:] if "=" not in a], [a for a in sys.argv[1:] if "=" in a]))
