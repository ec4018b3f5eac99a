"""What evaluation hands to report beside ``results.json``: numbers that are finished, for report to put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PANEL = ["panel", "table", "reward_model", "members", "cost_unit"]
SINGLE = "best single"
UNTOLD = "not significant"
NOT_COMPARED = "not compared"  # for want of a row in common
MOST_ALL_PAIRS = 8  # contenders; of more, only differences to the best of them and to the best single are shown
POOLED = "pooled"  # the row of all members together


@dataclass(frozen=True, eq=False)
class Bins:
    """A member's test prompts in B bins of equal size by predicted reward; equal predictions share a bin.

    Attributes:
        predicted, observed: (B,) means.
        error: (B,) standard error of the observed mean; 0 of a single prompt.
    """

    predicted: Floats
    observed: Floats
    error: Floats


@dataclass(frozen=True)
class Place:
    """Where a run stands in a comparison: number and facts of its panel (`PANEL`), its contender's name, its split."""

    facts: Mapping[str, Any]
    contender: str
    split: str


@dataclass(frozen=True)
class Pairs:
    """What is known of the contenders and of the differences between them; missing values are NaN or None.

    Attributes:
        contenders: one row each, of every panel the largest gain over the best single first.
            ``vs_best`` says what the corrected difference to that first one says: ``best`` (it is the first itself),
            ``worse``, ``not significant``, ``not compared`` (no row in common), or ``better``, which is rare: its gain
            is smaller over all its runs, and its reward larger on the rows that both have. ``vs_single`` is ``better``,
            ``worse`` or ``not significant``.
        pairs: one row per difference: ``first`` less ``second``, the contender of the larger gain first.
            Of more than `MOST_ALL_PAIRS` contenders those to the best of them and to the best single only.
            ``p_adjusted`` is corrected over the differences between all contenders of the panel that have rows.
        places: panel, contender and split of every run: panel by panel, in each the contenders of the largest gain
            first, then those that are not tested.
        notes: what else a reader has to know, a line each.
        draws: of the bootstrap.
        level: of the intervals; a difference is significant where ``p_adjusted <= 1 - level``.
    """

    contenders: pd.DataFrame
    pairs: pd.DataFrame
    places: Mapping[Path, Place]
    notes: list[str]
    draws: int
    level: float


@dataclass(frozen=True, eq=False)
class MeanCurve:
    """One contender.

    Attributes:
        name: of the contender.
        runs: R of them have a curve.
        share: (P,) of the pool's cost range, ascending; 0 is the cheapest member's cost, 1 the dearest's.
        gain: (P,) mean gain over best single; the last point is lambda = 0.
        low, high: (P,) smallest and largest gain of a run.
    """

    name: str
    runs: int
    share: Floats
    gain: Floats
    low: Floats
    high: Floats

    def at(self, share: Floats) -> Floats:
        """Gains at shares of the range; NaN before the first point, and held beyond the last."""
        return np.asarray(np.interp(share, self.share, self.gain, left=np.nan, right=self.gain[-1]))


@dataclass(frozen=True, eq=False)
class CurvePanel:
    """All contenders of a panel, and what they are measured against; shares and gains as in `MeanCurve`.

    Attributes:
        facts: of the panel.
        curves: the contenders in the order of the places.
        oracle: its mean curve; None where no run has one.
        members: name -> (2,) share and gain, means over splits.
        single: share of the best single member, a mean over splits.
        ends: costs of the cheapest and the dearest member, means over splits: where shares 0 and 1 lie.
        logarithmic: whether shares are those of the range of the logarithm: the pool's costs are that far apart.
        splits: how many there are.
    """

    facts: Mapping[str, Any]
    curves: list[MeanCurve]
    oracle: MeanCurve | None
    members: dict[str, Floats]
    single: float
    ends: tuple[float, float]
    logarithmic: bool
    splits: int

    def costs(self, share: Floats) -> Floats:
        """The costs of shares, on the mean of the splits' ranges."""
        low, high = self.ends
        return low * (high / low) ** share if self.logarithmic else low + share * (high - low)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Everything that is known of some runs side by side.

    Attributes:
        runs: one row each: what it is, and what it gained at lambda = 0 on its test prompts.
        members: one row per panel, contender and member.
        pairs: contenders and differences.
        curves: a contender's mean curve beside the others', by panel.
        points: one row per point of every run's own curve.
        untested: a line for every run that is not in the pairs.
        skipped: a line for every run that is left out.
    """

    runs: pd.DataFrame
    members: pd.DataFrame
    pairs: Pairs
    curves: Sequence[CurvePanel]
    points: pd.DataFrame
    untested: Sequence[str]
    skipped: Sequence[str]
