"""How much of what routing could gain was gained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from erp.metrics.intervals import GroupBootstrap, Interval
from erp.rounding import difference


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
    # Both in one pass over the draws, which is what takes the time with many groups.
    gains = difference(np.concatenate([oracle[:, None], rows], axis=1), best_single[:, None])
    headroom, *shares = bootstrap.of_means(gains, _headroom_and_shares)
    return shares if headroom.low > 0 else None


def _headroom_and_shares(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 1 + R) headroom and gains -> the headroom, and the gains as shares of it."""
    # + 0.0 turns the -0.0 of a zero over a negative draw into a plain 0.
    return np.concatenate([means[..., :1], means[..., 1:] / means[..., :1] + 0.0], axis=-1)
