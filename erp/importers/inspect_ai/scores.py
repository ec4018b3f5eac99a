"""What a scorer of Inspect said of a sample, as a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from erp.importers.choice import Choice
from erp.importers.fields import Misread, Record, inner, number, shown

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "no": 0.0}
_NOT_THE_MODEL = {"grader_failed", "scoring_failed"}  # reasons that say nothing of the model
_NO_GRADE = "Grade not found in model output:"  # how earlier releases said that, and I


def score_of(
    sample: Record, scorer: str, key: str | None, values: Mapping[str, float]
) -> tuple[float | None, str | None]:
    """The score, or why there is none.

    Args:
        sample: as the log holds it.
        scorer: whose score.
        key: which part of it, where it has several.
        values: numbers of grades, beside those of Inspect.

    Raises:
        Misread: it is something else.
    """
    score = inner(scores_of(sample), scorer)
    if "value" not in score:
        return None, "the scorer said nothing"
    reason = score.get("reason") or inner(score, "metadata").get("unscored_reason")
    if reason in _NOT_THE_MODEL or (score["value"] == "I" and str(score.get("explanation")).startswith(_NO_GRADE)):
        return None, "the grader failed"
    value = score["value"]
    if key is not None and isinstance(value, dict):
        value = value.get(key)
    if isinstance(value, list | dict):
        raise Misread("a score is no number", f"{scorer} = {shown(value)}")
    if (
        isinstance(value, str)
        and (grade := values.get(value, _GRADES.get(value, _GRADES.get(value.lower())))) is not None
    ):
        return grade, None
    found = number(value, scorer)
    return found, None if found is not None else "the value is null or NaN"


def scores_of(sample: Record) -> Record:
    """Scorer -> what it said; the first releases had one score without a name."""
    return {"score": sample["score"]} if "score" in sample and "scores" not in sample else inner(sample, "scores")


def parts_of(samples: Sequence[Record], scorers: Choice, keys: Choice, where: str) -> tuple[str, str | None]:
    """Whose score is read of some samples of a log, and which part of it.

    Raises:
        ErpError: it has to be chosen.
    """
    found = list(dict.fromkeys(name for sample in samples for name in scores_of(sample)))
    scorer = scorers.of(found, where)
    values = [inner(scores_of(sample), scorer).get("value") for sample in samples]
    parts = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    return scorer, keys.of(parts, f"{where}, {scorer}") if parts else None


def tells_all(sample: Record) -> bool:
    """Whether a sample shows all of its scorers and their parts: nothing is left out, and no whole score is NaN."""
    values = [inner(scores_of(sample), name).get("value") for name in scores_of(sample)]
    return bool(values) and not any(value is None or value != value for value in values)
