"""UltraFeedback: four responses to an instruction, by models drawn from a pool, rated by GPT-4."""

from __future__ import annotations

from collections.abc import Iterator

from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.choice import Choice
from erp.importers.fields import Record, label, mapping, maybe_text, number, objects, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
OVERALL, FINE = "overall_score", "fine-grained_score"


class UltraFeedback(ByRecord):
    """Files of the data set openbmb/UltraFeedback, jsonl or parquet.

    Seen: the publisher's description and code (OpenBMB/UltraFeedback, ``README.md`` and
    ``src/data_annotation/fix_overall_score_issue.py``): ``source``, ``instruction``, ``completions``, each with
    ``model``, ``response``, ``custom_system_prompt``, ``overall_score`` (1 to 10) and ``annotations``, of each of four
    aspects a ``Rating`` (1 to 5, as a text, or N/A). Not seen: the files. Early releases gave some poor responses an
    overall score of 10 instead of 1; one that stands beside ratings of at most 2 on average is unknown.

    Args:
        score: overall_score, fine-grained_score (the mean of the aspects that were rated), or one aspect.

    Raises:
        ErpError: none is chosen, or one that there is not.
    """

    patterns = ("*.jsonl", "*.json", "*.parquet")
    harness = "UltraFeedback"

    def __init__(self, score: str | None = None) -> None:
        self._score = Choice("score", score).of((OVERALL, FINE, *ASPECTS), "a response")

    def reward_name(self) -> str:
        """The score that is taken."""
        return self._score

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every response; the instruction is known by its place in the file."""
        values = found.values
        shared = {
            "prompt_id": f"{found.file.last.rpartition('.')[0]}/{found.number - 1}",
            "prompt": text(values, "instruction"),
            "category": maybe_text(values, "source"),
        }
        ledger.note(
            "Each instruction was answered by few models, drawn at random, each under a system prompt of its own: the "
            "other cells are missing, and the prompt here is the instruction alone."
        )
        for completion in objects(values, "completions"):
            score = self._of(completion)
            yield {
                **shared,
                **score,
                "model": label(completion, "model"),
                "response": maybe_text(completion, "response"),
            }

    def _of(self, completion: Record) -> Values:
        if self._score in ASPECTS:
            return scored(_rating(completion, self._score), f"{self._score} is not rated")
        found = [rating for aspect in ASPECTS if (rating := _rating(completion, aspect)) is not None]
        mean = sum(found) / len(found) if found else None
        if self._score == FINE:
            return scored(mean, "no aspect is rated")
        overall = number(completion.get(OVERALL), OVERALL)
        if overall == 10 and mean is not None and mean <= 2:
            return scored(None, "an overall score of 10 beside ratings of at most 2, an error of early releases")
        return scored(overall)

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Which score."""
        del file
        return {"metric": self._score}


def _rating(completion: Record, aspect: str) -> float | None:
    told = mapping(completion, "annotations").get(aspect)
    return number(told.get("Rating"), f"{aspect}'s rating") if isinstance(told, dict) else None
