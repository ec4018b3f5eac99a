"""Expected rewards and how well the samples determine them: pure functions of the table (docs/method.md)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import comb

from erp.errors import ErpError
from erp.rounding import CELL, tied_for_most
from erp.table.means import Behind, row_variance
from erp.table.samples import padded_samples, rewarded_blocks, samples_with_at_least

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from erp.table.schema import RewardTable

_ROUNDING = 16 * np.finfo(np.float64).eps  # a spread below this share of the largest value is rounding
_HALVES_WORK = 2e8  # samples drawn over all random halves: seconds; large tables need few halves anyway
_HALVES_BLOCK = 1 << 17  # samples halved at once: 1 MiB an array, within a processor's cache


@dataclass(frozen=True, eq=False)
class SplitHalf:
    """What `split_half_oracle` found, in units of the reward.

    Attributes:
        mean: Mean over prompts and random halves.
        sd: Standard deviation, over the halves, of the mean over prompts.
        reward: (n,) each prompt's mean over the halves: to be paired with other rows, prompt by prompt.
        rows: (n,) row of each of these prompts in the table's prompts.
    """

    mean: float
    sd: float
    reward: NDArray[np.float64]
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Targets:
    """Estimates per cell, (prompts, members), in units of the reward.

    Attributes:
        mean: Mean reward over the samples; NaN = missing.
        count: How many responses it is a mean of; 0 = missing.
        variance: Unbiased variance between the responses of the cell; NaN where fewer than two tell of it.
        standard_error: Of the mean; NaN where the variance is.
        freedom: Degrees of freedom of the variance; None = count - 1 wherever there is one.
    """

    mean: NDArray[np.float64]
    count: NDArray[np.int64]
    variance: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    freedom: NDArray[np.int64] | None = None

    @property
    def degrees(self) -> NDArray[np.int64]:
        """Degrees of freedom of the variance, 0 where there is none."""
        freedom = self.count - 1 if self.freedom is None else self.freedom
        return np.where(np.isfinite(self.variance), freedom, 0)

    @property
    def binary(self) -> bool:
        """Whether every response is known to have earned 0 or 1, from the means and how they vary."""
        seen = self.count > 0
        mean, count = self.mean[seen], self.count[seen]
        varied = count > 1
        spread = mean[varied] * (1 - mean[varied]) * count[varied] / (count[varied] - 1)
        whole = np.abs(mean * count - np.rint(mean * count)) <= 1e-9 * count  # sums of 0 and 1
        # The squares of numbers from 0 to 1 add up to what they do only where all are 0 or 1. NaN is not known.
        alike = np.abs(self.variance[seen][varied] - spread) <= 1e-9
        return bool(((mean >= 0) & (mean <= 1) & whole).all() and alike.all())

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Which prompts have a reward from every member (N,)."""
        return np.asarray((self.count > 0).all(axis=1))

    def take(self, rows: NDArray[np.int64] | slice) -> Targets:
        """Of these prompts only; of a run of them, not copied."""
        freedom = None if self.freedom is None else self.freedom[rows]
        return Targets(self.mean[rows], self.count[rows], self.variance[rows], self.standard_error[rows], freedom)


def expected_reward(table: RewardTable) -> Targets:
    """Mean, count and error of the rewards of every (prompt, member).

    A row that is already a mean of `n_samples` responses weighs that much. Variances come from the rows whose spread is
    known: single responses, means of 0/1 attempts, and means whose variance the table tells (`erp.table.means`).
    """
    shape = (len(table.prompts), len(table.members))
    behind = Behind.of(table.samples)
    mean, variance, error = (np.full(shape, np.nan) for _ in range(3))
    count, freedom = (np.zeros(shape, dtype=np.int64) for _ in range(2))
    found = Targets(mean, count, variance, error, freedom)
    for at, rows in rewarded_blocks(table):
        _fill(found.take(at), rows, behind, at.start)
    return found


def _fill(found: Targets, rows: pd.DataFrame, behind: Behind, first: int) -> None:
    """Write what is known of a run of prompts, the first of which is given, into their part of the targets."""
    size, members = found.mean.size, found.mean.shape[1]
    cell = (rows["prompt"].to_numpy() - first) * members + rows["member"].to_numpy()
    reward, weight = rows["reward"].to_numpy(dtype=np.float64), rows["n_samples"].to_numpy(dtype=np.int64)
    count = np.bincount(cell, weights=weight, minlength=size)
    np.divide(
        np.bincount(cell, weights=weight * reward, minlength=size), count, out=found.mean.reshape(-1), where=count > 0
    )
    spread = row_variance(rows, behind)
    known = np.isfinite(spread)
    variance, freedom = _variance(cell[known], reward[known], weight[known], spread[known], size)
    found.count.reshape(-1)[:] = count
    found.variance.reshape(-1)[:] = variance
    error = np.divide(variance, count, out=np.full(size, np.nan), where=count > 0)
    found.standard_error.reshape(-1)[:] = np.sqrt(error)
    if found.freedom is not None:
        found.freedom.reshape(-1)[:] = freedom


def _variance(
    cell: NDArray[np.int64], reward: NDArray[np.float64], n: NDArray[np.int64], spread: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Unbiased variance within each cell and its degrees of freedom (size,), from means of n and their variances.

    In two passes: rewards may be large beside their spread.
    """
    count = np.bincount(cell, weights=n, minlength=size)
    mean = np.bincount(cell, weights=n * reward, minlength=size) / np.maximum(count, 1)
    squares = np.bincount(cell, weights=n * (reward - mean[cell]) ** 2 + (n - 1) * spread, minlength=size)
    variance = np.full(size, np.nan)
    np.divide(squares, count - 1, out=variance, where=count >= 2)
    return variance, np.maximum(count - 1, 0).astype(np.int64)


def samples_per_cell(targets: Targets) -> tuple[int, int]:
    """Smallest and largest K over the cells that are present; (0, 0) if none is."""
    present = targets.count[targets.count > 0]
    return (int(present.min()), int(present.max())) if present.size else (0, 0)


def reliability(targets: Targets, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Reliability rho = 1 - n / V of each member's sample means (M,): the R^2 that a perfect predictor reaches.

    V is the variance of the means, n the mean of s_i^2 / K_i, both over all prompts that the member has, as R^2 is. A
    cell without a variance of its own (one sample, or a mean of several) takes the member's pooled one, over the cells
    that have it, by degrees of freedom: else cells of one sample, the noisiest, would be left out of n.
    NaN where no cell has two samples, with fewer than two prompts, or when all means are equal.

    Source: at equal K this is the Spearman-Brown form of the intraclass correlation; docs/method.md.

    Args:
        targets: Estimates per cell.
        rows: Prompts to compute it over; None = all.
    """
    at = slice(None) if rows is None else rows
    mean, count, variance = targets.mean[at], targets.count[at], targets.variance[at]
    rho = np.full(mean.shape[1], np.nan)
    for member in range(mean.shape[1]):
        present = count[:, member] > 0
        own, samples = variance[present, member], count[present, member]
        known = np.isfinite(own)
        if present.sum() < 2 or not known.any():
            continue
        observed = float(mean[present, member].var(ddof=1))
        if observed > (_ROUNDING * float(np.abs(mean[present, member]).max())) ** 2:
            pooled = np.average(own[known], weights=targets.degrees[at][present, member][known])
            rho[member] = 1.0 - float((np.where(known, own, pooled) / samples).mean()) / observed
    return rho


def noise_of_means(targets: Targets, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
    """Noise variance s_i^2 / K_i of every cell's mean (n, M), by the conventions of `reliability`.

    A cell without a variance of its own takes the member's pooled one over the prompts in question. NaN where the cell
    is missing, or no cell of the member has two samples.

    Args:
        targets: Estimates per cell.
        rows: Prompts in question (n,); None = all.
    """
    at = slice(None) if rows is None else rows
    count, variance = targets.count[at], targets.variance[at]
    known = np.isfinite(variance)
    freedom = targets.degrees[at]
    total = freedom.sum(axis=0)
    pooled = np.where(total > 0, (freedom * np.where(known, variance, 0.0)).sum(axis=0) / np.maximum(total, 1), np.nan)
    return np.where(count > 0, np.where(known, variance, pooled) / np.maximum(count, 1), np.nan)


def expected_target(table: RewardTable, kind: str = "mean", quantile: float = 0.9, n: int = 4) -> Targets:
    """Targets of another statistic of a cell's samples than their mean; errors are known for the mean only.

    ``quantile``: of the samples, linear between them. ``best_of_n``: expected maximum of n of the K samples drawn
    without replacement, an unbiased estimate of what the best of n fresh responses earns: sum over the sorted samples
    y_(j) of C(j - 1, n - 1) / C(K, n) y_(j).

    Args:
        table: The table.
        kind: mean, quantile or best_of_n.
        quantile: Which one, above 0 and below 1.
        n: Responses, at most as many as the fewest samples of a present cell.

    Raises:
        ErpError: Where a cell has too few separate samples.
    """
    targets = expected_reward(table)
    if kind == "mean":
        return targets
    samples = padded_samples(table)
    count = (~np.isnan(samples)).sum(axis=2)
    fewest, needed = int(count[count > 0].min()), n if kind == "best_of_n" else 2
    if int(count.sum()) < int(targets.count.sum()):
        raise ErpError(
            f"target.kind = {kind}: the table holds means of several responses; target.kind=mean is allowed there; "
            "give the separate samples"
        )
    if fewest < needed:
        what = f"target.n = {n}" if kind == "best_of_n" else f"target.kind = {kind}"
        raise ErpError(
            f"{what}: a cell has {fewest} separate samples, and {needed} are needed; target.kind=mean is always "
            "allowed; collect more samples, or ask for less"
        )
    ordered = np.sort(samples, axis=2)  # NaN last
    if kind == "quantile":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a missing cell has no quantile
            values = np.nanquantile(ordered, quantile, axis=2)
    else:
        place = np.arange(samples.shape[2])
        weight = comb(place, n - 1) / comb(np.maximum(count, n), n)[:, :, None]
        values = np.where(count > 0, np.where(np.isnan(ordered), 0.0, ordered * weight).sum(axis=2), np.nan)
    unknown = np.full(values.shape, np.nan)
    return Targets(values, targets.count, unknown, unknown)


def split_half_oracle(
    table: RewardTable, rows: NDArray[np.int64], repeats: int = 200, seed: int = 0
) -> SplitHalf | None:
    """Reward of choosing each prompt's member on one half of its samples, scored on the other half.

    It understates the oracle, as the naive maximum of means overstates it. Ties on the first half go by pool
    order. With an odd K the half that chooses is the smaller one. Means of 0/1 attempts are halved as these attempts,
    so that the wins of a half are hypergeometric; means whose variance the table tells, as normal responses.

    Args:
        table: The table.
        rows: Prompts to average over; those with a cell of fewer than two separate samples are left out.
        repeats: Random halves, fewer on large tables where they differ little (but at least 8).
        seed: Of the halves.

    Returns:
        None where no prompt has two samples in every cell (K = 1).
    """
    samples = samples_with_at_least(2, table, rows, as_normal=True)
    if samples is None:
        return None
    n, members, most = samples.reward.shape
    repeats = min(repeats, max(8, int(_HALVES_WORK / samples.reward.size)))
    rng = np.random.default_rng(seed)
    totals, by_prompt, earned = np.empty(repeats), np.zeros(n), np.empty(n)
    step = max(1, _HALVES_BLOCK // (members * most))
    for repeat in range(repeats):
        for start in range(0, n, step):  # in order, so the halves are the same whatever the size of blocks
            block = slice(start, start + step)
            earned[block] = _earned_by_halves(samples.reward[block], samples.count[block], rng)
        totals[repeat] = earned.mean()
        by_prompt += earned
    sd = float(totals.std(ddof=1)) if repeats > 1 else 0.0
    return SplitHalf(float(totals.mean()), sd, by_prompt / repeats, samples.rows)


def _earned_by_halves(
    reward: NDArray[np.float64], count: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """What each prompt's best member on a random half of its samples (n, M, K) earns on the other half (n,)."""
    absent = np.arange(reward.shape[2]) >= count[:, :, None]
    chosen_by = count // 2
    keys = rng.random(reward.shape)
    keys[absent] = np.inf
    ordered = np.sort(keys, axis=2)
    first = keys < np.take_along_axis(ordered, chosen_by[:, :, None], axis=2)  # chosen_by of the samples, at random
    present = np.where(absent, 0.0, reward)
    choosing = np.einsum("nmk,nmk->nm", present, first) / chosen_by
    scoring = np.einsum("nmk,nmk->nm", present, ~first) / (count - chosen_by)
    chosen = tied_for_most(choosing, CELL * np.abs(choosing)).argmax(axis=1)
    return np.asarray(np.take_along_axis(scoring, chosen[:, None], axis=1)[:, 0])
