"""Rows that are means of several responses: what they still say of the responses one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

_EXACT = 1e-6  # of reward x n_samples, where rewards were not rounded; single precision has less than that
_DECIMALS = 7  # from here on a rounded reward is taken for a whole one
_CHANCE = 1e-6  # of rewards that are no means of 0/1 attempts looking like rounded ones that are
MOST = 20_000_000  # responses that are written out


def attempts_won(reward: NDArray[np.float64], n: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """How many of each row's n 0/1 attempts were won, where all rewards are means of such; None where they are not.

    They are where reward * n is whole, in [0, n], in every row: exactly, or within the rounding of the rewards' last
    decimal, if other numbers would hardly all be so near to whole ones. Means that are all 0 or 1 are none: a vote, or
    the best of n, looks like that.

    Args:
        reward: (rows,) finite.
        n: (rows,) responses that each is a mean of, 1 or more.
    """
    won = np.rint(reward * n)
    between = (n > 1) & (won > 0) & (won < n)
    if not ((won >= 0) & (won <= n)).all() or not between.any():
        return None
    off = np.abs(reward * n - won)
    if (off <= _EXACT * n).all():
        return won.astype(np.int64)
    decimals = next(
        (d for d in range(_DECIMALS) if (np.abs(reward - np.round(reward, d)) <= 10.0**-_DECIMALS).all()), None
    )
    if decimals is None:
        return None
    slack = n * (0.5 * 10.0**-decimals + _EXACT)
    by_chance = float(np.log(np.minimum(2 * slack[between], 1.0)).sum())  # 0 and 1 are whole whatever n is
    return won.astype(np.int64) if (off <= slack).all() and by_chance < np.log(_CHANCE) else None


@dataclass(frozen=True)
class Behind:
    """What the rewards of a table say of the responses behind them.

    Attributes:
        single: whether each is of one response.
        attempts: whether all are means of 0/1 attempts (`attempts_won`).
        few: whether so few responses stand behind them that they are written out one by one.
    """

    single: bool
    attempts: bool
    few: bool

    @classmethod
    def of(cls, samples: pd.DataFrame) -> Behind:
        """Of a table's samples."""
        n = samples["n_samples"].to_numpy()
        if (n == 1).all():
            return cls(single=True, attempts=False, few=True)
        reward, n = _of(rewarded(samples))
        return cls(single=False, attempts=attempts_won(reward, n) is not None, few=int(n.sum()) <= MOST)


def row_variance(rows: pd.DataFrame, behind: Behind) -> NDArray[np.float64]:
    """Unbiased variance between the responses behind each of these rows: 0 for a single one, NaN where unknown.

    Args:
        rows: samples with a reward.
        behind: of the whole table.
    """
    reward, n = _of(rows)
    variance = np.where(n == 1, 0.0, _told(rows))
    if behind.attempts:
        share = np.rint(reward * n) / n
        variance = np.where(np.isnan(variance), share * (1 - share) * n / np.maximum(n - 1, 1), variance)
    return variance


def written_out(
    rows: pd.DataFrame, behind: Behind, *, as_normal: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rewards of single responses, in the order of the rows: which of these rows each is of, and the reward.

    A mean of 0/1 attempts is its ones and zeros. One whose variance is told is, if that is asked for, n normal scores
    of that mean and variance; at n = 2 these are the two rewards themselves. Other means are left out, as are all means
    of a table where more than `MOST` responses stand behind them.

    Args:
        rows: samples with a reward.
        behind: of the whole table.
        as_normal: Whether responses may stand there that were never drawn.
    """
    reward, n = _of(rows)
    place = np.arange(len(n))
    if behind.single:
        return place, reward
    told = _told(rows)
    known = n == 1
    if behind.few:
        known = np.ones_like(known) if behind.attempts else known | (np.isfinite(told) & as_normal)
    place, reward, n = place[known], reward[known], n[known]
    of = np.repeat(np.arange(len(n)), n)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(n) - n, n)
    if behind.attempts:
        values = (nth < np.rint(reward * n)[of]).astype(np.float64)
    else:
        scores = np.concatenate([_normal_scores(int(k)) for k in n]) if len(n) else np.zeros(0)
        values = reward[of] + np.sqrt(np.where(n == 1, 0.0, told[known]))[of] * scores
    return place[of], values


def why_unknown(table: RewardTable) -> str | None:
    """Why the spread between responses behind means is not known; None where the table holds no mean, or it is."""
    behind = Behind.of(table.samples)
    if behind.single:
        return None
    rows = rewarded(table.samples)
    unknown = int(np.isnan(row_variance(rows, behind)).sum())
    if not unknown:
        return None
    reward, n = _of(rows)
    won = np.rint(reward * n)
    broken = (won < 0) | (won > n) | (np.abs(reward * n - won) > _EXACT * n)
    which = (
        f"reward x n_samples is not a whole number from 0 to n_samples in {int(broken.sum()):,} rows"
        if broken.any()
        else "all are exactly 0 or 1"
    )
    return (
        f"{unknown:,} of {len(rows):,} rewards are means of several responses that say nothing of their spread: "
        f"they are no means of 0/1 attempts ({which}), and the table has no reward_sd or reward_var for them; add one, "
        "or give single responses"
    )


def rewarded(samples: pd.DataFrame) -> pd.DataFrame:
    """Those that have a reward."""
    seen = samples["reward"].notna()
    return samples if seen.all() else samples[seen]


def _of(rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return rows["reward"].to_numpy(dtype=np.float64), rows["n_samples"].to_numpy(dtype=np.int64)


def _told(rows: pd.DataFrame) -> NDArray[np.float64]:
    """The variance that the table says, NaN where it says none."""
    if "reward_var" not in rows:
        return np.full(len(rows), np.nan)
    return rows["reward_var"].to_numpy(dtype=np.float64)


@cache
def _normal_scores(n: int) -> NDArray[np.float64]:
    """As many numbers like normal ones, of mean 0 and unbiased variance 1; one is 0."""
    scores = ndtri((np.arange(n) + 0.5) / n)
    return scores / np.sqrt((scores**2).sum() / (n - 1)) if n > 1 else np.zeros(1)
