"""From config nodes to the split and the costs that programs start from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from erp.config import Split as SplitConfig
from erp.runs import RunFolder
from erp.table.kept import Kept
from erp.table.schema import RewardTable
from erp.table.splits import Split, split_table


def table_split(table: RewardTable, asked: SplitConfig, calibration: float) -> tuple[Split, tuple[str, ...]]:
    """The split, and what of it belongs to the run's name: the parts where they are another run's, else nothing more.

    Raises:
        ErpError: parts that cannot be made, or no such run.
    """
    kept = None
    if asked.from_ is not None:
        folder = RunFolder(Path(asked.from_).expanduser().resolve())
        kept = Kept(folder.load_split("split.from"), folder.path.name)
    split = split_table(table, calibration=calibration, kept=kept, **asked.model_dump(exclude={"from_"}))
    return split, () if kept is None else (hashlib.sha256("\n".join(split.parts).encode()).hexdigest(),)
