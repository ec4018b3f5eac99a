"""The run's policy, other points of its curve, and what needs no router at the same cost."""

from __future__ import annotations

from typing import Literal

from erp.results.base import Count, Finite, Interval, Member, Number, Section, told


class Budget(Section):
    """What ``policy=budget`` promised, and kept."""

    budget: Number = told("`policy=budget`: the mean cost aimed at, planned, spent", "cost", "other policies")
    predicted: Number = told("`policy=budget`: the mean cost aimed at, planned, spent", "cost", "other policies")
    realised: Number = told("`policy=budget`: the mean cost aimed at, planned, spent", "cost", "other policies")


class Guarantee(Section):
    """What ``policy=guarantee`` promised, and kept."""

    lost: Number = told(
        "`policy=guarantee`: share of prompts lost, with its interval", "0 to 1; lower", "other policies"
    )
    low: Number = told(
        "`policy=guarantee`: share of prompts lost, with its interval", "0 to 1; lower", "other policies"
    )
    high: Number = told(
        "`policy=guarantee`: share of prompts lost, with its interval", "0 to 1; lower", "other policies"
    )
    prompts: Count = told("`policy=guarantee`: on how many", "count", "other policies")
    alpha: Number = told("`policy=guarantee`: the share promised", "0 to 1", "other policies")
    verdict: Literal["kept", "broken", "open"] = told(
        "`policy=guarantee`: `kept`, `broken` or `open`", null="other policies"
    )
    reference: str = told("`policy=guarantee`: against whom", null="other policies")


class PolicyOutcome(Section):
    """The run's policy on test."""

    name: str = told("which")
    label: str = told("which, in words")
    notes: list[str] = told("what it learnt", "texts")
    lambda_: Number | None = told(
        "its price of cost; 0 for a policy without one", "reward per shown unit", "infinity", alias="lambda"
    )
    reward: Number = told("of its choices on test", "reward")
    cost: Number = told("of its choices on test", "cost")
    utility: Finite | None = told(
        "reward - lambda * cost, the cost in its shown unit", "reward; higher", "lambda infinite; another reward model"
    )
    promise: Budget | Guarantee | None = told("what it promised, and kept", null="other policies")
    best_single_member: str = told("the best single member at this lambda, chosen on train")
    best_single_reward: Number = told("of the best single member at this lambda", "reward")
    best_single_cost: Number = told("of the best single member at this lambda", "cost")
    gain_vs_best_single: Interval = told("reward over it", "reward; higher")
    utility_gain_vs_best_single: Interval | None = told("utility over it", "reward; higher", "as `utility`")
    shares: dict[Member, Number] = told("of test prompts", "0 to 1")


class AtEqualCost(Section):
    """The router at a point, and the best constant at its cost."""

    reward: Number = told(
        "of the router at a point: `lambda_0`, `policy`, `most_reward`, `same_reward`",
        "reward",
        "the point does not exist",
    )
    cost: Number = told("of the router at the point", "cost", "the point does not exist")
    constant: dict[Member, Number] = told("share of prompts that the best constant at this cost gives it", "0 to 1")
    constant_reward: Number = told("of that constant", "reward")
    constant_cost: Number = told("of that constant", "cost")
    difference: Interval = told("router minus constant", "reward; higher")
    verdict: Literal["yes", "no", "undecided"] = told("better? `yes`, `no` or `undecided`")


class EqualCost(Section):
    """Points of the router's curve; one that does not exist is absent."""

    lambda_0: AtEqualCost = told("at lambda = 0")
    policy: AtEqualCost = told("at the run's policy")
    most_reward: AtEqualCost = told("at the lambda of the most reward on validation", default=None)
    same_reward: AtEqualCost = told("at the cheapest that earns no less than best single", default=None)

    @property
    def points(self) -> dict[str, AtEqualCost]:
        """Every point that there is, by name."""
        return self.given(AtEqualCost)


class ChosenCascade(Section):
    """A cascade chosen on validation."""

    chain: list[str] = told("the cascade chosen there: members, in the order they are asked", "list", min_length=1)
    threshold: float = told("the cascade chosen there: the reward that ends it", "reward")


class Chosen(Section):
    """What was chosen on validation, for test to be read at."""

    most_reward: Number | None = told(
        "lambda of the most reward", "reward per shown unit", "no complete validation prompt"
    )
    same_reward: Number | None = told(
        "the cheapest lambda shown on validation to earn no less than best single (see [method](method.md))",
        "reward per shown unit", "that is shown of none; no complete prompt",
    )  # fmt: skip
    same_reward_margin: Number | None = told(
        "what it may earn less, `same_reward_margin=`", "reward", "no complete prompt"
    )
    same_reward_difference: Interval | None = told(
        "reward over best single at `same_reward`, on validation; `low` is above -margin", "reward; higher",
        "no such lambda",
    )  # fmt: skip
    cascade: ChosenCascade | None = told("the best one there", null="none was affordable")
    cascades: list[ChosenCascade] | None = told(
        "the best ones there, for rising mean costs", "list", "a policy that looks at no reward"
    )


class Gain(Section):
    """The router at a lambda that was chosen on validation."""

    lambda_: Number = told(
        "the router there", "reward per shown unit, reward, cost", "there is no such lambda", alias="lambda"
    )
    reward: Number = told("the router there", "reward per shown unit, reward, cost", "there is no such lambda")
    cost: Number = told("the router there", "reward per shown unit, reward, cost", "there is no such lambda")
    reward_gain: Interval = told("reward over best single there", "reward; higher")
    cost_saved: Interval = told("best single's cost minus the router's, there", "cost; higher")


class PerfGain(Gain):
    """At the lambda of the most reward."""

    value: Number = told("PerfGain: the reward gain at `most_reward`", "reward; higher")
    ratio: Number | None = told("as a share of best single's reward", "share; higher", "rewards below 0")


class CostSave(Gain):
    """At the cheapest lambda that earns no less than best single."""

    value: Number | None = told(
        "CostSave: the cost saved at `same_reward`", "cost; higher",
        "it earns less than best single on test, by more than the margin",
    )  # fmt: skip
    ratio: Number | None = told("as a share of best single's cost", "share; higher", "likewise")
