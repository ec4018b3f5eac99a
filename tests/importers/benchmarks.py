"""What the tests of benchmarks' sources share."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from erp import import_table
from erp.errors import ErpError
from erp.table.read import read_table
from erp.table.schema import RewardTable

if TYPE_CHECKING:
    from pathlib import Path


def imported(source: str, path: Path, **options: Any) -> tuple[RewardTable, dict[str, Any]]:
    """The table that an import makes, and what its manifest says of the import."""
    out = _out(path, options)
    made = import_table(source, path, out=str(out), progress=False, **options)
    return read_table(str(made.folder)), {**made.manifest, **made.manifest["import"]}


def refused(source: str, path: Path, **options: Any) -> str:
    """What an import says that is refused. Nothing is written."""
    with pytest.raises(ErpError) as caught:
        imported(source, path, **options)
    out = _out(path, options)
    assert not list(out.parent.glob(f"*{out.name}*"))
    return str(caught.value)


def _out(path: Path, options: dict[str, Any]) -> Path:
    return path.parent / "tables" / "-".join(["of", path.name, *(f"{name}={value}" for name, value in options.items())])


def cells(table: RewardTable, *columns: str) -> pd.DataFrame:
    """A row a sample, by category, prompt's text and member: its reward, and other columns of samples."""
    rows = table.samples.join(table.prompts[["category", "prompt"]].rename(columns={"prompt": "text"}), on="prompt")
    rows["model"] = [table.members[m] for m in rows["member"]]
    keys = ["category", "text", "model"]
    return rows[[*keys, "reward", *columns]].sort_values(keys, ignore_index=True)


def same_cells(table: RewardTable, long: pd.DataFrame, *columns: str) -> None:
    """Hold a table against the long frame that it was written from, cell by cell."""
    given = long.rename(columns={"prompt": "text"})[["category", "text", "model", "reward", *columns]]
    given = given.sort_values(["category", "text", "model"], ignore_index=True).astype({"reward": float})
    pd.testing.assert_frame_equal(cells(table, *columns), given, check_dtype=False, rtol=0, atol=0)


# of the README beside the real tables, over prompts whose cells are all there: how many, the mean of a random member,
# of the best one, of the oracle, and of the best one of each category
FACTS = {
    "alpaca_eval": (797, 0.1093, 0.7056, 0.8670, 0.7108),
    "humaneval3x10": (164, 0.6896, 0.8482, 0.9073, 0.8482),
    "llmrouter9": (5_989, 0.4270, 0.6197, 0.7984, 0.6668),
    "routellm2": (15_334, 0.7437, 0.8103, 0.8647, 0.8159),
    "zeroeval": (2_840, 0.6687, 0.9356, 0.9831, 0.9384),
}


def facts(table: RewardTable) -> tuple[float, ...]:
    """The same numbers of a table, to four decimals."""
    frame = cells(table)
    frame["prompt"] = frame["category"].astype(str) + "\0" + frame["text"]
    means = frame.pivot_table(index="prompt", columns="model", values="reward", aggfunc="mean", dropna=False).dropna()
    category = pd.Series(means.index.str.split("\0").str[0], index=means.index)
    best = means.groupby(category).mean().max(axis=1)
    found = means.to_numpy().mean(), means.mean().max(), means.max(axis=1).mean(), best[category].mean()
    return len(means), *(round(float(value), 4) for value in found)


def command_of(path: Path) -> list[str]:
    """The command that reads a file which is no reward table, as the error of one who took it for one names it."""
    with pytest.raises(ErpError) as caught:
        read_table(path)
    said = str(caught.value)
    assert "erp import source=" in said, said
    return shlex.split(said[said.rindex("erp import source=") :].splitlines()[0])
