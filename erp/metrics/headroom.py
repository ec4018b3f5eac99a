"""How much of what routing could gain was gained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval


def headroom_recovered(
    rows: NDArray[np.floating],
    best_single: NDArray[np.floating],
    oracle: NDArray[np.floating],
    bootstrap: GroupBootstrap,
) -> list[Interval] | None:
    """(U_row - U_best_single) / (U_oracle - U_best_single), with numerator and denominator resampled together.

    Args:
        rows: (N, R) utility per prompt of the rows in question.
        best_single: (N,) of the best single member, chosen on train.
        oracle: (N,) of the oracle.
        bootstrap: over the groups of these N prompts.

    Returns:
        One share per row. None unless the headroom's own interval lies above 0: a share of what may be nothing has no
        meaning. A split-half oracle, which errs on the low side, can even fall below the best single. Also None where
        all prompts are one group, as there is no interval then.

    Raises:
        ErpError: when lengths differ or values are not finite.
    """
    headroom = oracle - best_single
    if not bootstrap.interval(headroom).low > 0:
        return None
    return bootstrap.ratios(rows - best_single[:, None], headroom)
