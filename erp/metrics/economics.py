"""What routing costs and where its money goes: labels, break-even, route shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from erp.decisions.checks import require_matrix
from erp.decisions.choice import Outcome
from erp.errors import ErpError
from erp.rounding import MEAN, difference, mean_difference, size_of


def share_entropy(shares: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Entropy -sum_m s_m log s_m of route shares, in nats and as a share of log M.

    Args:
        shares: (..., M) non-negative, summing to 1 over members.

    Returns:
        Two arrays of shape (...); the second is NaN in a pool of one member, whose spread has no scale.

    Raises:
        ErpError: when a row is not shares.
    """
    shares = np.asarray(shares, dtype=np.float64)
    if not (shares.size and (shares >= 0).all() and (np.abs(shares.sum(axis=-1) - 1) <= 1e-9).all()):
        raise ErpError("shares: a row is empty, negative, NaN or does not sum to 1; shares are allowed; normalise")
    entropy = np.asarray(entr(shares).sum(axis=-1))
    most = math.log(shares.shape[-1])
    return entropy, entropy / most if most > 0 else np.full_like(entropy, np.nan)


def share_to_dearest(shares: NDArray[np.floating], mean_cost: NDArray[np.floating]) -> NDArray[np.float64]:
    """Share that goes to the member of the largest mean cost, to all of them if several.

    Routers that regress rewards are said to collapse onto the dearest member as the budget grows (EquiRouter, arXiv
    2602.03478): along the curve this then rises to 1.

    Args:
        shares: (..., M).
        mean_cost: (M,).

    Returns:
        (...); NaN where all members cost the same.
    """
    is_dearest = mean_cost >= mean_cost.max() - MEAN * size_of(mean_cost)
    dearest = np.asarray(shares, dtype=np.float64)[..., is_dearest].sum(axis=-1)
    return np.full_like(dearest, np.nan) if is_dearest.all() else dearest


def paired_difference(name: str, router: NDArray[np.floating], single: NDArray[np.floating]) -> float:
    """Mean over prompts of router - single, exactly 0 where the differences cancel but for rounding.

    Args:
        name: what the values are, for the message.
        router: (N,).
        single: (N,) on the same prompts.

    Raises:
        ErpError: when lengths differ, there is no prompt, or a value is not finite.
    """
    if router.ndim != 1 or router.shape != single.shape or not len(router):
        raise ErpError(
            f"{name} = router of shape {router.shape}, best single of shape {single.shape}: not pairs; one value for "
            "each of the same prompts is allowed; score both on one table"
        )
    if not (np.isfinite(router).all() and np.isfinite(single).all()):
        raise ErpError(f"{name}: not finite for some prompts; only finite numbers are allowed; drop missing cells")
    return mean_difference(router, single)


def saving_at_no_less_reward(router: Outcome, single: Outcome, margin: float = 0.0) -> float | None:
    """Mean cost that the router saves per prompt against the best single; None where it earns less by over the margin.

    Raises:
        ErpError: when lengths differ or a reward or cost is not finite.
    """
    saving = paired_difference("cost", single.cost, router.cost)
    return saving if paired_difference("reward", router.reward, single.reward) >= -margin else None


def collection_cost(costs: NDArray[np.floating], samples: int | NDArray[np.number]) -> float:
    """What the labels of a table cost: sum over cells of cost per response x number of responses.

    Args:
        costs: (N, M) of one response, in tokens, usd or flops; may be NaN in cells without responses.
        samples: responses per cell, one number or (N, M).

    Returns:
        The total, in the unit of the costs. Rewarding the responses is not in it.

    Raises:
        ErpError: on counts that are negative or do not fit, and on a cost of a sampled cell that is not finite or
            negative.
    """
    shape = require_matrix("costs", costs)
    counts = np.asarray(samples)
    if counts.shape not in ((), shape) or (counts < 0).any():
        raise ErpError(
            f"samples = array of shape {counts.shape}: negative, or does not fit costs of shape {shape}; one count, or "
            "one per cell, of 0 or more is allowed; give the K of the collection"
        )
    counts = np.broadcast_to(counts, shape)
    paid = np.asarray(costs, dtype=np.float64)[counts > 0]
    if not (np.isfinite(paid).all() and (paid >= 0).all()):
        raise ErpError("costs: not finite or negative in a sampled cell; 0 or more is allowed; repair these cells")
    return float(paid @ counts[counts > 0])


@dataclass(frozen=True)
class BreakEven:
    """After how many prompts a router has paid for its labels and itself. All costs in one unit.

    Attributes:
        saving: mean cost saved per prompt, before the router's own; None where the router earns less.
        net_saving: the same less the router's own cost per prompt.
        prompts: whole number of routed prompts; infinity if never; None where it has no meaning.
        reason: why ``prompts`` is infinite or None.
    """

    saving: float | None
    net_saving: float | None
    prompts: float | None
    reason: str | None


def break_even(router: Outcome, single: Outcome, collection: float, router_cost: float) -> BreakEven:
    """Prompts after which the saving against the best single has paid for collection and router.

    prompts = collection / (c_single - c_router - router_cost), at no less reward, rounded up.

    Args:
        router: outcome on N prompts.
        single: outcome of the best single member on the same prompts.
        collection: what the labels cost once.
        router_cost: of deciding one prompt (embedding and heads).

    Raises:
        ErpError: when a cost is negative or not finite, or the outcomes do not fit.
    """
    if not (0 <= collection < math.inf and 0 <= router_cost < math.inf):
        raise ErpError(
            f"collection, router cost = {collection}, {router_cost}: not costs; 0 or more, finite, is allowed; give "
            "both in the unit of the outcomes"
        )
    saving = saving_at_no_less_reward(router, single)
    if saving is None:
        return BreakEven(None, None, None, "earns less than the best single: its lower cost is not a saving")
    net = float(difference(np.asarray(saving), np.asarray(router_cost), MEAN))
    if collection == 0 and net >= 0:
        return BreakEven(saving, net, 0.0, None)
    if net <= 0:
        reason = "saves nothing" if saving <= 0 else "costs as much per prompt as it saves"
        return BreakEven(saving, net, math.inf, reason)
    # Less a hair: 0.3 / 0.1 is 3 prompts, not 2.9999999999999996 nor 3.0000000000000004.
    ratio = collection / net * (1 - MEAN)
    return BreakEven(saving, net, float(math.ceil(ratio)) if ratio < math.inf else math.inf, None)
