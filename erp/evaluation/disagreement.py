"""Where the router's gains lie: on prompts where members differ, and on those where they cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from erp.decisions.choice import constant
from erp.evaluation.held_out import Floats, HeldOut, plain
from erp.metrics.disagreement import LEVEL, can_tell, folds, number_of_folds
from erp.metrics.intervals import GroupBootstrap, Interval
from erp.rounding import CELL, difference
from erp.table.samples import Samples

AT_K1 = "one sample of a cell cannot tell luck from a difference"
NO_SAMPLES = "there are no separate samples"
TOO_FEW = "with so few samples of rewards of 0 and 1 the test cannot find any difference"


def disagreement_section(held_out: HeldOut, samples: Samples | None, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """The section ``disagreement``: gains of the router at lambda = 0 by whether members differ on a prompt.

    Args:
        held_out: prompts whose cells are all present.
        samples: single rewards, by position among these prompts; None where there are none.
        bootstrap: over the groups of these prompts.
    """
    binary = held_out.targets.binary
    usable, reason = _usable(samples, held_out.size[1], binary)
    weights = {"router": held_out.choice(0.0).weights, "single": constant(held_out.single(), *held_out.size).weights}
    if held_out.category_scores is not None:
        weights["category_mean"] = held_out.choice(0.0, held_out.category_scores).weights
    if usable is not None:
        at = usable.rows
        parts = _cross_fitted(usable, binary, {name: choice[at] for name, choice in weights.items()})
        draws = bootstrap if len(at) == held_out.size[0] else bootstrap.of(at)
        told = {"basis": "test", "level": LEVEL, "prompts": len(at), "folds": number_of_folds(usable.count)}
        return {**told, "reason": None, **_both(parts, draws)}
    told = {"basis": None, "level": None, "prompts": held_out.size[0], "folds": None, "reason": reason}
    if not binary or held_out.size[1] < 2:
        return {**told, "disagree": None, "agree": None}
    differ = np.ptp(held_out.rewards, axis=1) > CELL
    earned = {name: (held_out.rewards * choice).sum(axis=1) for name, choice in weights.items()}
    return {**told, "basis": "observed", **_both(_split(differ.astype(np.float64), _gains(earned, None)), bootstrap)}


def _usable(samples: Samples | None, members: int, binary: bool) -> tuple[Samples | None, str | None]:
    """The prompts with two samples in every cell, if the test can tell anything there; else why not."""
    if members < 2:
        return None, "there is one member"
    if samples is None:
        return None, NO_SAMPLES
    enough = (samples.count >= 2).all(axis=1)
    if not enough.any():
        return None, AT_K1
    if not enough.all():
        samples = Samples(samples.reward[enough], samples.count[enough], samples.rows[enough])
    parts = number_of_folds(samples.count)
    told_by = int(samples.count.max()) - int(samples.count.max()) // parts
    return (samples, None) if can_tell(members, told_by, binary) else (None, TOO_FEW)


def _gains(earned: Mapping[str, Floats], best: Floats | None) -> dict[str, Floats]:
    """(n,) gains of the router and of the best observed member, from rewards (n,)."""
    gains = {"gain_vs_best_single": difference(earned["router"], earned["single"])}
    if "category_mean" in earned:
        gains["gain_vs_category_mean"] = difference(earned["router"], earned["category_mean"])
    if best is not None:
        gains["headroom"] = difference(best, earned["single"])
    return gains


def _split(differ: Floats, gains: Mapping[str, Floats]) -> dict[str, dict[str, Floats]]:
    """By part: the weight of a prompt in it, and its gains there, (n,) each."""
    shares = {"disagree": differ, "agree": 1.0 - differ}
    return {
        part: {"share": share, **{name: share * gain for name, gain in gains.items()}} for part, share in shares.items()
    }


def _cross_fitted(
    samples: Samples, binary: bool, weights: Mapping[str, NDArray[np.floating]]
) -> dict[str, dict[str, Floats]]:
    """`_split` over all folds: means of what each fold scores on the prompts that the other samples tell apart."""
    found: list[dict[str, dict[str, Floats]]] = []
    for fold in folds(samples.reward, binary):
        earned = {name: (fold.scored * choice).sum(axis=1) for name, choice in weights.items()}
        best = fold.scored[np.arange(len(fold.scored)), fold.known.argmax(axis=1)]
        found.append(_split(fold.differ.astype(np.float64), _gains(earned, best)))
    return {
        part: {name: np.mean([fold[part][name] for fold in found], axis=0) for name in found[0][part]}
        for part in found[0]
    }


def _both(parts: Mapping[str, Mapping[str, Floats]], bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Both parts as they stand in ``results.json``."""
    shares = _headroom_shares(parts, bootstrap)
    return {name: {**_part(columns, bootstrap), "headroom_share": shares[name]} for name, columns in parts.items()}


def _part(columns: Mapping[str, Floats], bootstrap: GroupBootstrap) -> dict[str, Any]:
    names = [name for name in columns if name.startswith("gain")]
    found: dict[str, Interval | None] = {"share": bootstrap.interval(columns["share"]), "gain_vs_category_mean": None}
    if columns["share"].any():
        gains = bootstrap.ratios(np.stack([columns[name] for name in names], axis=1), columns["share"])
        found |= dict(zip(names, gains, strict=True))
    else:
        found["gain_vs_best_single"] = None
    return {name: plain(interval) for name, interval in found.items()}


def _headroom_shares(parts: Mapping[str, Mapping[str, Floats]], bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Share of the headroom in each part; None where there may be none (`erp.metrics.headroom`), or it is not known."""
    if "headroom" not in parts["disagree"]:
        return dict.fromkeys(parts)
    of_each = np.stack([columns["headroom"] for columns in parts.values()], axis=1)
    whole = of_each.sum(axis=1)
    if not bootstrap.interval(whole).low > 0:
        return dict.fromkeys(parts)
    return dict(zip(parts, map(plain, bootstrap.ratios(of_each, whole)), strict=True))
