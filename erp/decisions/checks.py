"""What every decision checks first: a NaN score would be chosen in silence by `argmax`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError, shorten


def require_finite(name: str, values: NDArray[np.floating], first_row: int = 0) -> None:
    """Refuse NaN and infinities, by position.

    Args:
        name: what the values are, for the message.
        values: any shape; the last axis counts members, the one before it prompts.
        first_row: row number of ``values[0]``, where a block of a longer matrix is checked.

    Raises:
        ErpError: with the row and member positions of what is not finite.
    """
    if np.isfinite(values).all():
        return
    bad = np.argwhere(~np.isfinite(values))
    if values.ndim == 1:
        cells = [f"member {m} is {values[m]}" for (m,) in bad]
    else:
        cells = [f"row {first_row + i}, member {m} is {values[i, m]}" for i, m in bad]
    raise ErpError(
        f"{name}: not finite at {shorten(cells)}; only finite numbers are allowed; drop or repair these cells"
    )


def require_lambda(lambda_: float) -> float:
    """Refuse a price per unit of cost that is negative or NaN; infinity is allowed.

    Raises:
        ErpError: when ``lambda_`` is not in [0, infinity].
    """
    if math.isnan(lambda_) or lambda_ < 0:
        raise ErpError(f"lambda = {lambda_}: not a price; a number from 0 to infinity is allowed; give reward per cost")
    return float(lambda_)


def require_matrix(name: str, values: NDArray[np.floating]) -> tuple[int, int]:
    """Refuse anything but (prompts, members) with at least one of each.

    Returns:
        The number of prompts and of members.

    Raises:
        ErpError: on another shape.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise ErpError(
            f"{name} = array of shape {values.shape}: not a table; (prompts, members) with at least one of each is "
            "allowed; check that the split is not empty"
        )
    return values.shape[0], values.shape[1]


def require_costs(name: str, costs: NDArray[np.floating], shape: tuple[int, int]) -> None:
    """Refuse costs that do not fit scores of ``shape`` (N, M): allowed are (M,) and (N, M), finite.

    Raises:
        ErpError: on another shape or on a cost that is not finite.
    """
    if costs.shape not in (shape, shape[1:]):
        raise ErpError(
            f"{name} = array of shape {costs.shape}: does not fit scores of shape {shape}; {shape[1:]} or {shape} is "
            "allowed; give one cost per member, or one per prompt and member"
        )
    require_finite(name, costs)
