"""Categories as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def category_codes(values: Sequence[object], categories: Sequence[str]) -> NDArray[np.int64]:
    """Position of each value in ``categories``; -1 where it is not there."""
    code = {category: i for i, category in enumerate(categories)}
    codes = (-1 if pd.isna(v) else code.get(str(v), -1) for v in values)  # type: ignore[call-overload]
    return np.fromiter(codes, dtype=np.int64, count=len(values))
