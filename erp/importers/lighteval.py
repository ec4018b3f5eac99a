"""lighteval: `details_<task>_<date>.parquet`, with the `results_<date>.json` that says which way its metrics point."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import pyarrow.parquet

from erp.errors import ErpError, shorten
from erp.importers.base import Importer, Row
from erp.importers.choice import EARLIER, Choice, compare_styles, several_units, sign_of
from erp.importers.fields import Misread, Record, maybe_mapping, maybe_text, number, shown
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records
from erp.table.asked import as_text
from erp.table.texts import text_id

_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_DETAILS = re.compile(rf"details_(.+)_({_DATE})\.parquet")
_RESULTS = re.compile(rf"results_({_DATE})\.json")
_LOOKED_AT = 20  # rows, for one that has the metrics


@dataclass(frozen=True)
class _Run:
    """A task that a model was run on: its details, and what the run's results say."""

    file: SourceFile
    task: str
    date: str
    member: str
    results: Record

    def higher_is_better(self, metric: str) -> bool | None:
        """Which way a metric points, as the task's configuration says; None where it says nothing."""
        tasks = maybe_mapping(self.results.get("config_tasks"))
        parts = self.task.split("|")  # suite, name, shots: keys have some of them
        config = next((c for c in map(maybe_mapping, tasks.values()) if c.get("name") in parts), maybe_mapping(None))
        for said in _listed(config.get("metrics") or config.get("metric")):
            found = maybe_mapping(said)
            if metric in _listed(found.get("metric_name")):
                up = found.get("higher_is_better")
                up = maybe_mapping(up).get(metric) if not isinstance(up, bool) else up
                return up if isinstance(up, bool) else None
        return None


class LightEval(Importer):
    """Details of lighteval, those of before and after June 2025 (0.11).

    Seen: the code that writes them (huggingface/lighteval, ``logging/info_loggers.py`` and ``evaluation_tracker.py`` of
    0.3 to 0.9 and of 2025-11), ``details/<model>/<date>/details_<task>_<date>.parquet``. Now its columns are ``doc``
    (``query``, ``id``), ``model_response`` (``input``, ``text``, ``input_tokens``, ``output_tokens``) and ``metric``;
    before they were ``example``, ``full_prompt``, ``predictions``, ``input_tokens``, ``cont_tokens`` and ``metrics``,
    as lists and objects or, in most versions, as texts that Python printed. Lengths are those of token ids; choices
    whose likelihood was measured were not generated, and have none. Not seen: files that others published.

    Args:
        metric: which one is the reward: a name, or several of which a task's first is taken; None for its only one.
        prompt: ``question`` without few-shot examples and template, or ``whole`` as it was sent.
        member: what the model is called, where neither results nor folders say it.
        higher_is_better: which way metrics point that no results speak of.
        style: whether members that had other system prompts are refused, or noted. Another number of few-shot examples
            is another task to lighteval.
    """

    patterns = ("details_*.parquet", "results_*.json")

    def __init__(
        self,
        metric: str | list[str] | None = None,
        prompt: Literal["question", "whole"] = "question",
        member: str | None = None,
        higher_is_better: bool | None = None,
        style: Literal["same", "any"] = "same",
    ) -> None:
        self._metric, self._same = Choice("metric", metric), style == "same"
        self._whole, self._member, self._up = prompt == "whole", member, higher_is_better
        self._used: set[str] = set()

    def reward_name(self) -> str:
        """The metric, where there is one for all tasks."""
        return next(iter(self._used)) if len(self._used) == 1 else "lighteval"

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """The rows of the latest run of every member and task."""
        runs = self._latest(self._runs(files, ledger), ledger)
        chosen, errors = [], []
        for run in runs:
            try:
                metric = self._chosen(run)
                chosen.append((run, metric, sign_of(metric, run.task, run.higher_is_better(metric), self._up)))
            except ErpError as error:
                errors.append(error)
        if errors:
            raise ErpError.all_of(errors)
        self._metric.require_found()
        compare_styles(_styles(runs), self._same, ledger)
        for run, metric, sign in chosen:
            self._used.add(metric)
            sha = maybe_text(maybe_mapping(run.results.get("config_general")), "lighteval_sha")
            ledger.origin(run.file, [run.member], harness="lighteval", version=None if sha == "?" else sha,
                          metric=metric, date=run.date, task=run.task)  # fmt: skip
            if sign < 0:
                ledger.note(f"{metric} of {run.task} is better where it is lower: its sign is turned round")
            yield from self._of_run(run, metric, sign, ledger)
        if len(self._used) > 1:
            ledger.note(several_units(self._used))

    def _runs(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[_Run]:
        results: defaultdict[str, list[Record]] = defaultdict(list)
        for file in files:
            if match := _RESULTS.fullmatch(file.last):
                results[match[1]].append(maybe_mapping(file.json()))
        for file in files:
            if file.last.endswith(".json"):
                continue
            if (match := _DETAILS.fullmatch(file.last)) is None:
                ledger.fault("a file's name says no task and date", f"{file.name}: not details_<task>_<date>.parquet")
                continue
            task, date = match.groups()
            folder, said = _by_folders(file, date), results[date]
            of_run = [each for each in said if len(said) == 1 or _model(each) == folder]
            run = of_run[0] if of_run else {}
            member = self._member or _model(run) or folder
            if member is None:
                raise ErpError(
                    f"source.member = null: neither results_{date}.json nor the folders of {file.name} say which model "
                    "it is of; give the folder that holds both, or a name"
                )
            yield _Run(file, task, date, member, run)

    def _latest(self, runs: Iterator[_Run], ledger: Ledger) -> list[_Run]:
        latest: dict[tuple[str, str], _Run] = {}
        for run in sorted(runs, key=lambda run: run.date):
            if (earlier := latest.get((run.member, run.task))) is not None:
                with earlier.file.opened() as stream:
                    ledger.leave_out(EARLIER, pyarrow.parquet.ParquetFile(stream).metadata.num_rows)
            latest[run.member, run.task] = run
        return sorted(latest.values(), key=lambda run: run.file.name)

    def _chosen(self, run: _Run) -> str:
        names: dict[str, None] = {}
        for found in islice(records(run.file, Ledger()), _LOOKED_AT):
            metrics = maybe_mapping(_literal(found.values.get("metric", found.values.get("metrics"))))
            names |= dict.fromkeys(name for name, value in metrics.items() if _is_number(value))
        return self._metric.of(list(names), run.task)

    def _of_run(self, run: _Run, metric: str, sign: int, ledger: Ledger) -> Iterator[Row]:
        seen: Counter[str] = Counter()
        for found in records(run.file, ledger):
            try:
                row = self._row(found, run, metric, seen, ledger)
            except Misread as wrong:
                ledger.fault(wrong.reason, f"{found.place}: {wrong.detail}")
                continue
            if row["reward"] is not None:
                row["reward"] *= sign
            yield row

    def _row(self, found: Found, run: _Run, metric: str, seen: Counter[str], ledger: Ledger) -> Row:
        values = found.values
        if "doc" in values:
            doc, response = maybe_mapping(values["doc"]), maybe_mapping(values.get("model_response"))
            question, whole = doc.get("query"), response.get("input")
            texts, sent, generated = (response.get(key) for key in ("text", "input_tokens", "output_tokens"))
            document, metrics = maybe_text(doc, "id"), values.get("metric")
        else:  # the older columns
            question, whole, document = values.get("example"), values.get("full_prompt"), None
            texts, sent, generated = (
                _literal(values.get(key)) for key in ("predictions", "input_tokens", "cont_tokens")
            )
            metrics = _literal(values.get("metrics"))
        prompt = _text(whole if self._whole else question)
        if document is None:
            known = text_id(question) if isinstance(question, str) else ""
            seen[known] += 1
            document = known if seen[known] == 1 else f"{known}#{seen[known]}"
        answers = [text for text in _listed(texts) if isinstance(text, str)]
        if len(answers) > 1:
            ledger.note(f"each score of {run.task} is of {len(answers)} responses together")
        lengths = _lengths(generated) if answers else []
        if metric not in maybe_mapping(metrics):
            raise Misread(
                "a row has no such metric", f"{metric}: there are {shorten(maybe_mapping(metrics)) or 'none'}"
            )
        reward = number(maybe_mapping(metrics)[metric], metric)
        return {
            "prompt_id": f"{run.task}/{document}",
            "prompt": prompt,
            "model": run.member,
            "category": run.task,
            "reward": reward,
            "unscored": "the metric is null" if reward is None else None,
            "response": answers[0] if len(answers) == 1 else None,
            "prompt_tokens": next(iter(_lengths(sent)), None),
            "completion_tokens": sum(lengths) or None,
        }  # fmt: skip


def _model(results: Record) -> str | None:
    """The model's name in a run's results."""
    general = maybe_mapping(results.get("config_general"))
    return maybe_text(general, "model_name") or maybe_text(maybe_mapping(general.get("model_config")), "model_name")


def _by_folders(file: SourceFile, date: str) -> str | None:
    """The model's name as lighteval's folders say it, its data sets on the hub, or the folder that a file lies in."""
    folders = (file.address if file.inner is None else f"{file.address}/{file.inner}").split("/")[:-1]
    folders = [name for name in folders if name and name != date]
    if "details" in folders[:-1]:
        return "/".join(folders[len(folders) - folders[::-1].index("details") :])
    if (of_hub := next((name for name in folders[::-1] if name.startswith("details_")), None)) is not None:
        return of_hub.removeprefix("details_").removesuffix("_private").replace("__", "/")
    below = [name for name in file.folder.split("/") if name and name != date]
    return below[-1] if below else None


def _styles(runs: Sequence[_Run]) -> dict[str, dict[str, dict[str, object]]]:
    """Task -> member -> what the run's results say of how it was asked."""
    styles: defaultdict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for run in runs:
        general = maybe_mapping(run.results.get("config_general"))
        config = maybe_mapping(general.get("model_config"))
        styles[run.task][run.member] = {"system prompt": maybe_text(config, "system_prompt")}
    return styles


def _text(value: object) -> str:
    try:
        text = as_text(value, "conversation")
    except ValueError as error:
        raise Misread(f"the prompt {error}", shown(value)) from None
    if text is None or not text.strip():
        raise Misread("no prompt", shown(value))
    return text


def _literal(value: object) -> Any:
    """What Python printed; anything else as it is, None where it cannot be read."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _listed(value: Any) -> list[Any]:
    value = value.tolist() if hasattr(value, "tolist") else value
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _lengths(ids: Any) -> list[int]:
    """Lengths of the lists of token ids in a list of lists, however deep; none for an empty one."""
    items = _listed(ids)
    nested = [item for item in items if hasattr(item, "__len__")]
    if not nested:
        return [len(items)] if items else []
    return [length for item in nested for length in _lengths(item)]


def _is_number(value: object) -> bool:
    try:
        return number(value, "") is not None
    except Misread:
        return False
