"""Does length buy reward, do paraphrases go the same way, do reward models agree?"""

from __future__ import annotations

from erp.results.base import Count, Interval, Number, Section, told


class LengthBias(Section):
    """Does a longer response earn more?"""

    between: Interval | None = told(
        "partial correlation of reward with log length, given prompt and member", "-1 to 1; near 0",
        "no lengths (`between_reason`)",
    )  # fmt: skip
    between_reason: str | None = told("why not", null="it is known")
    within: Interval | None = told("the same within a cell", "-1 to 1; near 0", "K = 1 (`within_reason`)")
    within_reason: str | None = told("why not", null="it is known")
    samples: Count = told("responses used", "count")


class Paraphrases(Section):
    """Do texts that are alike go to one member?"""

    groups: Count = told("groups of test prompts that are alike, and their texts", "counts", "none")
    prompts: Count = told("groups of test prompts that are alike, and their texts", "counts", "none")
    same_member: Number = told("how often two of a group go to one member", "0 to 1; higher", "none")
    by_chance: Number | None = told("the same for two of different groups", "0 to 1", "one group")
    score_variance_within: Number | None = told(
        "share of the scores' variance within groups", "0 (they score alike) to 1", "one group"
    )


class Judged(Section):
    """Choices by the reward model learnt from, under the one that scores."""

    reward: Number = told("of the router, and of the first one's observed favourites, under the second", "reward")
    gain: Interval = told("over that best single", "reward; higher")


class OwnBestSingle(Section):
    """The best single member of the reward model that scores."""

    member: str = told("best single by the second", "", "no train split")
    reward: Number = told("its reward", "reward", "no train split")
    router_less_it: Interval = told("router minus it", "reward; higher", "no train split")


class CrossRewardModel(Section):
    """Only in ``erp evaluate`` by another reward model; the numbers are absent where ``reason`` says why."""

    learnt_from: str = told("only in `erp evaluate` by another reward model: the first, which the router learnt from")
    scored_by: str = told("the second, which scores it here")
    reason: str | None = told("why nothing is known", null="it is known")
    prompts: Count = told("that both scored", "count", default=0)
    agreement: Number | None = told("share of pairs of members that both order alike", "0 to 1", default=None)
    favourites_shared: Number | None = told(
        "how often the first one's favourite is one of the second's", "0 to 1", default=None
    )
    best_single_member: str = told("best single by the first", default="")
    router: Judged | None = told("the router", default=None)
    favourite: Judged | None = told("the first one's observed favourites", default=None)
    own_best_single: OwnBestSingle | None = told("best single by the second", null="no train split", default=None)


class Audits(Section):
    """What should not matter, and whether it does."""

    length_bias: LengthBias = told("does a longer response earn more?")
    paraphrases: Paraphrases | None = told("do texts that are alike go to one member?", null="no group has two texts")
    cross_reward_model: CrossRewardModel | None = told("do reward models agree?", default=None)
