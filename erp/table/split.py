"""Which prompts of a table are train, validation, calibration and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = ("train", "validation", "calibration", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers of `table.prompts`, ascending, in four disjoint parts.

    Attributes:
        train: What routers are fitted on.
        validation: What hyper-parameters are chosen on.
        calibration: What a guarantee is computed on; empty unless asked for.
        test: What results are read from, once.
        groups: Number of the component every prompt lies in (N,), for intervals clustered by group.
        keys: Key of each of those components (C,), str, sorted.
        texts: `text_key` of every prompt (N,), str.
        notes: What was left out and why, a plain sentence each.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    calibration: NDArray[np.int64]
    test: NDArray[np.int64]
    groups: NDArray[np.int64]
    keys: NDArray[np.object_]
    texts: NDArray[np.object_]
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> NDArray[np.object_]:
        """Name of every prompt's part (N,); ``unused`` for those in none."""
        found = np.full(len(self.groups), "unused", dtype=object)
        for name in PARTS:
            found[getattr(self, name)] = name
        return found

    @property
    def learnt(self) -> NDArray[np.int64]:
        """Rows of train and validation, ascending."""
        return np.sort(np.concatenate([self.train, self.validation]))

    def frame(self, prompts: pd.DataFrame) -> pd.DataFrame:
        """As a run's folder keeps it: which prompts the router has seen, to leave them out of another table."""
        return pd.DataFrame({
            "prompt_id": prompts["prompt_id"],
            "split": self.parts,
            "text_key": self.texts,
            "group_key": self.keys[self.groups],
        })  # fmt: skip
