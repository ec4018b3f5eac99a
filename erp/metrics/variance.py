"""Where the variance of rewards lies - prompts, members, their interaction, noise - and what a label budget buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from erp.errors import ErpError
from erp.targets import Targets, noise_of_means

_ROUNDING = 16 * np.finfo(np.float64).eps
"""A spread below this share of the largest reward is rounding, not variance."""


@dataclass(frozen=True)
class Components:
    """Variances of one sampled reward, in squared units of the reward. Unbiased estimates, so one may fall below 0.

    Attributes:
        prompt: Of the prompts' effects: difficulty, which all members share and no router can use.
        member: Of the members' effects, over this pool: what the best single member gets.
        interaction: Of what a member has on a prompt beyond both, mean over the pool. Necessary for routing and not
            sufficient: look at the headroom too.
        error: Of one sample about its cell's expectation, mean over the cells.
    """

    prompt: float
    member: float
    interaction: float
    error: float

    @property
    def total(self) -> float:
        """Their sum: the variance of one sample of a random member on a random prompt."""
        return self.prompt + self.member + self.interaction + self.error

    @property
    def shares(self) -> dict[str, float]:
        """Each as a share of the total; they add up to 1."""
        names = ("prompt", "member", "interaction", "error")
        return {name: float(getattr(self, name)) / self.total for name in names}


@dataclass(frozen=True)
class Decomposition:
    """Components, and what they were computed from.

    Attributes:
        components: None where they are not identified.
        reason: Why not; None where they are.
        prompts: Complete prompts, which all count.
        of: Prompts asked about.
        members: M.
        samples: Mean number of samples of their cells; 0 where there are none.
    """

    components: Components | None
    reason: str | None
    prompts: int
    of: int
    members: int
    samples: float


def decompose(targets: Targets, rows: NDArray[np.int64] | None = None) -> Decomposition:
    """Two-way decomposition mu_im = grand + alpha_i + beta_m + gamma_im over a fixed pool, plus sampling error.

    Over the prompts whose cells are all present, from all their samples: see `components`.

    Args:
        targets: Mean rewards per cell.
        rows: Prompts to compute it over; None = all.
    """
    at = np.arange(len(targets.mean)) if rows is None else rows
    complete = targets.take(at[targets.complete[at]])
    prompts, members = complete.mean.shape
    size = (prompts, len(at), members, float(complete.count.mean()) if prompts else 0.0)
    if not prompts:
        return Decomposition(None, "no prompt has a reward of every member", *size)
    if not np.isfinite(noise_of_means(complete)).any(axis=0).all():
        reason = (
            "a member has no cell of two samples on a complete prompt: at K = 1 nothing tells interaction from noise"
        )
        return Decomposition(None, reason, *size)
    if prompts < 2:
        return Decomposition(None, "only one complete prompt: two are needed", *size)
    found = components(complete)
    if found is None:
        return Decomposition(None, "all rewards are equal: there is no variance to share out", *size)
    return Decomposition(found, None, *size)


def components(targets: Targets) -> Components | None:
    """`decompose` for N >= 2 complete prompts; None where all rewards are equal. With M = 1 only prompt and error.

    The analysis of unweighted means: with ybar_im the cells' means, v_im the noise variance of each (s_im^2 / K_im, see
    `erp.targets.noise_of_means`) and gamma adding up to 0 over the pool, interaction = (sum of squares of ybar centred
    both ways / ((N - 1)(M - 1)) - mean v) (M - 1) / M; prompt = variance of the prompts' means - mean v / M; member =
    mean squared deviation of the members' means less what interaction and noise put there; error = mean of K_im v_im.
    Unbiased at any K, the same for every order of the samples, never clipped at 0; at equal K it is the analysis of
    variance of the balanced table.

    Source: expected mean squares of the two-way mixed model with fixed columns, restricted form, and unweighted means
    (Searle, Casella & McCulloch, "Variance Components", 1992; ICC(3) of Shrout & Fleiss 1979).
    """
    means, noise = targets.mean, noise_of_means(targets)
    prompts, members = means.shape
    by_prompt, by_member = means.mean(axis=1), means.mean(axis=0)
    beta = by_member - means.mean()
    gamma = means - by_prompt[:, None] - beta
    freedom = (prompts - 1) * (members - 1)
    both_ways = float((gamma**2).sum()) / freedom if freedom else 0.0
    off = (members - 1) / members
    found = Components(
        prompt=float(by_prompt.var(ddof=1)) - float(noise.mean()) / members,
        member=float((beta**2).mean()) - both_ways / prompts * off,
        interaction=(both_ways - float(noise.mean())) * off,
        error=float((noise * targets.count).mean()),
    )
    return found if found.total > (_ROUNDING * float(np.abs(means).max())) ** 2 else None


def spearman_brown(rho: NDArray[np.floating], factor: float) -> NDArray[np.float64]:
    """Reliability of means of `factor` times as many samples, from rho at the present, equal K; any shape.

    factor * rho / (1 + (factor - 1) * rho): of members and of differences alike. Source: Spearman 1910, Brown 1910.
    """
    rho = np.asarray(rho, dtype=np.float64)
    return factor * rho / (1.0 + (factor - 1.0) * rho)


@dataclass(frozen=True)
class BudgetPoint:
    """What N' prompts with K' samples of every member give; members and pairs averaged over the pool.

    Attributes:
        prompts: N'.
        samples: K'.
        reliability: Of a member's sample means.
        reliability_of_differences: Of differences between two members; NaN with one member.
        se_mean: Standard error of a member's mean reward (root mean square over members).
        se_difference: Of the difference between two members' mean rewards (over pairs); NaN with one member.
    """

    prompts: int
    samples: int
    reliability: float
    reliability_of_differences: float
    se_mean: float
    se_difference: float


def budget_curve(found: Components, members: int, budget: int, samples: Sequence[int]) -> list[BudgetPoint]:
    """How a budget of N' K' responses per member is best spread over prompts and samples.

    Between prompts the expected reward of a member varies by T = prompt + interaction, and the difference between two
    by T_D = 2 interaction M / (M - 1), both means over the pool. So with e = error: rho(K') = T / (T + e / K'), that is
    Spearman-Brown; rho_D(K') = T_D / (T_D + 2 e / K'); se_mean = sqrt((T + e / K') / N');
    se_difference = sqrt((T_D + 2 e / K') / N'). Prompts are taken as drawn from a population. At a fixed budget
    means are known best at K' = 1; more samples buy labels that are less noisy, and a view of the noise itself.

    Args:
        found: Components of the table.
        members: M.
        budget: Responses per member, N' K'.
        samples: K' of each point; N' = budget // K'.

    Raises:
        ErpError: When a K' is below 1 or above the budget.
    """
    if any(not 1 <= k <= budget for k in samples):
        raise ErpError(
            f"samples = {list(samples)}: does not fit a budget of {budget} responses per member; numbers from 1 to the "
            "budget are allowed; leave out what is outside"
        )
    between = found.prompt + found.interaction
    apart = 2 * found.interaction * members / (members - 1) if members > 1 else float("nan")
    points = []
    for k in samples:
        prompts = budget // k
        mean, difference = between + found.error / k, apart + 2 * found.error / k
        points.append(
            BudgetPoint(
                prompts,
                k,
                _over(between, mean),
                _over(apart, difference),
                _root(mean / prompts),
                _root(difference / prompts),
            )
        )
    return points


def _over(part: float, whole: float) -> float:
    """NaN where the whole is estimated as nothing."""
    return part / whole if whole > 0 else float("nan")


def _root(variance: float) -> float:
    """NaN for a variance estimated below 0."""
    return float(np.sqrt(variance)) if variance >= 0 else float("nan")
