"""promptfoo: results of `promptfoo eval -o results.json`, or `.jsonl`."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erp.errors import shorten, shortened
from erp.importers.base import Importer, Row
from erp.importers.chats import asked
from erp.importers.fields import Misread, Record, is_missing, known_cost, maybe_mapping, maybe_text, shown
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import records
from erp.table.texts import text_hash

_CALL_FAILED = 2  # of failureReason: 0 none, 1 an assertion did, 2 the call or the grading did
# what graders that failed said before graderError was written
_GRADER_SAID = ("could not extract json", "llm-rubric produced malformed", "api error", "api call error")
_NO_OUTPUT = "no output"
_LABEL = 60  # characters of a prompt's label in a member's name
_STRIPPED = "[prompt stripped]"


@dataclass(frozen=True)
class _Result:
    """One result, where it stands, and of whom it is."""

    values: Record
    place: str
    provider: str
    label: str
    column: object
    document: str


class Promptfoo(Importer):
    """Results of promptfoo.

    Seen: its published types (promptfoo/promptfoo, ``src/types/index.ts``, ``src/models/evalResult.ts``,
    ``src/evaluator.ts``, versions 2 and 3 of the summary) and files of 0.121 and 0.123 that others published:
    ``{evalId, results: {version, timestamp, prompts, results: [...], stats}, config, metadata}``, and of each result
    ``provider {id, label}``, ``prompt {raw, label}``, ``promptIdx``, ``testIdx``, ``vars``, ``testCase``, ``score``,
    ``success``, ``failureReason``, ``error``, ``gradingResult``, ``namedScores``, ``cost``, ``response``. A file is one
    JSON document and is read whole; of ``.jsonl``, a result a line, the members' names are kept. Not seen: whole files
    of version 1.

    A test is known by its variables and assertions. A provider that was asked with several prompts is several members,
    ``<provider> (<prompt's label>)``.

    Args:
        metric: None for the score of all assertions, ``success`` for whether it passed, or a named score.
        category: a variable, or a key of the test's metadata, whose value is the prompt's category.
    """

    patterns = ("*.json", "*.jsonl")
    reward = "promptfoo"

    def __init__(self, metric: str | None = None, category: str = "category") -> None:
        self._metric, self._category = metric, category

    def reward_name(self) -> str:
        """The metric that was chosen."""
        return self._metric or self.reward

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row a result."""
        columns: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
        for file in files:  # names of members are known once all are
            for result, number in _columned(_results(file, Ledger(), {})):
                columns[result.provider][result.label].add(number)
        for file in files:
            facts: dict[str, str | None] = {}
            results = list(_columned(_results(file, ledger, facts)))
            cells = Counter((result.column, result.document) for result, _ in results)
            seen: Counter[tuple[object, str]] = Counter()
            members: set[str] = set()
            for result, number in results:
                try:
                    row = self._row(result, ledger)
                except Misread as wrong:
                    ledger.fault(wrong.reason, f"{result.place}: {wrong.detail}")
                    continue
                row["model"] = _member(result, number, columns[result.provider])
                cell = (result.column, result.document)
                if cells[cell] > 1:  # `promptfoo eval --repeat`
                    row["sample"] = seen[cell]
                    seen[cell] += 1
                members.add(row["model"])
                yield row
            if members:
                ledger.origin(file, members, harness="promptfoo", metric=self._metric or "score", **facts)

    def _row(self, result: _Result, ledger: Ledger) -> Row:
        values = result.values
        case, response = maybe_mapping(values.get("testCase")), maybe_mapping(values.get("response"))
        prompt = asked(maybe_mapping(values.get("prompt")).get("raw"), "prompt")
        if prompt == _STRIPPED:
            raise Misread("the prompt's text was stripped", "run promptfoo without PROMPTFOO_STRIP_PROMPT_TEXT")
        usage = maybe_mapping(response.get("tokenUsage") or values.get("tokenUsage"))
        output = response.get("output")
        text = output if isinstance(output, str) else None if output is None else json.dumps(output, sort_keys=True)
        category = {**maybe_mapping(case.get("metadata")), **maybe_mapping(values.get("vars"))}.get(self._category)
        row: Row = {
            "prompt_id": result.document,
            "prompt": prompt,
            "model": result.provider,
            "category": category if isinstance(category, str) else None,
            "reward": None,
            "response": text or None,
            "cost_usd": known_cost(values.get("cost"), bool(text), ledger),
            "prompt_tokens": usage.get("prompt") or None,  # 0 where it was not told, or the answer came from a cache
            "completion_tokens": usage.get("completion") or None,
            "finish_reason": maybe_text(response, "finishReason"),
        }
        if (failed := _failed(values, response)) is not None:
            return {**row, "error": failed}
        if _unasserted(values):
            return {**row, "unscored": "the test has no assertion"}
        score = self._score(values)
        return {**row, "unscored": f"no {self._metric or 'score'}"} if is_missing(score) else {**row, "reward": score}

    def _score(self, values: Record) -> Any:
        if self._metric is None or self._metric == "success":
            return values.get(self._metric or "score")
        return maybe_mapping(values.get("namedScores")).get(self._metric)


def _results(file: SourceFile, ledger: Ledger, facts: dict[str, str | None]) -> Iterator[_Result]:
    if file.last.endswith(".jsonl"):
        numbered: Iterator[tuple[str, Any]] = ((found.place, found.values) for found in records(file, ledger))
    else:
        document = maybe_mapping(file.json())
        summary = maybe_mapping(document.get("results"))
        results = summary.get("results")
        if not isinstance(results, list):
            ledger.fault(
                "not a file of promptfoo's results", f"{file.name}: there are {shorten(document) or 'no keys'}"
            )
            return
        facts["version"] = maybe_text(maybe_mapping(document.get("metadata")), "promptfooVersion")
        facts["date"] = maybe_text(summary, "timestamp")
        facts["task"] = maybe_text(maybe_mapping(document.get("config")), "description")
        numbered = ((f"{file.name} result {number}", values) for number, values in enumerate(results, 1))
    for place, values in numbered:
        try:
            yield _result(values, place)
        except Misread as wrong:
            ledger.fault(wrong.reason, f"{place}: {wrong.detail}")


def _result(values: Any, place: str) -> _Result:
    if not isinstance(values, Mapping):
        raise Misread("a result is no object", shown(values))
    given = values.get("provider")
    named = {"label": given} if isinstance(given, str) else maybe_mapping(given)
    provider = maybe_text(named, "label") or maybe_text(named, "id")
    if provider is None:
        raise Misread("no provider", f"provider = {shown(given)}")
    prompt = maybe_mapping(values.get("prompt"))
    label = maybe_text(prompt, "label") or maybe_text(values, "promptId") or ""
    column = values.get("promptIdx")
    variables = {name: value for name, value in maybe_mapping(values.get("vars")).items()
                 if not str(name).startswith("_") and name != "sessionId"}  # fmt: skip
    asserted = maybe_mapping(values.get("testCase")).get("assert")
    known = [variables or prompt.get("raw"), asserted]
    document = text_hash(json.dumps(known, sort_keys=True))[:16]
    return _Result(values, place, provider, label, column if isinstance(column, int) else (provider, label), document)


def _columned(results: Iterator[_Result]) -> Iterator[tuple[_Result, int]]:
    """Results with which of the file's columns of one provider and prompt each is of: they may differ in settings."""
    known: defaultdict[tuple[str, str], list[object]] = defaultdict(list)
    for result in results:
        columns = known[result.provider, result.label]
        if result.column not in columns:
            columns.append(result.column)
        yield result, columns.index(result.column)


def _member(result: _Result, number: int, labels: Mapping[str, set[int]]) -> str:
    name = result.provider
    if len(labels) > 1:
        label = shortened(result.label, _LABEL)
        unlike = [other for other in labels if other != result.label and shortened(other, _LABEL) == label]
        name = f"{name} ({label}{' ' + text_hash(result.label)[:6] if unlike else ''})"
    return f"{name} #{number + 1}" if len(labels[result.label]) > 1 else name


def _failed(values: Record, response: Record) -> str | None:
    """What failed: the call, the grading, or a grader; None where a score is one."""
    reason, grading = values.get("failureReason"), values.get("gradingResult")
    unsaid = reason is None and grading is None and not values.get("success")  # before failureReason was written
    if reason == _CALL_FAILED or unsaid or (maybe_text(response, "error") and response.get("output") is None):
        return "the call or its grading failed"
    return "the grader failed" if _grader_failed(grading) else None


def _grader_failed(grading: Any) -> bool:
    """Whether a grader did, of any assertion or part of one."""
    waiting = [grading]
    while waiting:
        part = maybe_mapping(waiting.pop())
        said = str(part.get("reason")).lower()
        told = maybe_mapping(part.get("metadata")).get("graderError") is True
        if told or (not part.get("pass") and (said.startswith(_GRADER_SAID) or said == _NO_OUTPUT)):
            return True
        parts = part.get("componentResults")
        waiting += parts if isinstance(parts, list) else []
    return False


def _unasserted(values: Record) -> bool:
    """Whether nothing was checked; promptfoo says 1 then."""
    grading = maybe_mapping(values.get("gradingResult"))
    return grading.get("reason") == "No assertions" and not grading.get("componentResults")
