"""Inspect's logs as rows: an epoch is a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from string import ascii_uppercase
from typing import Any, Literal

from erp.errors import ErpError, shorten
from erp.importers.base import Importer, Row
from erp.importers.choice import Choice, compare_styles, several_units
from erp.importers.fields import Misread, Record, inner, label, maybe_text, number
from erp.importers.files import SourceFile
from erp.importers.inspect_ai.logs import Log, Sample, finished, logs_of
from erp.importers.inspect_ai.scores import parts_of, score_of, tells_all
from erp.importers.ledger import Ledger

_LOOKED_AT = 20  # samples of a log, for who scored them
_NOBODY = ("none", "none/none")  # the model of a task that calls models by role


class InspectAi(Importer):
    """Logs of Inspect.

    Args:
        scorer: whose score is the reward: a name, or several of which a task's first is taken; None for its only one.
        key: which part of a score that has several, likewise.
        values: numbers of grades of a scorer's own.
        prompt: ``question``, the last that the user says, or ``whole``.
        member: ``model``, or ``settings`` with solver and generation settings too.
        style: ``same`` refuses members whose samples went through other solvers; ``any`` lets them differ.
        role: whose model is the member, of a task that calls models by role.
        partial: whether logs that were not finished are read.
    """

    patterns = ("*.eval", "*.json")

    def __init__(
        self,
        scorer: str | list[str] | None = None,
        key: str | list[str] | None = None,
        values: dict[str, float] | None = None,
        prompt: Literal["question", "whole"] = "question",
        member: Literal["model", "settings"] = "model",
        style: Literal["same", "any"] = "same",
        role: str | None = None,
        partial: bool = False,
    ) -> None:
        self._scorer, self._key = Choice("scorer", scorer), Choice("key", key)
        self._values, self._whole, self._role = values or {}, prompt == "whole", role
        self._settings, self._same, self._partial = member == "settings", style == "same", partial
        self._used: set[str] = set()

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """The samples of the latest log of every member and task."""
        logs = logs_of(files, ledger)
        members = self._members(logs)
        read = finished(logs, members, self._partial, ledger)
        styles: dict[str, dict[str, Mapping[str, object]]] = {}
        for at in read:
            styles.setdefault(logs[at].task, {})[members[at]] = logs[at].style
        compare_styles(styles, self._same, ledger)
        parts = self._parts([logs[at] for at in read])
        for at, (scorer, key) in zip(read, parts, strict=True):
            log, metric = logs[at], scorer if key is None else f"{scorer}.{key}"
            self._used.add(metric)
            version = maybe_text(inner(log.spec, "packages"), "inspect_ai")
            ledger.origin(
                log.file, [members[at]], harness="inspect-ai", version=version, metric=metric, date=log.created,
                task=log.task,
            )  # fmt: skip
            for sample in log.samples(ledger):
                try:
                    yield self._row(sample, log, members[at], scorer, key)
                except Misread as error:
                    ledger.fault(error.reason, f"{sample.place}: {error.detail}")
        if len(self._used) > 1:
            ledger.note(several_units(self._used))

    def reward_name(self) -> str:
        """The scorer, where there is one for all tasks."""
        return next(iter(self._used)) if len(self._used) == 1 else "inspect"

    def _members(self, logs: Sequence[Log]) -> dict[int, str]:
        names = [self._model(log) for log in logs]
        if self._settings:
            told = [", ".join(f"{key}={value}" for key, value in log.settings.items()) for log in logs]
            names = [f"{name} ({said})" if said else name for name, said in zip(names, told, strict=True)]
        seen: dict[tuple[str, str], Log] = {}
        for name, log in zip(names, logs, strict=True):
            first = seen.setdefault((name, log.task), log)
            if differs := sorted(dict(first.settings.items() ^ log.settings.items())):
                said = [", ".join(f"{key}={one.settings.get(key)}" for key in differs) for one in (first, log)]
                raise ErpError(
                    f"source.member = model: {name} ran {log.task} with different settings: {first.file.name} with "
                    f"{said[0]}, {log.file.name} with {said[1]}; give source.member=settings, or one of them"
                )
        return dict(enumerate(names))

    def _model(self, log: Log) -> str:
        roles = inner(log.spec, "model_roles")
        if self._role is None:
            name = maybe_text(log.spec, "model")
            if name is not None and name not in _NOBODY:
                return name
            raise ErpError(
                f"source.role = null: {log.file.name} calls its models by role; choose one of "
                f"{shorten(roles) or 'none'}"
            )
        role = roles.get(self._role)
        name = maybe_text(role, "model") if isinstance(role, dict) else None
        if name is None:
            raise ErpError(
                f"source.role = {self._role}: {log.file.name} has no one model in that role; its roles are "
                f"{shorten(roles) or 'none'}"
            )
        return name

    def _parts(self, logs: Sequence[Log]) -> list[tuple[str, str | None]]:
        """Whose score is read of every log. Raises ErpError: of every task where it has to be chosen."""
        found, errors = [], []
        for log in logs:
            some: list[Record] = []
            for sample in islice(log.samples(Ledger()), _LOOKED_AT):
                some.append(sample.content)
                if tells_all(sample.content):
                    break
            try:
                found.append(parts_of(some, self._scorer, self._key, log.task))
            except ErpError as error:
                errors.append(error)
        if errors:
            raise ErpError.all_of(errors)
        self._scorer.require_found()
        self._key.require_found()
        return found

    def _row(self, sample: Sample, log: Log, member: str, scorer: str, key: str | None) -> Row:
        """Raises Misread: it is none."""
        held, output = sample.content, inner(sample.content, "output")
        epoch = number(held.get("epoch"), "epoch")
        if epoch is None or epoch < 1:
            raise Misread("epoch is no number from 1", f"epoch = {held.get('epoch')}")
        row: Row = {
            "prompt_id": f"{log.task}/{label(held, 'id')}", "prompt": self._prompt(sample), "model": member,
            "category": log.task, "sample": int(epoch) - 1, "response": sample.text(output.get("completion")) or None,
            "finish_reason": _ended(held, output), "reward": None,
        }  # fmt: skip
        _add_usage(row, self._usage(held, output, log, member))
        if (failed := held.get("error")) is not None:
            message = failed.get("message") if isinstance(failed, dict) else failed
            row["error"] = str(message).splitlines()[0] if str(message) else "the sample failed"
        elif held.get("invalidation") is not None:
            row["unscored"] = "the sample was declared invalid"
        else:
            row["reward"], row["unscored"] = score_of(held, scorer, key, self._values)
        return row

    def _prompt(self, sample: Sample) -> str:
        """Raises Misread: there is none."""
        said = sample.content.get("input")
        if isinstance(said, list):
            messages = [(m.get("role"), sample.text(m.get("content"))) for m in said if isinstance(m, dict)]
            users = [content for role, content in messages if role == "user"]
            whole = "\n\n".join(f"{role}: {content}" for role, content in messages)
            asked = whole if self._whole or not users else users[-1]
        else:
            asked = sample.text(said)
        if not asked.strip():
            raise Misread("input is no text", f"input = {str(said)[:60]}")
        choices = sample.content.get("choices")
        letters = zip(ascii_uppercase, choices if isinstance(choices, list) else [], strict=False)
        lines = [f"{letter}) {sample.text(choice)}" for letter, choice in letters]
        return "\n".join([asked, "", *lines]) if lines else asked

    def _usage(self, held: Record, output: Record, log: Log, member: str) -> Record:
        """What the member used, and not those who graded it."""
        if self._role is not None:
            return inner(inner(held, "role_usage"), self._role)
        model = maybe_text(log.spec, "model") or member
        own = inner(inner(held, "model_usage"), model)
        if not own:
            return inner(output, "usage")
        roles = inner(log.spec, "model_roles")
        others = [inner(inner(held, "role_usage"), name) for name, role in roles.items()
                  if isinstance(role, dict) and role.get("model") == model]  # fmt: skip
        return {key: _less(value, [other.get(key) for other in others]) for key, value in own.items()}


def _less(value: object, others: Sequence[object]) -> Any:
    whole = isinstance(value, int | float)
    return value - sum(v for v in others if isinstance(v, int | float)) if whole else value  # type: ignore[operator]


def _add_usage(row: Row, usage: Mapping[str, Any]) -> None:
    """Tokens sent, those of a cache too, and received, and what they cost."""
    sent = [number(usage.get(f"input_tokens{kind}"), "input_tokens") for kind in ("", "_cache_read", "_cache_write")]
    if sent[0] is not None:
        row["prompt_tokens"] = sum(tokens for tokens in sent if tokens is not None)
    row["completion_tokens"] = number(usage.get("output_tokens"), "output_tokens")
    row["cost_usd"] = number(usage.get("total_cost"), "total_cost")


def _ended(held: Record, output: Record) -> str | None:
    """Why the response ended: the limit that was met, or what the model's server said."""
    if limit := maybe_text(inner(held, "limit"), "type"):
        return limit
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    return maybe_text(first, "stop_reason")
