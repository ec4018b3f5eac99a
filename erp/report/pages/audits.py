"""Audits: length, paraphrases, another reward model."""

from __future__ import annotations

from erp.report.facts import percent
from erp.report.text import escaped, gain_text, interval_text, significant
from erp.results import Results, number
from erp.results.audits import CrossRewardModel, LengthBias, Paraphrases
from erp.results.base import Interval


def audits_page(results: Results) -> list[str]:
    """What could make the numbers above mean less than they seem to."""
    audits = results.audits
    lines = [_length(audits.length_bias), _paraphrases(audits.paraphrases, results.run.scale)]
    if audits.cross_reward_model is not None:
        lines.insert(0, _cross(audits.cross_reward_model))
    return ["## Audits", "\n".join(f"- {line}" for line in lines)]


def _length(found: LengthBias) -> str:
    names = {
        "between": "given prompt and member",
        "within": "within a cell, where the same member answers the same prompt",
    }
    known = [f"{interval_text(interval)} {names[key]}" for key, interval in found.given(Interval).items()]
    if not known:
        return f"Length bias is not known: {found.between_reason}."
    return (
        "Length bias, the partial correlation of reward with the logarithm of a response's length: "
        f"{'; '.join(known)}. Above 0: longer answers score higher, since they are better or since length is liked."
    )


def _paraphrases(found: Paraphrases | None, scale: str) -> str:
    if found is None:
        return "Paraphrases: no test prompts of one group with different texts, so their consistency is not known."
    text = (
        f"Paraphrases: {found.prompts:,} test prompts form {found.groups:,} groups of similar texts; two of a "
        f"group go to the same member {percent(number(found.same_member))} of the time, by chance "
        f"{percent(number(found.by_chance))}"
    )
    if scale == "reward" and found.score_variance_within is not None:
        text += f"; {percent(found.score_variance_within)} of the scores' variance lies within groups"
    return f"{text}."


def _cross(found: CrossRewardModel) -> str:
    text = f"The router learnt from {escaped(found.learnt_from)} and is scored here by {escaped(found.scored_by)}"
    if found.reason is not None:
        return f"{text}; {escaped(found.reason)}."
    router, favourite = (None if one is None else one.gain for one in (found.router, found.favourite))
    text += (
        f". On {found.prompts:,} test prompts both order {percent(number(found.agreement))} of the pairs of "
        f"members alike that the second tells apart, and share {percent(number(found.favourites_shared))} of "
        f"favourites. Over {escaped(found.best_single_member)}, the best single by the first, the router gains "
        f"{gain_text(router)}; the first one's own observed favourites, luck "
        f"included, gain {gain_text(favourite)}"
    )
    own = found.own_best_single
    if own is not None:
        text += (
            f". The best single by the second is {escaped(own.member)} ({significant(own.reward)}): router minus "
            f"it {gain_text(own.router_less_it)}"
        )
    return f"{text}."
