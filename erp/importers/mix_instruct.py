"""MixInstruct: eleven models' responses to an instruction, each with scores of several metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator

from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.choice import Choice
from erp.importers.fields import Misread, label, mapping, maybe_text, objects, shown, split_of, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found

WINS = "wins"
_SHARES = {"A is better": (1.0, 0.0), "B is better": (0.0, 1.0), "Same good": (0.5, 0.5), "Same bad": (0.5, 0.5)}


class MixInstruct(ByRecord):
    """``{train,val,test}_data_prepared.json`` of the data set llm-blender/mix-instruct.

    Seen: the data set's card, the code that reads it (yuchenlin/LLM-Blender, ``llm_blender/pair_ranker/data.py``) and
    that of others: ``id``, ``instruction``, ``input``, ``output`` (the reference), ``candidates``, each with ``model``,
    ``decoding_method``, ``text`` and ``scores`` (metric -> number), and in the test split ``cmp_results``, ChatGPT's
    verdicts of pairs as JSON text: ``{"<model A>,<model B>": "A is better"}``. Not seen: the files; nor anything of
    whether a model has several decoding methods, which are then one member's rows that contradict each other.

    Args:
        score: a metric of ``scores``; or wins, the share of its comparisons that a response won, a draw being half.
    """

    patterns = ("*data_prepared*.json", "*data_prepared*.jsonl", "*.parquet")
    harness = "MixInstruct"

    def __init__(self, score: str | None = None) -> None:
        self._choice = Choice("score", score)
        self._score = ""

    def reward_name(self) -> str:
        """The score that is taken."""
        return self._score

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every candidate. Raises ErpError: no score is chosen."""
        del ledger
        values = found.values
        asked = [part for key in ("instruction", "input") if (part := maybe_text(values, key))]
        identity = label(values, "id")
        shared = {
            "prompt_id": identity,
            "prompt": text({"instruction and input": "\n".join(asked)}, "instruction and input"),
            "category": identity.rpartition("/")[0] or None,
            "split": split_of(found.file.last)[1],
            "reference": maybe_text(values, "output"),
        }
        wins = _wins(values.get("cmp_results"))
        for candidate in objects(values, "candidates"):
            model, scores = label(candidate, "model"), mapping(candidate, "scores")
            self._score = self._score or self._choice.of([*scores, WINS], found.place)
            score = wins.get(model) if self._score == WINS else scores.get(self._score)
            yield {
                **shared,
                **scored(score, f"no {self._score}"),
                "model": model,
                "response": maybe_text(candidate, "text"),
            }

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Which score."""
        del file
        return {"metric": self._score}


def _wins(told: object) -> dict[str, float]:
    """Model -> the share of its comparisons that it won."""
    if isinstance(told, str) and told.strip():
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            raise Misread("cmp_results is no JSON", f"cmp_results = {shown(told)}") from None
    shares: dict[str, list[float]] = {}
    for pair, verdict in told.items() if isinstance(told, dict) else ():
        models = str(pair).split(",")
        if len(models) != 2 or verdict not in _SHARES:
            raise Misread("a verdict that is none of " + ", ".join(_SHARES), f"{pair} = {shown(verdict)}")
        for model, share in zip(models, _SHARES[verdict], strict=True):
            shares.setdefault(model, []).append(share)
    return {model: sum(won) / len(won) for model, won in shares.items()}
