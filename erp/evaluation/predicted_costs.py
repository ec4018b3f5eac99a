"""How well costs are predicted prompt by prompt, and what that buys along the curve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from erp.decisions.curve import Curve, members_along
from erp.evaluation.held_out import Floats, HeldOut, plain
from erp.metrics.intervals import GroupBootstrap, Interval, together
from erp.metrics.routing import audc, audc_of_rows
from erp.rounding import MEAN, all_equal, difference

FIFTHS = 5
POINTS = 100
"""Of a curve, evenly spaced in number of policy changes, whose area is taken on every draw."""
CELLS = 1 << 22  # prompts x points held at once


def predicted_costs_section(
    held_out: HeldOut, bootstrap: GroupBootstrap, complete: HeldOut | None, draws: GroupBootstrap | None
) -> dict[str, Any] | None:
    """The section ``predicted_costs``; None where costs are the members' train means.

    Args:
        held_out: every held-out prompt; costs are judged where they are known, whoever has a reward.
        bootstrap: over their groups.
        complete: the prompts that decisions are compared on; None where there are none.
        draws: over their groups.
    """
    if held_out.predicted_costs.ndim == 1:
        return None
    bought = None if complete is None or draws is None else _bought(complete, draws)
    return {**_predictions(held_out, bootstrap), "on_validation": None, **(bought or dict.fromkeys(OTHERS))}


def _predictions(held_out: HeldOut, bootstrap: GroupBootstrap) -> dict[str, Any]:
    known = np.ones(held_out.size, dtype=bool) if held_out.costs_known is None else held_out.costs_known
    true, mean = np.where(known, held_out.costs, 0.0), np.where(known, held_out.train_mean_cost, 0.0)
    predicted = np.where(known, held_out.predicted_costs, 0.0)
    errors, base = (difference(true, of, MEAN) ** 2 for of in (predicted, mean))
    fifths = [_fifths(column, here) for column, here in zip(held_out.predicted_costs.T, known.T, strict=True)]
    parts = []
    for m, fifth in enumerate(fifths):
        columns = [errors[:, m], base[:, m], predicted[:, m], mean[:, m], true[:, m]]
        shares = [] if fifth is None else [*(fifth.T * predicted[:, m]), *(fifth.T * true[:, m])]
        parts.append((bootstrap, np.stack([*columns, *shares], axis=1), _of_member))
    varies = base.sum(axis=0) > 0
    squares = np.concatenate([errors[:, varies], base[:, varies]], axis=1)
    both = np.stack([predicted.sum(axis=1), true.sum(axis=1)], axis=1)
    *members, (r2,), (calibration,) = together([*parts, (bootstrap, squares, _mean_r2), (bootstrap, both, _ratio)])
    return {
        "members": {
            name: {
                "head": None,
                "r2": _told(found[0]),
                "calibration": _told(found[1]),
                "calibration_train_mean": _told(found[2]),
                "fifths": [_told(each) for each in found[3:]] or None,
            }
            for name, found in zip(held_out.members, members, strict=True)
        },
        "r2": _told(r2),
        "calibration": _told(calibration),
    }


def _fifths(predicted: Floats, known: np.ndarray[Any, Any]) -> Floats | None:
    """(N, 5) 1 where a prompt is in the fifth, by prediction, of those whose cost is known; None: there are none."""
    rows = np.flatnonzero(known)
    if len(rows) < FIFTHS or all_equal(predicted[rows]):
        return None
    found = np.zeros((len(predicted), FIFTHS))
    for at, part in enumerate(np.array_split(rows[np.argsort(predicted[rows], kind="stable")], FIFTHS)):
        found[part, at] = 1.0
    return found


def _of_member(means: Floats) -> Floats:
    """R^2, calibration of the predictions and of the train mean, and of the fifths."""
    error, base, predicted, mean, true = (means[..., at] for at in range(5))
    above, below = np.split(means[..., 5:], 2, axis=-1)
    told = np.stack([1.0 - error / base, predicted / true, mean / true], axis=-1)
    return np.concatenate([told, above / below], axis=-1)


def _mean_r2(means: Floats) -> Floats:
    errors, base = np.split(means, 2, axis=-1)
    return np.asarray((1.0 - errors / base).sum(axis=-1, keepdims=True) / errors.shape[-1])


def _ratio(means: Floats) -> Floats:
    return np.asarray(means[..., :1] / means[..., 1:])


def _told(found: Interval) -> dict[str, float] | None:
    return plain(found) if np.isfinite(found.mean) else None


OTHERS = ("train_means", "true_costs")
"""Costs that the decision may count with in place of the predicted ones."""


def _bought(complete: HeldOut, draws: GroupBootstrap) -> dict[str, Any] | None:
    """AUDC by predicted costs less that by others, the scores and the true costs being the same."""
    cost, reward = complete.means
    if all_equal(cost):
        return None
    others = dict(zip(OTHERS, (complete.train_mean_cost, complete.costs), strict=True))
    deciding = {"router": complete} | {name: replace(complete, predicted_costs=costs) for name, costs in others.items()}
    of_members = (draws.draws(complete.costs), draws.draws(complete.rewards))
    exact, drawn, thinned = {}, {}, {}
    for name, held in deciding.items():
        curve = held.curve()
        exact[name] = audc(curve.cost, curve.reward, cost, reward)
        thin = curve.thin(POINTS)
        thinned[name] = audc(thin.cost, thin.reward, cost, reward)
        drawn[name] = audc_of_rows(*_along(held, thin, draws), *of_members)
    found: dict[str, Any] = {}
    for name in OTHERS:
        gain = exact["router"] - exact[name]
        # Ends are those of the thinned curves, moved by what thinning changes: both are about the exact difference.
        moved = gain - (thinned["router"] - thinned[name])
        (interval,) = draws.percentiles(np.array([gain]), (drawn["router"] - drawn[name] + moved)[:, None])
        found[name] = {"audc": exact[name], "gain": plain(interval)}
    return found


def _along(held: HeldOut, curve: Curve, draws: GroupBootstrap) -> tuple[Floats, Floats]:
    """Mean cost and reward (draws, P) of every draw at the points of a curve."""
    several = max(1, CELLS // held.size[0])
    parts = []
    for start in range(0, len(curve.lambdas), several):
        members = members_along(held.scores, held.predicted_costs, curve.lambdas[start : start + several]).T
        parts.append([draws.draws(np.take_along_axis(of, members, axis=1)) for of in (held.costs, held.rewards)])
    cost, reward = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    return cost + held.read_first, reward
