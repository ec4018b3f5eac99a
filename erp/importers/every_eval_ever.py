"""EvalEval's Every Eval Ever: `<uuid>_samples.jsonl`, and the `<uuid>.json` that says what their scores are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from erp.errors import ErpError, shorten
from erp.importers.base import Importer, Row
from erp.importers.chats import asked, parsed
from erp.importers.fields import Misread, Record, label, mapping, maybe_mapping, maybe_text, number, shown, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records

_SAMPLES = "_samples.jsonl"
_MADE_UP = "a score that its converter made, of no metric"
_UNKNOWN = -1  # the score of a level that nobody knows, where the metric has one
_BINARY = "binary"


@dataclass(frozen=True)
class _Told:
    """What the aggregate file says of a set of samples: the harness, and of every result its metric."""

    harness: str | None = None
    version: str | None = None
    date: str | None = None
    metrics: tuple[tuple[str | None, str | None, Record], ...] = ()  # evaluation_result_id, evaluation_name, metric

    def metric(self, result: str | None, evaluation: str) -> Record:
        """The metric of a result, or of an evaluation that has one only; empty where nobody says it."""
        found = [metric for known, _, metric in self.metrics if result is not None and known == result]
        found = found or [metric for _, name, metric in self.metrics if result is None and name == evaluation]
        return found[0] if len(found) == 1 else {}


class EveryEvalEver(Importer):
    """Samples of Every Eval Ever, schema 0.2 and 0.3.

    Seen: its schemas (evaleval/every_eval_ever, ``schemas/instance_level_eval.schema.json`` and ``eval.schema.json``)
    and the converters that write such files from lm-eval, HELM and Inspect. The schema wants a number, so converters
    write 0.0 where a metric is missing. Such rows are refused as far as the file shows it: ``is_correct`` contradicts
    the score; lm-eval's own metrics, kept in ``metadata``, hold none; the row names no result where others of its
    evaluation do. What the converter of Inspect makes of a sample without a score (whether the response is among the
    references) leaves no trace, and cannot be told from a score.

    Args:
        metric: a result's id, or a metric's name or id of the aggregate file, or one of lm-eval's metrics; None for the
            only one.
        evaluation: names of the evaluations that are taken (lm-eval's filters are evaluations of their own); None for
            all.
    """

    patterns = (f"*{_SAMPLES}", "*.json")
    reward = "score"

    def __init__(self, metric: str | None = None, evaluation: str | list[str] | None = None) -> None:
        self._metric = metric
        self._evaluations = [evaluation] if isinstance(evaluation, str) else evaluation

    def reward_name(self) -> str:
        """The metric that was chosen."""
        return self._metric or self.reward

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row a line of the samples that are of the metric."""
        told = _aggregates(files)
        samples = [file for file in files if file.last.endswith(_SAMPLES)]
        if not samples:
            raise ErpError(
                f"path = {files[0].path}: holds no file *{_SAMPLES}; aggregates alone have no scores of prompts"
            )
        results = self._results(samples, told)
        for file in samples:
            said = told.get(_name(file), _Told())
            members: set[str] = set()
            for found in records(file, ledger):
                try:
                    row = self._row(found, said, results, ledger)
                except Misread as wrong:
                    ledger.fault(wrong.reason, f"{found.place}: {wrong.detail}")
                    continue
                if row is not None:
                    members.add(row["model"])
                    yield row
            if members:
                ledger.origin(file, members, harness=said.harness or "every_eval_ever", version=said.version,
                              date=said.date, metric=self.reward_name())  # fmt: skip

    def _results(self, samples: Sequence[SourceFile], told: dict[str, _Told]) -> dict[str, set[str | None]]:
        """Evaluation -> ids of its results, None for rows that name none. Raises ErpError: one has to be chosen."""
        results: defaultdict[str, set[str | None]] = defaultdict(set)
        names: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for file in samples:
            said = told.get(_name(file), _Told())
            for found in records(file, Ledger()):
                evaluation = maybe_text(found.values, "evaluation_name") or ""
                result = maybe_text(found.values, "evaluation_result_id")
                results[evaluation].add(result)
                names[evaluation] |= dict.fromkeys(_names(result, said.metric(result, evaluation), _own(found.values)))
        several = [name for name, ids in results.items() if len(ids - {None}) > 1 and self._takes(name)]
        for key, given, known in (
            (
                "metric",
                [self._metric] if self._metric is not None else [],
                [n for some in names.values() for n in some],
            ),
            ("evaluation", self._evaluations or [], list(results)),
        ):
            if unknown := [name for name in given if name not in known]:
                allowed = shorten(sorted(set(known)), 20) or "none"
                raise ErpError(f"source.{key} = {shorten(unknown)}: there is no such; there are {allowed}")
        if self._metric is None and several:
            raise ErpError(
                f"source.metric = null: {several[0]} has several; they are {shorten(sorted(names[several[0]]), 20)}; "
                "name one"
            )
        return results

    def _takes(self, evaluation: str) -> bool:
        return self._evaluations is None or evaluation in self._evaluations

    def _row(self, found: Found, told: _Told, results: dict[str, set[str | None]], ledger: Ledger) -> Row | None:
        values = found.values
        evaluation, result = text(values, "evaluation_name"), maybe_text(values, "evaluation_result_id")
        if not self._takes(evaluation):
            ledger.leave_out("of an evaluation that was not chosen")
            return None
        metric, own = told.metric(result, evaluation), _own(values)
        if self._metric is not None and self._metric not in _names(result, metric, own):
            ledger.leave_out("of a metric that was not chosen")
            return None
        asked_of, usage = mapping(values, "input"), maybe_mapping(values.get("token_usage"))
        responses = maybe_mapping(values.get("output")).get("raw")
        row: Row = {
            "prompt_id": f"{evaluation}/{label(values, 'sample_id')}",
            "prompt": asked(asked_of.get("raw"), "input.raw"),
            "model": text(values, "model_id"),
            "category": evaluation,
            "reward": None,
            "response": responses[0] if isinstance(responses, list) and len(responses) == 1 else None,
            "prompt_tokens": usage.get("input_tokens"),
            "completion_tokens": usage.get("output_tokens"),
        }
        if maybe_text(values, "error") is not None:
            return {**row, "error": "the evaluation says there was an error"}
        of_harness = self._metric is not None and self._metric in own
        score = own[self._metric] if self._metric is not None and of_harness else _score(values, own, metric)
        if result is None and results[evaluation] != {None} and not of_harness:
            raise Misread(_MADE_UP, f"{evaluation} has results, and the row names none")
        if (epoch := maybe_text(maybe_mapping(values.get("metadata")), "epoch")) is not None and epoch.isdecimal():
            row["sample"] = int(epoch)
            if int(epoch) > 1:
                ledger.note(f"{evaluation} has epochs, and scores that Inspect's converter took the mean of over them")
        score = number(score, "score")
        if score is None:
            return {**row, "unscored": "the score is null"}
        if metric.get("has_unknown_level") is True and score == _UNKNOWN:
            return {**row, "unscored": "the score is unknown"}
        if metric.get("lower_is_better") is True:
            ledger.note(f"{self.reward_name()} of {evaluation} is better where it is lower: its sign is turned round")
            score = -score
        elif "lower_is_better" not in metric:
            ledger.note(f"nothing says which way scores of {evaluation} point; higher is taken to be better")
        return {**row, "reward": score}


def _own(values: Record) -> Record:
    """The metrics of lm-eval that its converter keeps."""
    return maybe_mapping(parsed(maybe_mapping(values.get("metadata")).get("lm_eval_metrics")))


def _names(result: str | None, metric: Record, own: Record) -> list[str]:
    """What the metric of a row can be called."""
    named = [result, *(maybe_text(metric, key) for key in ("metric_name", "metric_id")), *own]
    return [name for name in named if name is not None]


def _aggregates(files: Sequence[SourceFile]) -> dict[str, _Told]:
    """What the aggregate files say, by the name that samples share with theirs."""
    told: dict[str, _Told] = {}
    for file in files:
        if file.last.endswith(_SAMPLES):
            continue
        document = file.json()
        results = maybe_mapping(document).get("evaluation_results")
        if not isinstance(results, list):
            continue
        library = maybe_mapping(document.get("eval_library"))
        told[_name(file)] = _Told(
            maybe_text(library, "name"),
            maybe_text(library, "version"),
            maybe_text(document, "evaluation_timestamp"),
            tuple((maybe_text(result, "evaluation_result_id"), maybe_text(result, "evaluation_name"),
                   maybe_mapping(result.get("metric_config"))) for result in map(maybe_mapping, results)),
        )  # fmt: skip
    return told


def _name(file: SourceFile) -> str:
    return f"{file.folder}/{file.last.removesuffix(_SAMPLES).removesuffix('.json')}"


def _score(values: Record, own: Record, metric: Record) -> Any:
    """The score of a row. Raises Misread: its converter made it up, or it contradicts ``is_correct``."""
    evaluation = mapping(values, "evaluation")
    score, correct = number(evaluation.get("score"), "score"), evaluation.get("is_correct")
    if "lm_eval_metrics" in maybe_mapping(values.get("metadata")):
        numbers = [value for value in own.values() if isinstance(value, int | float)]
        if not numbers:
            raise Misread(_MADE_UP, f"score = {shown(score)}, and lm-eval wrote {shown(dict(own))}")
    if score is None or not isinstance(correct, bool) or metric.get("lower_is_better") is True:
        return score
    graded = metric.get("score_type") not in (None, _BINARY)  # is_correct claims nothing then
    if (correct and score <= 0) or (not correct and score >= 1 and not graded):
        raise Misread("score and is_correct disagree", f"score = {shown(score)}, is_correct = {correct}")
    return score
