"""lm-evaluation-harness's samples: a row for every filter and document, with the metrics of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from erp.errors import ErpError
from erp.importers.base import Importer, Row
from erp.importers.choice import Choice, compare_styles, several_units, sign_of
from erp.importers.fields import Misread, held, inner, maybe_text, number
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.lm_eval.asked import at_end, is_chat, last_user_part, rendered, with_blank, without_examples
from erp.importers.lm_eval.lines import calls_of, document_of, parsed, responses_of
from erp.importers.lm_eval.runs import Run, runs_of
from erp.table.columns import show_apart

_SHOWN = 3  # documents, of members that were asked differently
_LOOKED_AT = 20  # lines of a file, for one that can be read
_NO_METRICS = {"bypass"}  # what lm-eval writes where it was told to score nothing
_OWN = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash",
        "prompt_hash", "target_hash"}  # fmt: skip
_UNSCORED = "the metric is null or NaN"


@dataclass(frozen=True)
class _Chosen:
    """What is read of a run."""

    run: Run
    metric: str
    filter: str
    sign: int


class LmEval(Importer):
    """Samples of lm-evaluation-harness.

    Args:
        metric: which one is the reward: a name, or several of which a task's first is taken; None for its only one.
        filter: how the answer was cut out of the response, likewise.
        prompt: ``question`` without chat template, description and few-shot examples, or ``whole`` as it was sent.
        member: ``model``, as results say, or ``folder``.
        style: ``same`` refuses members of which a task was asked with other examples, description or system prompt;
            ``any`` lets them differ.
        higher_is_better: which way metrics point that no results speak of.
    """

    patterns = ("samples_*.jsonl", "*_????-??-??T??-??-??*.json")

    def __init__(
        self,
        metric: str | list[str] | None = None,
        filter: str | list[str] | None = None,
        prompt: Literal["question", "whole"] = "question",
        member: Literal["model", "folder"] = "model",
        style: Literal["same", "any"] = "same",
        higher_is_better: bool | None = None,
    ) -> None:
        self._metric, self._filter = Choice("metric", metric), Choice("filter", filter)
        self._whole, self._by_folder, self._up = prompt == "whole", member == "folder", higher_is_better
        self._same = style == "same"
        self._used: set[str] = set()

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """The rows of the latest run of every member and task."""
        runs = runs_of(files, self._by_folder, ledger)
        every = self._choose(runs)
        if not self._whole:  # whole prompts are compared as they are
            self._compare_styles(runs, ledger)
        for chosen in every:
            self._used.add(chosen.metric)
            run = chosen.run
            ledger.origin(
                run.file, [run.member], harness="lm-eval", version=maybe_text(run.results, "lm_eval_version"),
                metric=chosen.metric, filter=chosen.filter, date=run.date or None, task=run.task,
            )  # fmt: skip
            if chosen.sign < 0:
                ledger.note(f"{chosen.metric} of {run.task} is better where it is lower: its sign is turned round")
            yield from self._of_run(chosen, ledger)
        if len(self._used) > 1:
            ledger.note(several_units(self._used))

    def reward_name(self) -> str:
        """The metric, where there is one for all tasks."""
        return next(iter(self._used)) if len(self._used) == 1 else "lm-eval"

    def _choose(self, runs: Sequence[Run]) -> list[_Chosen]:
        chosen: list[_Chosen] = []
        errors: list[ErpError] = []
        for run in runs:
            try:
                metric = self._metric.of(_metrics(run, self._metric), run.task)
                kept = self._filter.of(_filters(run), run.task)
                chosen.append(
                    _Chosen(run, metric, kept, sign_of(metric, run.task, run.higher_is_better(metric), self._up))
                )
            except ErpError as error:
                errors.append(error)
        if errors:
            raise ErpError.all_of(errors)
        self._metric.require_found()
        self._filter.require_found()
        return chosen

    def _compare_styles(self, runs: Sequence[Run], ledger: Ledger) -> None:
        styles: defaultdict[str, dict[str, Mapping[str, object]]] = defaultdict(dict)
        of_run = {(run.task, run.member): run for run in runs}
        for run in runs:
            if run.results:
                styles[run.task][run.member] = run.style

        def examples(task: str, first: str, second: str) -> list[str]:
            sent, other = _first_sent(of_run[task, first]), _first_sent(of_run[task, second])
            return [f"prompt_id {task}/{document}: {first} and {second} were sent {show_apart(text, other[document])}"
                    for document, text in sent.items() if document in other]  # fmt: skip

        compare_styles(styles, self._same, ledger, examples)

    def _of_run(self, chosen: _Chosen, ledger: Ledger) -> Iterator[Row]:
        ids: defaultdict[str, list[object]] = defaultdict(list)
        taken = unclear = several = 0
        for at, line in chosen.run.file.lines():
            place = f"{chosen.run.file.name} line {at}"
            if (sample := parsed(line)) is None:
                ledger.fault("a line is no JSON object", place)
                continue
            if sample.get("filter", "none") != chosen.filter:
                ledger.leave_out("of a filter that was not chosen")
                continue
            taken += 1
            try:
                reward = number(held(sample, chosen.metric), chosen.metric)
                document = document_of(sample)
                prompt, clear = self._prompt(sample, chosen.run)
            except Misread as error:
                ledger.fault(error.reason, f"{place}: {error.detail}")
                continue
            unclear += not clear
            responses = responses_of(sample)
            several = max(several, len(responses))
            known = ids[document]
            if (number_of := sample.get("doc_id")) not in known:
                known.append(number_of)
            row: Row = {
                "prompt_id": f"{chosen.run.task}/{document}", "prompt": prompt, "model": chosen.run.member,
                "category": chosen.run.task, "sample": known.index(number_of),
                "reward": None if reward is None else chosen.sign * reward,
            }  # fmt: skip
            if reward is None:
                row["unscored"] = _UNSCORED
            if len(responses) == 1:
                row["response"] = responses[0]
            yield row
        if not taken:
            ledger.fault("a file has no row of the filter", f"{chosen.run.file.name}: {chosen.filter}")
        if unclear:
            ledger.note(
                f"of {unclear:,} documents of {chosen.run.task} the prompt is all that {chosen.run.member} was sent, "
                "as the question cannot be told from its template, description or few-shot examples"
            )
        if several > 1:
            ledger.note(
                f"each score of {chosen.run.task} is of what filter {chosen.filter} made of {several} responses"
            )

    def _prompt(self, sample: Mapping[str, Any], run: Run) -> tuple[str, bool]:
        """The prompt, and whether it is what was wanted. Raises Misread: there is none."""
        calls = calls_of(sample)
        sent = list(dict.fromkeys(context for context, _ in calls))  # several where the choices stand in them
        continuation = calls[0][1] if len(sent) > 1 and isinstance(calls[0][1], str) else ""
        whole = with_blank(sent, continuation)
        if self._whole:
            return whole, True
        parts = [last_user_part(context, run.template, run.tokens) for context in sent]
        if None in parts:
            return whole, False
        said = with_blank([part for part in parts if part is not None], continuation)
        doc, config = inner(sample, "doc"), run.config
        question = at_end(rendered(config.get("doc_to_text"), doc), said, rendered(config.get("gen_prefix"), doc))
        if question is not None:
            return question, True
        alone = (run.template or is_chat(sent[0])) and run.results.get("fewshot_as_multiturn") is True
        shots = 0 if alone else run.shots
        asked = None if shots is None else without_examples(
            said, config.get("description"), shots, config.get("fewshot_delimiter")
        )  # fmt: skip
        return (said.strip(), False) if asked is None else (asked.strip(), True)


def _filters(run: Run) -> list[str]:
    """Of a task, in order: as its results say, or else its samples."""
    pairs = [key.rpartition(",") for key in inner(inner(run.results, "results"), run.task)]
    if told := [name for metric, comma, name in pairs if comma and metric and name]:
        return list(dict.fromkeys(told))
    found = (str(sample.get("filter", "none")) for _, line in run.file.lines() if (sample := parsed(line)) is not None)
    return list(dict.fromkeys(found))


def _metrics(run: Run, choice: Choice) -> list[str]:
    """Metrics of a task that are a score of one document. Raises ErpError: one that is wanted is none."""
    for at, (_, line) in enumerate(run.file.lines()):
        if (sample := parsed(line)) is not None:
            break
        if at >= _LOOKED_AT:
            return []
    else:
        return []
    told = sample.get("metrics")
    names = [name for name in told if isinstance(name, str)] if isinstance(told, list) else list(sample.keys() - _OWN)
    scores = [name for name in names if name not in _NO_METRICS and not isinstance(sample.get(name), list | dict)]
    parts = sorted(set(names) - set(scores) - _NO_METRICS)
    if parts and (set(choice.wanted) & set(parts) or not scores):
        raise ErpError(
            f"{choice.said}: {run.task} has {', '.join(parts)} as lists, which go into "
            f"a figure of all documents and are no score of one; choose of {', '.join(scores) or 'another task'}"
        )
    return scores if isinstance(told, list) else sorted(scores)


def _first_sent(run: Run) -> dict[str, str]:
    """What the first documents of a run were sent as."""
    found: dict[str, str] = {}
    for _, line in islice(run.file.lines(), _SHOWN):
        try:
            sample = parsed(line) or {}
            found[document_of(sample)] = calls_of(sample)[0][0]
        except Misread:
            continue
    return found
