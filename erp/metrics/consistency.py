"""Are prompts that say the same thing sent to the same member?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError

_ROUNDING = 1e-12
"""A spread of scores below this share of the largest is rounding."""


@dataclass(frozen=True)
class Consistency:
    """What a router does with paraphrases; a text that is repeated within its group counts once, every group the same.

    Attributes:
        groups: Groups of two or more distinct texts.
        prompts: Distinct texts in them.
        same_member: Of two texts of one group, how often both are sent to the same member.
        by_chance: The same for two texts of two different groups; None with one group.
        score_variance_within: Half the mean squared difference of a member's scores between two texts of one group, as
            a share of that between two texts of different groups; mean over members. 0 where paraphrases score alike,
            1 where they are as far apart as any two prompts; 1 less the intraclass correlation. None with one group or
            where no member's scores differ between groups.
    """

    groups: int
    prompts: int
    same_member: float
    by_chance: float | None
    score_variance_within: float | None


def paraphrase_consistency(
    chosen: NDArray[np.integer],
    scores: NDArray[np.floating],
    groups: NDArray[np.integer],
    texts: NDArray[np.object_],
) -> Consistency | None:
    r"""How alike the decisions for the texts of one group are, beside how alike they are between groups.

    With p_g the shares of the members in group g of n_g texts, x its scores for one member, G groups:
    same = mean_g (n_g |p_g|^2 - 1) / (n_g - 1), chance = mean over g != h of p_g . p_h; variance within =
    mean_g s_g^2, between texts of different groups = mean over g != h of E(x_g - x_h)^2 / 2.

    Args:
        chosen: (N,) position of the chosen member.
        scores: (N, M), finite.
        groups: (N,) codes.
        texts: (N,) the prompts; of equal texts in one group the first counts.

    Returns:
        None where no group has two distinct texts.

    Raises:
        ErpError: when lengths differ, a score is not finite or a choice is not a member.
    """
    _require(chosen, scores, groups, texts)
    seen: dict[tuple[int, object], int] = {}
    for row, key in enumerate(zip(groups.tolist(), texts, strict=True)):
        seen.setdefault(key, row)
    rows = np.fromiter(seen.values(), dtype=np.int64, count=len(seen))
    _, codes, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    rows = rows[sizes[codes] >= 2]
    if not len(rows):
        return None
    _, codes, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    shares = _means(np.eye(scores.shape[1])[chosen[rows]], codes, sizes)
    same = float(((sizes * (shares**2).sum(axis=1) - 1) / (sizes - 1)).mean())
    chance = float(_across(shares).sum()) if len(sizes) > 1 else None
    return Consistency(len(sizes), len(rows), same, chance, _variance_within(scores[rows], codes, sizes))


def _variance_within(scores: NDArray[np.floating], codes: NDArray[np.int64], sizes: NDArray[np.int64]) -> float | None:
    """See `Consistency.score_variance_within`."""
    if len(sizes) < 2:
        return None
    largest = np.abs(scores).max(axis=0)
    x = scores.astype(np.float64) - scores.mean(axis=0, dtype=np.float64)
    mean = _means(x, codes, sizes)
    within = (_means((x - mean[codes]) ** 2, codes, sizes) * (sizes / (sizes - 1))[:, None]).mean(axis=0)
    total = _means(x**2, codes, sizes).mean(axis=0) - _across(mean)
    varies = total > (_ROUNDING * largest) ** 2
    return float((within[varies] / total[varies]).mean()) if varies.any() else None


def _means(values: NDArray[np.float64], codes: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means (G, D) of values (N, D) over the rows of every group."""
    sums = np.stack([np.bincount(codes, weights=column, minlength=len(sizes)) for column in values.T], axis=1)
    return sums / sizes[:, None]


def _across(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over ordered pairs of different groups of the product of their values (G, D) -> (D,)."""
    pairs = len(means) * (len(means) - 1)
    return np.asarray((means.sum(axis=0) ** 2 - (means**2).sum(axis=0)) / pairs, dtype=np.float64)


def _require(
    chosen: NDArray[np.integer],
    scores: NDArray[np.floating],
    groups: NDArray[np.integer],
    texts: NDArray[np.object_],
) -> None:
    if scores.ndim != 2 or any(values.shape != (len(scores),) for values in (chosen, groups, texts)):
        raise ErpError(
            f"chosen, scores, groups, texts = arrays of shapes {chosen.shape}, {scores.shape}, {groups.shape}, "
            f"{texts.shape}: do not fit; (N,), (N, M), (N,), (N,) are allowed; take the same prompts for all"
        )
    if not np.isfinite(scores).all():
        raise ErpError("scores: not finite; finite numbers are allowed; look at what the router was trained on")
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < scores.shape[1]:
        raise ErpError(
            f"chosen = {chosen.min()} to {chosen.max()}: not positions in a pool of {scores.shape[1]}; 0 to "
            f"{scores.shape[1] - 1} is allowed; take the choices of the same pool"
        )
