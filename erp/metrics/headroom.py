"""How much of what routing could gain was gained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval


def headroom_recovered(
    router: NDArray[np.floating],
    best_single: NDArray[np.floating],
    oracle: NDArray[np.floating],
    bootstrap: GroupBootstrap,
) -> Interval | None:
    """(U_router - U_best_single) / (U_oracle - U_best_single), with numerator and denominator resampled together.

    Args:
        router: (N,) utility per prompt of the row in question.
        best_single: (N,) of the best single member, chosen on train.
        oracle: (N,) of the oracle.
        bootstrap: over the groups of these N prompts.

    Returns:
        None unless the headroom's own interval lies above 0: a share of what may be nothing has no meaning. A
        split-half oracle, which errs on the low side, can even fall below the best single. Also None where all prompts
        are one group, as there is no interval then.

    Raises:
        ErpError: when lengths differ or values are not finite.
    """
    headroom = bootstrap.interval(oracle - best_single)
    if not headroom.low > 0:
        return None
    return bootstrap.ratio(router - best_single, oracle - best_single)
