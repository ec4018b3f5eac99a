"""Successive halving: rounds of ever larger fits, each with a quarter of the candidates of the round before."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from erp.routers.competing import places_of

GOES_ON = 4  # one in so many
MORE_PROMPTS = 3  # times as many prompts as the round before: of fewer than a third, means by category are too poor
FINALISTS = 3  # are compared in the last round
MANY = 1_000  # groups of prompts, of which a half teaches about as much as two thirds: two folds, else three
FEWEST = 100  # groups of prompts that a fit learns from at least, if half of them are as many
EPOCHS = 40  # that a whole fit by gradient often takes; the fits of the last round have as many between them
FOR_LEARNING = 0.75  # of the groups that a fit sees; the others are its validation


@dataclass(frozen=True)
class Round:
    """What every candidate still in is asked to do.

    Attributes:
        windows: a fit each: the first group that it sees and how many, in an order that goes round.
        epochs: that one by gradient may take.
        places: candidates that go on.
    """

    windows: tuple[tuple[int, int], ...]
    epochs: int
    places: int


def rounds(candidates: int, groups: int, folds: int | None) -> list[Round]:
    """From fits on a small share, scored on all other prompts, to cross-validation of the last few.

    Args:
        candidates: of the first round.
        groups: of prompts.
        folds: of the last round; a fit sees all but one. None: two of many groups, three of few.
    """
    folds = folds or (2 if groups >= MANY else 3)
    places = []
    while candidates > FINALISTS:
        candidates = max(FINALISTS, -(-candidates // GOES_ON))
        places.append(candidates)
    found = []
    for behind, going in enumerate(places):
        more = len(places) - behind
        seen = max(round(groups / MORE_PROMPTS**more), min(FEWEST, groups // 2))
        found.append(Round(((0, seen),), round(EPOCHS / GOES_ON**more), going))
    cuts = [fold * groups // folds for fold in range(folds + 1)]
    windows = tuple((end, groups - (end - start)) for start, end in pairwise(cuts))
    return [*found, Round(windows, EPOCHS // folds, 1)]


def parts(
    groups: NDArray[np.integer], window: tuple[int, int], seed: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Prompts (N,) that a fit learns from, those it chooses on, and all others; a group is in one of them.

    Args:
        groups: (N,) code of each prompt's group.
        window: the groups it sees.
        seed: of their order.
    """
    first, seen = window
    place = (places_of(groups, seed) - first) % len(np.unique(groups))
    learning = place < FOR_LEARNING * seen
    return learning, (place < seen) & ~learning, place >= seen
