"""The numbers of a report for a router of one's own: plain arrays in, the sections of ``results.json`` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from erp.decisions.checks import require_costs, require_finite, require_matrix
from erp.decisions.policy import LambdaPolicy
from erp.errors import ErpError
from erp.evaluation.evaluate import evaluate
from erp.evaluation.held_out import HeldOut
from erp.files import jsonable
from erp.targets import Targets

BOOTSTRAP = {"draws": 10_000, "seed": 0, "level": 0.95}


def evaluate_scores(
    scores: ArrayLike,
    rewards: ArrayLike,
    costs: ArrayLike,
    *,
    train_rewards: ArrayLike,
    train_costs: ArrayLike | None = None,
    predicted_costs: ArrayLike | None = None,
    members: Sequence[str] | None = None,
    groups: ArrayLike | None = None,
    lambda_: float = 0.0,
    ordinal: bool = False,
    bootstrap: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge a router's scores of held-out prompts as ``erp train`` judges its own; docs/metrics.md has the keys.

    Args:
        scores: (N, M) of each prompt and member; the decision is argmax of score - lambda * predicted cost.
        rewards: (N, M) observed mean rewards; NaN = missing.
        costs: (N, M) observed costs, or (M,) of each member, in a unit of your own.
        train_rewards: (M,) mean reward of each member on the prompts that the router was fitted on: the best single
            member is chosen by it, because the one that is best on test is known in hindsight only.
        train_costs: (M,) mean cost there, which ties and ``lambda_`` go by; None only where ``costs`` are (M,):
            what held-out costs are on average is not known when one decides.
        predicted_costs: (M,) or (N, M) what the decision counts with; None: ``train_costs``.
        members: M names; None: their positions.
        groups: (N,) prompts of a group are resampled together, as rephrasings have to be; None: each by itself.
        lambda_: reward per unit of cost at which the section ``policy`` decides.
        ordinal: scores only order members, and are no predictions of rewards: no R^2.
        bootstrap: ``draws``, ``seed``, ``level`` of the intervals; None: 10,000, 0, 0.95.

    Returns:
        Plain values under the keys of ``results.json`` that follow from these arrays; lambdas are per your unit.

    Raises:
        ErpError: shapes that do not fit, values that are not finite, members that have one name.
    """
    score, reward = np.asarray(scores, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
    shape = require_matrix("scores", score)
    require_finite("scores", score)
    if reward.shape != shape:
        raise ErpError(f"rewards: shape {reward.shape}; allowed is that of scores, {shape}; give a reward for each")
    if np.isinf(reward).any():
        raise ErpError("rewards: infinite; allowed are numbers, and NaN where there is none; repair these cells")
    cost = np.broadcast_to(_floats("costs", costs, (shape[1:], shape)), shape)
    require_costs("costs", cost, shape)
    train_reward = _floats("train_rewards", train_rewards, (shape[1:],))
    if train_costs is None and np.ndim(costs) != 1:
        raise ErpError("train_costs: are required where each prompt has costs of its own; give the means on train")
    train_cost = _floats("train_costs", costs if train_costs is None else train_costs, (shape[1:],))
    predicted = (
        train_cost if predicted_costs is None else _floats("predicted_costs", predicted_costs, (shape[1:], shape))
    )
    names = tuple(map(str, range(shape[1]))) if members is None else tuple(members)
    if len(set(names)) != shape[1]:
        raise ErpError(f"members: {len(set(names))} names for {shape[1]} columns; give each column a name of its own")
    code = np.arange(shape[0]) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if code.shape != shape[:1]:
        raise ErpError(f"groups: shape {code.shape}; allowed is {shape[:1]}; give a group for each prompt")
    unknown = np.full(shape, np.nan)
    held_out = HeldOut(
        members=names,
        scores=score,
        category_scores=None,
        targets=Targets(reward, np.isfinite(reward).astype(np.int64), unknown, unknown),
        costs=np.ascontiguousarray(cost),
        predicted_costs=predicted,
        train_mean_reward=train_reward,
        train_mean_cost=train_cost,
        groups=code.astype(np.int64),
        scale="ordinal" if ordinal else "reward",
    )
    plain: dict[str, Any] = jsonable(evaluate(held_out, LambdaPolicy(lambda_), {**BOOTSTRAP, **(bootstrap or {})}))
    return plain


def _floats(name: str, values: ArrayLike, allowed: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
    found = np.asarray(values, dtype=np.float64)
    if found.shape not in allowed:
        raise ErpError(f"{name}: shape {found.shape}; allowed is {' or '.join(map(str, allowed))}; give one of these")
    require_finite(name, found)
    return found
