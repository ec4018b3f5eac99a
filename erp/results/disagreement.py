"""Gains by whether members' expected rewards differ on a prompt."""

from __future__ import annotations

from typing import Literal

from erp.results.base import Count, Interval, Number, Section, told


class Part(Section):
    """The prompts on which members differ, or those on which they were not told apart."""

    share: Interval = told("share of the prompts that are in this part", "0 to 1")
    gain_vs_best_single: Interval | None = told(
        "router minus best single, mean over the prompts of this part, lambda = 0", "reward; higher", "it has none"
    )
    gain_vs_category_mean: Interval | None = told(
        "router minus category mean, likewise", "reward; higher", "it has none; no categories"
    )
    headroom_share: Interval | None = told(
        "share of the headroom over best single that lies in this part; that of the member which is best on the "
        "samples that are not scored, as the split-half oracle's", "share; both parts add up to 1; may pass 1",
        "basis `observed`; the headroom's interval holds 0",
    )  # fmt: skip


class Disagreement(Section):
    """Gains by disagreement."""

    basis: Literal["test", "observed"] | None = told(
        "`test`: a test of each prompt on other samples than those that are scored; `observed`: rewards of 0 and 1 "
        "that are not all equal, which luck makes too, on the samples that are scored", "",
        "nothing can be told (`reason`)",
    )  # fmt: skip
    level: Number | None = told(
        "of the test of one prompt: it finds as many differences where there are none", "0 to 1", "basis is not `test`"
    )
    prompts: Count = told("test prompts that it is of", "count")
    folds: Count | None = told("parts of the samples, each scored once", "count, at least 2", "basis is not `test`")
    reason: str | None = told("why noise cannot be told from a difference", null="it can")
    disagree: Part | None = told("where members differ", null="basis is null")
    agree: Part | None = told(
        "where they were not told apart, which is not to say that they are alike", null="likewise"
    )
