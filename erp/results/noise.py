"""How much of the table is noise."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from erp.results.base import Category, Count, Finite, Member, Number, Section, told

_VARIANCE = (
    "of a sampled reward: difficulty, members' means, who suits what, one sample's noise",
    "reward squared; may be below 0 by chance", "K = 1",
)  # fmt: skip
_SHARES = ("their shares; add up to 1", "", "K = 1")


class PairReliability(Section):
    """Of the difference between two members."""

    members: Annotated[list[str], Field(min_length=2, max_length=2)] = told(
        "pair by pair", "up to 1", "more than twelve members"
    )
    reliability: Number | None = told("pair by pair", "up to 1", "more than twelve members")


class ReliabilityOfDifferences(Section):
    """Of the differences between two members."""

    pooled: Number | None = told(
        "of the differences between two members, and its range over pairs", "up to 1", "K = 1; one member"
    )
    lowest: Number = told(
        "of the differences between two members, and its range over pairs", "up to 1", "K = 1; one member"
    )
    highest: Number = told(
        "of the differences between two members, and its range over pairs", "up to 1", "K = 1; one member"
    )
    pairs: list[PairReliability] | None = told("pair by pair", null="more than twelve members")


class Variances(Section):
    """Variance components."""

    prompt: Finite = told(*_VARIANCE)
    member: Finite = told(*_VARIANCE)
    interaction: Finite = told(*_VARIANCE)
    error: Finite = told(*_VARIANCE)


class VarianceShares(Section):
    """The same as shares."""

    prompt: Number = told(*_SHARES)
    member: Number = told(*_SHARES)
    interaction: Number = told(*_SHARES)
    error: Number = told(*_SHARES)


class Components(Section):
    """Where the variance of a sampled reward comes from."""

    prompts: Count = told("complete prompts used, of how many, with how many samples a cell in the mean", "counts")
    of: Count = told("complete prompts used, of how many, with how many samples a cell in the mean", "counts")
    samples: Number = told("complete prompts used, of how many, with how many samples a cell in the mean", "counts")
    reason: str | None = told("why there are none", null="there are")
    variance: Variances | None = told("of a sampled reward", null="K = 1")
    shares: VarianceShares | None = told("as shares", null="K = 1")


class Spread(Section):
    """What as many responses as the table has would give, spread otherwise."""

    prompts: Count = told("the same number of responses, spread otherwise", "counts", "K = 1")
    samples: Count = told("the same number of responses, spread otherwise", "counts", "K = 1")
    reliability: Number | None = told("what that would give", "up to 1; higher", "K = 1")
    reliability_of_differences: Number | None = told("what that would give", "up to 1; higher", "K = 1")
    se_mean: Number | None = told("standard error of a member's mean, of a difference of two", "reward; lower", "K = 1")
    se_difference: Number | None = told(
        "standard error of a member's mean, of a difference of two", "reward; lower", "K = 1"
    )


class Headroom(Section):
    """Between best single, in hindsight, and an oracle."""

    naive: Number | None = told(
        "oracle minus best single: too high", "reward, at least 0",
        "no prompt has all rewards; reliabilities are then over each member's own prompts",
    )  # fmt: skip
    split_half: Number | None = told("split-half oracle minus best single: too low, may be below 0", "reward", "K = 1")
    prompts: Count = told("that both ends are of", "count")


class CategoryNoise(Section):
    """One category."""

    prompts: Count = told("its size", "count", "no categories")
    best: str = told("its best member", "", "no categories")
    reward: Number = told("what that earns in it", "reward", "no categories")
    best_single_reward: Number = told("what the overall best earns in it", "reward", "no categories")
    components: Components = told("as above, of the category")
    headroom: Headroom = told("as above, of the category")


class Noise(Section):
    """Over the whole table, in hindsight."""

    doubt: str | None = told(
        "why what is told is not to be believed: samples that look like copies of one response",
        null="nothing speaks against it",
    )
    reason: str | None = told("why nothing of it can be told", null="it can")
    reliability: dict[Member, Number | None] = told(
        "share of the variance of K-sample means that is signal", "up to 1; higher", "K = 1"
    )
    reliability_pooled: Number | None = told("of all members together", "up to 1", "K = 1")
    reliability_of_differences: ReliabilityOfDifferences | None = told(
        "of the differences between two members", null="K = 1; one member"
    )
    components: Components = told("where the variance comes from")
    budget: list[Spread] | None = told("the same number of responses, spread otherwise", null="K = 1")
    headroom: Headroom = told("what there is to gain")
    categories: dict[Category, CategoryNoise] | None = told("of each category", null="no categories")


class SplitHalf(Section):
    """The split-half oracle on test prompts."""

    reward: Number = told("chosen on half of the samples, scored on the other, test prompts", "reward", "K = 1")
    sd_over_halves: Number = told("spread over random halves", "reward", "K = 1")
    prompts: Count = told("on how many", "count", "K = 1")
    oracle: Number = told("the plain oracle there", "reward", "K = 1")
