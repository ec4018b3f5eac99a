"""``results.json`` of a run or an evaluation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from erp.formats.form import Form, as_it_was
from erp.units import with_shown_lambdas

_SINCE: dict[str, dict[str, Any]] = {
    "run": {"split_by": None},
    "data": {"lacking": {}, "reading": None},
    "chosen_on_validation": {"same_reward_difference": None},
    "noise": {"doubt": None},
}
"""Section -> keys that it has by now, and what they are where the run did not tell."""


def told_in_full(results: Mapping[str, Any]) -> dict[str, Any]:
    """1: lambdas are per shown unit of cost, and what a run did not tell is null."""
    found = with_shown_lambdas(results)
    found["overlaps"] = found.get("overlaps")
    if isinstance(cost := found.get("cost"), Mapping) and "fell_back" not in cost:
        found["cost"] = {**cost, "fell_back": _fell_back(cost.get("notes"))}
    if isinstance(chosen := found.get("chosen_on_validation"), Mapping) and "same_reward_margin" not in chosen:
        margin = None if chosen.get("most_reward") is None else 0.0
        found["chosen_on_validation"] = {**chosen, "same_reward_margin": margin}
    for section, since in _SINCE.items():
        if isinstance(held := found.get(section), Mapping):
            found[section] = {**held, **{key: value for key, value in since.items() if key not in held}}
    return found


_SOME_HAVE = re.compile(r"costs are .*, which \d+ of \d+ members have")


def _fell_back(notes: object) -> str | None:
    """The note of costs in another unit than the one that some members have, which was told among the others alone."""
    texts = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
    return next((text for text in texts if _SOME_HAVE.match(text)), None)


def with_run_time(results: Mapping[str, Any]) -> dict[str, Any]:
    """3: no policy looked at rewards before; so none of its sections, and no row of cascades, was there."""
    found = {"rewards_at_run_time": None, **results}
    if isinstance(chosen := found.get("chosen_on_validation"), Mapping):
        found["chosen_on_validation"] = {"cascades": None, **chosen}
    return found


def with_disagreement(results: Mapping[str, Any]) -> dict[str, Any]:
    """5: gains were not told by disagreement before, nor how well right answers are told from wrong ones."""
    found = {"disagreement": None, **results}
    if isinstance(prediction := found.get("prediction"), Mapping) and isinstance(prediction.get("members"), Mapping):
        members = {
            name: {"auc": None, **row} if isinstance(row, Mapping) else row
            for name, row in prediction["members"].items()
        }
        found["prediction"] = {**prediction, "members": members}
    return found


def with_predicted_costs(results: Mapping[str, Any]) -> dict[str, Any]:
    """6: how well costs are predicted was not told before."""
    return {"predicted_costs": None, **results}


def with_answers_read_first(results: Mapping[str, Any]) -> dict[str, Any]:
    """7: what answers cost that are read before the decision was within the router's cost before, not told apart."""
    found = dict(results)
    if isinstance(cost := found.get("cost"), Mapping):
        found["cost"] = {"read_first": None, **cost}
    return found


# 2: there may be a section `drift`; 4: there may be `run.fit_seconds`
RESULTS = Form(
    told_in_full, as_it_was, with_run_time, as_it_was, with_disagreement, with_predicted_costs, with_answers_read_first
)
