"""The router and its references at lambda = 0."""

from __future__ import annotations

from erp.results.base import Ends, Interval, Member, Number, Section, told


class Row(Section):
    """A way to choose, on test."""

    reward: Number = told("mean reward on test", "reward; higher")
    cost: Number = told("mean cost on test", "cost; lower")
    headroom_recovered: Number | None = told(
        "(row - best single) / (oracle - best single)", "share; higher; may be below 0",
        "the headroom's interval holds 0; sampling rows",
    )  # fmt: skip
    headroom_interval: Ends | None = told("its interval", "share", "as `headroom_recovered`")
    headroom_split_half_recovered: Number | None = told(
        "the same against the split-half oracle", "share; higher; may pass 1", "likewise; K = 1"
    )
    headroom_split_half_interval: Ends | None = told("its interval", "share", "likewise; K = 1")
    gain_vs_best_single: Interval = told("paired difference to best single", "reward; higher")


class SingleRow(Row):
    """A row that is one member for every prompt."""

    member: str = told("which one")


class CascadeRow(Row):
    """The row of a cascade."""

    chain: list[str] = told("the members, in the order they are asked", "list", min_length=1)
    threshold: float | None = told("the reward that ends it", "reward", "it has no end")


class RouterRow(Row):
    """The row of the run's router."""

    constant_member: str | None = told("the member that gets every prompt, if one does", null="it routes")
    p_vs_best_single: Number | None = told(
        "two-sided p of no difference from best single (bootstrap)", "0 to 1", "too few groups"
    )
    mcnemar_vs_best_single: Number | None = told(
        "McNemar's exact p", "0 to 1", "rewards other than 0 and 1, or groups of several prompts"
    )


class RoutedMember(Section):
    """One member, whatever the router does."""

    reward: Number = told("of the member on test", "reward")
    cost: Number = told("of the member on test", "cost")
    share: Number = told("of test prompts that the router sends there", "0 to 1")
    gain_vs_best_single: Interval = told("member minus best single", "reward")


class Routing(Section):
    """Every row; null where it cannot be had."""

    category_mean: Row | None = told("the best member of the prompt's category on train", null="no categories")
    category_mean_predicted: Row | None = told("the same, category predicted", null="no categories")
    sample_all: Row | None = told("ask every member once, keep the best answer", null="samples are not complete")
    cascade: CascadeRow | None = told(
        "ask from cheap to expensive", null="samples are not complete; none was affordable"
    )
    random: Row = told("uniform over the pool, exact expectation")
    best_single: SingleRow = told("the member with the best mean on train")
    best_single_hindsight: SingleRow = told("the one with the best mean on test")
    oracle: Row = told("the best observed member of each prompt")
    router: RouterRow = told("the run's router")
    gain_vs_category_mean: Interval | None = told("router minus category mean", "reward; higher", "no categories")
    members: dict[Member, RoutedMember] = told("of each member")

    @property
    def rows(self) -> dict[str, Row]:
        """Every row that there is, by name."""
        return self.given(Row)
