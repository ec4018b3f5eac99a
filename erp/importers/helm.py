"""HELM: run folders with `per_instance_stats.json` and `scenario_state.json`."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from erp.errors import shorten
from erp.importers.base import Importer, Row
from erp.importers.choice import Choice, compare_styles, several_units
from erp.importers.fields import Misread, Record, label, mapping, maybe_mapping, maybe_text, number, shown
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.table.asked import as_text

_STATS, _STATE, _SPEC = "per_instance_stats.json", "scenario_state.json", "run_spec.json"
# what HELM counts or measures beside scores
_NO_SCORES = ("num_", "finish_reason_", "inference_", "training_", "batch_size", "logprob", "max_prob",
              "predicted_index", "prompt_truncated", "max_num_")  # fmt: skip
_STYLE = {"method": "method", "instructions": "instructions", "few-shot examples": "max_train_instances"}
_PERTURBED = "a perturbed copy of an instance"

Key = tuple[str, int]  # an instance's id, and the trial


@dataclass(frozen=True)
class _Run:
    """A model on a scenario: its folder's files by name."""

    folder: str
    files: Mapping[str, SourceFile]

    @property
    def place(self) -> str:
        """How faults call it."""
        return self.folder or self.files[next(iter(self.files))].named


class Helm(Importer):
    """Run folders of HELM: ``benchmark_output/runs/<suite>/<run>/``.

    Seen: the code that writes them (stanford-crfm/helm, ``benchmark/runner.py``, ``metrics/metric.py``,
    ``adaptation/request_state.py``): ``per_instance_stats.json`` is a list of ``instance_id``, ``perturbation``,
    ``train_trial_index`` and ``stats`` (``name.name``, ``sum``, ``count``, ``mean``; what is NaN is not written), and
    ``scenario_state.json`` holds ``adapter_spec`` and ``request_states`` with instance, request and result; and three
    runs, two of them of choices, which evaleval/every_eval_ever keeps for its tests. Both are JSON documents and read
    whole, a run at a time.

    Perturbed copies of instances are dropped and counted. Trials, which differ in their few-shot examples, are samples.

    Args:
        metric: which one is the reward, ``exact_match``, or several of which a run's first is taken; None for the only
            one that is a score.
        prompt: ``input``, the instance's own text and its choices, without instructions and examples, or ``request`` as
            it was sent.
        lower_is_better: whether the metric's sign is turned round; a run says nothing of it.
        style: whether members that were asked with other instructions or numbers of examples are refused, or noted.
    """

    patterns = (_STATS, _STATE, _SPEC)

    def __init__(
        self,
        metric: str | list[str] | None = None,
        prompt: Literal["input", "request"] = "input",
        lower_is_better: bool = False,
        style: Literal["same", "any"] = "same",
    ) -> None:
        self._metric, self._same = Choice("metric", metric), style == "same"
        self._styles: defaultdict[str, dict[str, dict[str, object]]] = defaultdict(dict)
        self._whole, self._sign = prompt == "request", -1 if lower_is_better else 1
        self._used: set[str] = set()

    def reward_name(self) -> str:
        """The metric, where there is one for all runs."""
        return next(iter(self._used)) if len(self._used) == 1 else "helm"

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row an instance and trial of every run."""
        folders: dict[str, dict[str, SourceFile]] = {}
        for file in files:
            folders.setdefault(file.folder, {})[file.last] = file
        for folder, held in folders.items():
            run = _Run(folder, held)
            try:
                yield from self._of_run(run, ledger)
            except Misread as wrong:
                ledger.fault(wrong.reason, f"{run.place}: {wrong.detail}")
        if self._sign < 0:
            ledger.note(f"{shorten(sorted(self._used))} is taken to be better lower: its sign is turned round")
        if len(self._used) > 1:
            ledger.note(several_units(self._used))
        self._metric.require_found()
        compare_styles(self._styles, self._same, ledger)

    def _of_run(self, run: _Run, ledger: Ledger) -> Iterator[Row]:
        for name in (_STATS, _STATE):
            if name not in run.files:
                raise Misread("a run lacks a file", f"no {name}")
        stats = _stats(run.files[_STATS].json(), run, ledger)
        state = maybe_mapping(run.files[_STATE].json())
        spec = maybe_mapping(run.files[_SPEC].json()) if _SPEC in run.files else {}
        adapter = mapping(state, "adapter_spec")
        model = label(adapter, "model")
        metric = self._chosen(stats, run)
        name = maybe_text(spec, "name") or run.folder.rpartition("/")[2]
        task = re.sub(r"(?<=[:,])model(?:_deployment)?=[^,]*,?", "", name).strip(",:") or name
        groups = spec.get("groups")
        category = groups[0] if isinstance(groups, list) and groups and isinstance(groups[0], str) else task
        self._styles[task][model] = {name: adapter.get(key) for name, key in _STYLE.items()}
        ledger.origin(run.files[_STATS], [model], harness="HELM", metric=metric, task=task)
        ledger.origin(run.files[_STATE], [model], harness="HELM", task=task)
        for key, request in _requests(state, run, ledger).items():
            try:
                yield {**self._row(request, stats.get(key, {}), metric, adapter), "prompt_id": f"{task}/{key[0]}",
                       "sample": key[1], "model": model, "category": category}  # fmt: skip
            except Misread as wrong:
                ledger.fault(wrong.reason, f"{run.place}: {key[0]}: {wrong.detail}")

    def _chosen(self, stats: Mapping[Key, Mapping[str, float]], run: _Run) -> str:
        names = sorted({name for some in stats.values() for name in some})
        scores = [name for name in names if not name.startswith(_NO_SCORES)]
        chosen = self._metric.of([*scores, *(name for name in self._metric.wanted if name in names)], run.place)
        self._used.add(chosen)
        return chosen

    def _row(self, request: Record, stats: Mapping[str, float], metric: str, adapter: Record) -> Row:
        instance, sent = mapping(request, "instance"), maybe_mapping(request.get("request"))
        result = maybe_mapping(request.get("result"))
        completions = result.get("completions")
        answers = [maybe_mapping(each) for each in completions] if isinstance(completions, list) else []
        finish = maybe_mapping(answers[0].get("finish_reason")) if len(answers) == 1 else {}
        row: Row = {
            "prompt": _sent(sent) if self._whole else _question(instance, request, adapter),
            "model": "",
            "reward": None,
            "response": maybe_text(answers[0], "text") if len(answers) == 1 else None,
            "prompt_tokens": stats.get("num_prompt_tokens"),
            "completion_tokens": stats.get("num_completion_tokens", stats.get("num_output_tokens")),
            "finish_reason": maybe_text(finish, "reason"),
        }
        if not result:
            return {**row, "unscored": "the request was not executed"}
        if result.get("success") is False:
            return {**row, "error": "the request failed"}
        if metric not in stats:
            return {**row, "unscored": f"no {metric}"}
        return {**row, "reward": self._sign * stats[metric]}


def _stats(found: Any, run: _Run, ledger: Ledger) -> dict[Key, dict[str, float]]:
    """Metric -> value of every instance and trial; what is said of perturbed copies is left."""
    if not isinstance(found, list):
        raise Misread("statistics are no list", f"{_STATS} holds {shown(found)}")
    values: dict[Key, dict[str, float]] = {}
    for entry in found:
        try:
            key = _key(entry, entry)
            if not maybe_mapping(entry.get("perturbation")):
                values.setdefault(key, {}).update(_values(entry.get("stats")))
        except Misread as wrong:
            ledger.fault(wrong.reason, f"{run.place}/{_STATS}: {wrong.detail}")
    return values


def _values(stats: Any) -> Iterator[tuple[str, float]]:
    if not isinstance(stats, list):
        raise Misread("statistics of an instance are no list", shown(stats))
    for stat in map(maybe_mapping, stats):
        named = maybe_mapping(stat.get("name"))
        name, count, total = (
            maybe_text(named, "name"),
            number(stat.get("count"), "count"),
            number(stat.get("sum"), "sum"),
        )
        if name is None:
            raise Misread("a statistic has no name", shown(dict(stat)))
        if count and total is not None and not maybe_mapping(named.get("perturbation")):
            yield name, total / count


def _requests(state: Record, run: _Run, ledger: Ledger) -> dict[Key, Record]:
    """The request of every instance and trial; of several, one a choice, the first. Perturbed copies are dropped."""
    states = state.get("request_states")
    if not isinstance(states, list):
        raise Misread("requests are no list", f"{_STATE}: request_states = {shown(states)}")
    requests: dict[Key, Record] = {}
    perturbed: set[tuple[Key, str]] = set()
    for request in states:
        try:
            instance = mapping(request if isinstance(request, Mapping) else {}, "instance")
            key = _key({"instance_id": instance.get("id")}, request)
        except Misread as wrong:
            ledger.fault(wrong.reason, f"{run.place}/{_STATE}: {wrong.detail}")
            continue
        if copy := maybe_mapping(instance.get("perturbation")):
            perturbed.add((key, str(sorted(copy.items(), key=str))))
        elif key not in requests:
            requests[key] = (
                request if request.get("reference_index") is None else {**request, "result": _of_choice(request)}
            )
    if perturbed:
        ledger.leave_out(_PERTURBED, len(perturbed))
    return requests


def _of_choice(request: Record) -> Record:
    """The result of a choice whose likelihood was asked for: whether it failed, and no response."""
    result = maybe_mapping(request.get("result"))
    return {key: value for key, value in result.items() if key != "completions"}


def _key(of: Any, entry: Any) -> Key:
    if not isinstance(entry, Mapping):
        raise Misread("an entry is no object", shown(entry))
    trial = number(entry.get("train_trial_index"), "train_trial_index")
    return label(of, "instance_id"), int(trial or 0)


def _sent(request: Record) -> str:
    return _text(request.get("messages") or request.get("prompt"), "conversation")


def _question(instance: Record, request: Record, adapter: Record) -> str:
    """The instance's text, and its choices as they follow it in what was sent."""
    given = mapping(instance, "input")
    if given.get("messages"):
        return _text(given["messages"], "last_user")
    text = _text(given.get("text"), "last_user")
    sent = maybe_mapping(request.get("request")).get("prompt")
    if not isinstance(sent, str) or text not in sent or request.get("reference_index") is not None:
        return text  # it was cut, or a choice is part of it
    question = sent[sent.rindex(text) :].rstrip()
    for end in ("global_suffix", "output_prefix"):
        question = question.removesuffix((maybe_text(adapter, end) or "").strip()).rstrip()
    return question


def _text(value: object, rule: Literal["last_user", "conversation"]) -> str:
    try:
        text = as_text(value, rule)
    except ValueError as error:
        raise Misread(f"the prompt {error}", shown(value)) from None
    if text is None or not text.strip():
        raise Misread("no prompt", shown(value))
    return text
