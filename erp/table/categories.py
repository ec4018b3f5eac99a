"""Categories as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def category_codes(values: Sequence[object], categories: Sequence[str]) -> NDArray[np.int64]:
    """Position of each value in ``categories``; -1 where it is not there."""
    code = {category: i for i, category in enumerate(categories)}
    codes = (-1 if missing(value) else code.get(str(value), -1) for value in values)
    return np.fromiter(codes, dtype=np.int64, count=len(values))


def missing(value: object) -> bool:
    """Whether pandas calls a value missing. Of texts and numbers that is told without importing it."""
    if value is None or isinstance(value, str | int):
        return value is None
    if isinstance(value, float):
        return value != value
    import pandas as pd

    return value is pd.NA or value is pd.NaT
