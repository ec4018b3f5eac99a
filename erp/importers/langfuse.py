"""Langfuse: exported traces or observations, with their scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from erp.importers.base import Importer, Row
from erp.importers.chats import answered, asked, parsed
from erp.importers.choice import Choice
from erp.importers.fields import Misread, Record, is_missing, known_cost, label, maybe_mapping, maybe_text, number
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found
from erp.importers.served import PATTERNS, Requests, at, exported

_GENERATION = "GENERATION"
_SEVERAL = "a score of a trace of several generations, which is of no single one"
_TRACE_ALONE = "a trace without its observations, which alone name a model"
_NUMBERS = ("NUMERIC", "BOOLEAN", None)

Target = tuple[str, str]  # a trace's id, and an observation's or ""


@dataclass
class _Scores:
    """What was scored.

    Attributes:
        values: of a trace or an observation: score's name -> its values.
        names: of all scores that are numbers.
        last: the last generation of every trace: when it began, and its id.
        several: traces of several generations.
    """

    values: defaultdict[Target, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(dict))
    names: dict[str, None] = field(default_factory=dict)
    last: dict[str, tuple[str, str]] = field(default_factory=dict)
    several: set[str] = field(default_factory=set)

    def add(self, target: Target, name: object, value: object) -> None:
        """A score that is a number; another is none."""
        try:
            found = number(value, "score")
        except Misread:
            return
        if isinstance(name, str) and found is not None:
            self.names[name] = None
            self.values[target].setdefault(name, []).append(found)


class Langfuse(Importer):
    """Traces with their observations, or observations with scores, as Langfuse exports them.

    Seen: its documentation of exports (langfuse/langfuse-docs, export to blob storage), and the code that writes those
    of the interface and answers the API (langfuse/langfuse, ``worker/src/features/database-read-stream``,
    ``web/src/features/public-api/types``). Read are: one trace as the interface downloads it or ``/traces/<id>``
    answers (``observations`` and ``scores`` in it); observations as tables export them, a column a score, or as the API
    lists them; and the files of blob storage, ``observations*/`` and ``scores/``. Not seen: files of others.

    A row is a generation: its model, the last user turn of its input, its tokens and costs. Its score is one of its
    own, else its trace's where the trace has no other generation. Somebody chose who made each: observational.

    Args:
        score: name of the score; None for the only one.
        of_several: of a trace of several generations, the trace's score is of none (``skip``) or of the ``last``.
        category: where a prompt's category stands, a dotted path in the observation: ``metadata.task``, ``traceName``.
    """

    patterns = PATTERNS
    observational = True
    reward = "score"

    def __init__(
        self,
        score: str | None = None,
        of_several: Literal["skip", "last"] = "skip",
        category: str | None = None,
    ) -> None:
        self._score, self._last, self._category = Choice("score", score), of_several == "last", category
        self._used: str = self.reward

    def reward_name(self) -> str:
        """The score."""
        return self._used

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row a generation; scores are read first, for they stand in files of their own."""
        scores = _Scores()
        columns: dict[str, None] = {}
        for file in files:
            for found in exported(file, Ledger()):
                for record in _expanded(found):
                    _note(record.values, scores, columns)
        name = self._used = self._score.of(sorted({*scores.names, *columns}), "the export")
        self._score.require_found()
        requests = Requests()
        for file in files:
            members: set[str] = set()
            for found in exported(file, ledger):
                for record in _expanded(found):
                    try:
                        row = self._row(record.values, name, scores, requests, ledger)
                    except Misread as wrong:
                        ledger.fault(wrong.reason, f"{record.place}: {wrong.detail}")
                        continue
                    if row is not None:
                        members.add(row["model"])
                        yield requests.numbered(row)
            if members:
                ledger.origin(file, members, harness="Langfuse", metric=name)

    def _row(self, values: Record, name: str, scores: _Scores, requests: Requests, ledger: Ledger) -> Row | None:
        if _is_score(values):
            return None
        if not _is_observation(values):
            label(values, "id")
            ledger.leave_out(_TRACE_ALONE)
            return None
        if values.get("type") != _GENERATION:
            ledger.leave_out("observations that are no generation")
            return None
        observation, trace = label(values, "id"), _of(values, "trace_id") or ""
        if not requests.is_new(observation, ledger):
            return None
        model = next((text for key in ("model", "provided_model_name") if (text := _of(values, key))), None)
        if model is None:
            raise Misread("a generation names no model", f"id = {observation}")
        category = None if self._category is None else at(values, self._category)
        response, finish = answered(values.get("output"))
        row: Row = {
            "prompt": asked(values.get("input"), "input"),
            "model": model,
            "category": category if isinstance(category, str) and category.strip() else None,
            "reward": None,
            "response": response,
            "finish_reason": finish,
            "prompt_tokens": _tokens(values, "input"),
            "completion_tokens": _tokens(values, "output"),
            "cost_usd": known_cost(_cost(values), bool(response), ledger),
        }
        if values.get("level") == "ERROR":
            return {**row, "error": "the observation is an error"}
        found, why = self._found(values, (trace, observation), name, scores)
        if len(set(found)) > 1:
            ledger.note(f"where a generation has several scores called {name}, their mean is taken")
        return {**row, "reward": sum(found) / len(found)} if found else {**row, "unscored": why}

    def _found(self, values: Record, target: Target, name: str, scores: _Scores) -> tuple[list[float], str]:
        """Scores of a generation, or of its trace; and where there is none, why."""
        trace, observation = target
        if own := scores.values.get(target, {}).get(name) or _numbers(values.get(name)):
            return own, ""
        of_trace = scores.values.get((trace, ""), {}).get(name, [])
        if of_trace and trace in scores.several and not self._last:
            return [], _SEVERAL
        return (of_trace if scores.last.get(trace, ("", ""))[1] == observation else []), "no score"


def _expanded(found: Found) -> Iterator[Found]:
    """A trace's observations and scores, each a record that names its trace; any other record as it is."""
    whole = found.values
    trace = {**maybe_mapping(whole.get("trace")), **whole} if isinstance(whole.get("trace"), Mapping) else whole
    inner = trace.get("observations")
    if not isinstance(inner, list) or not any(isinstance(each, Mapping) for each in inner):
        yield found
        return
    identity = trace.get("id") or maybe_mapping(whole.get("trace")).get("id")
    scores = trace.get("scores")
    for each in [*inner, *(scores if isinstance(scores, list) else [])]:
        if isinstance(each, Mapping):
            yield Found(
                {"traceId": identity, "traceName": trace.get("name"), **each}, found.number, found.place, found.file
            )


def _note(values: Record, scores: _Scores, columns: dict[str, None]) -> None:
    """Remember what a record says of scores, and of how many generations its trace has."""
    trace = _of(values, "trace_id") or ""
    if _is_score(values):
        if _of(values, "data_type") in _NUMBERS:
            scores.add((trace, _of(values, "observation_id") or ""), values.get("name"), values.get("value"))
    elif _is_observation(values):
        columns |= dict.fromkeys(_columns(values))
        if values.get("type") == _GENERATION:
            identity = str(values.get("id"))
            this = (_of(values, "start_time") or "", identity)
            last = scores.last.setdefault(trace, this)
            if last[1] != identity:
                scores.several.add(trace)
            scores.last[trace] = max(last, this)


def _is_score(values: Record) -> bool:
    return "value" in values and "name" in values and ("traceId" in values or "trace_id" in values) and (
        "type" not in values
    )  # fmt: skip


def _is_observation(values: Record) -> bool:
    return "type" in values and ("traceId" in values or "trace_id" in values)


def _columns(values: Record) -> list[str]:
    """Names of scores that an exported table has as columns: lists of numbers, which nothing else there is."""
    return [name for name, value in values.items() if _numbers(value)]


def _numbers(value: object) -> list[float]:
    """The numbers that a list holds, also true and false as texts; none where it holds anything else."""
    if isinstance(value, str) and not value.startswith("["):
        return []
    value = parsed(value)
    value = value.tolist() if hasattr(value, "tolist") else value
    try:
        found = [number(each, "score") for each in value] if isinstance(value, list) else []
    except Misread:
        return []
    return [each for each in found if each is not None]


def _of(values: Record, key: str) -> str | None:
    """A text under a key, written ``trace_id`` or ``traceId``."""
    head, *tail = key.split("_")
    return maybe_text(values, key) or maybe_text(values, head + "".join(map(str.title, tail)))


def _tokens(values: Record, side: str) -> float | None:
    """Tokens of the input or the output, all kinds of them: cached ones and those of audio are counted apart there."""
    details = maybe_mapping(parsed(values.get("usageDetails", values.get("usage_details"))))
    kinds = [number(count, name) for name, count in details.items() if str(name).startswith(side)]
    counts = [count for count in kinds if count is not None]
    if counts:
        return sum(counts)
    usage = maybe_mapping(parsed(values.get("usage")))
    return (
        number(usage.get(side, values.get({"input": "promptTokens", "output": "completionTokens"}[side])), side) or None
    )


def _cost(values: Record) -> Any:
    details = maybe_mapping(parsed(values.get("costDetails", values.get("cost_details"))))
    named = (details.get("total"), *(values.get(key) for key in ("totalCost", "total_cost", "calculatedTotalCost")))
    return next((cost for cost in named if not is_missing(cost)), None)
