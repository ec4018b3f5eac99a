"""Logs of Inspect, whichever way they are written: what was run, and its samples one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from erp.errors import ErpError, shorten
from erp.importers.choice import EARLIER
from erp.importers.fields import Record, inner, maybe_text
from erp.importers.files import SourceFile
from erp.importers.inspect_ai.archive import Archive
from erp.importers.ledger import Ledger

_SAMPLE = re.compile(r"samples/(.+_epoch_\d+)(?:/sample)?\.json")
_ATTACHED = re.compile(r"attachment://([0-9a-zA-Z]+)")
# How a model is called, not how it answers.
_TRANSPORT = {"max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections", "cache", "batch",
              "adaptive_connections", "cache_prompt", "extra_headers"}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One sample of one epoch: what it holds, and what the texts it refers to say."""

    content: Record
    attachments: Mapping[str, str]
    place: str

    def text(self, value: object) -> str:
        """A text, or the text parts of a list of contents, with what was put aside put back."""
        if isinstance(value, list):
            return "\n".join(self.text(part.get("text")) for part in value if isinstance(part, dict) and "text" in part)
        if not isinstance(value, str):
            return ""
        return _ATTACHED.sub(lambda found: self.attachments.get(found[1], found[0]), value)


@dataclass(frozen=True)
class Log:
    """A log.

    Attributes:
        file: where it lies.
        header: all but its samples.
    """

    file: SourceFile
    header: Record

    @property
    def spec(self) -> Record:
        """What was run."""
        return inner(self.header, "eval")

    @cached_property
    def task(self) -> str:
        """Its task, with the arguments that were given."""
        name, given = maybe_text(self.spec, "task") or "task", inner(self.spec, "task_args_passed")
        told = ",".join(f"{key}={_plain(value)}" for key, value in sorted(given.items()))
        return f"{name}({told})" if told else name

    @property
    def created(self) -> str:
        """When it was begun."""
        return maybe_text(self.spec, "created") or ""

    @property
    def status(self) -> str:
        """How it ended."""
        return maybe_text(self.header, "status") or "started"

    @cached_property
    def settings(self) -> dict[str, str]:
        """How the model was asked: solver and generation."""
        config = {**inner(self.spec, "model_generate_config"), **inner(inner(self.header, "plan"), "config")}
        found = {key: value for key, value in config.items() if key not in _TRANSPORT}
        if solver := maybe_text(self.spec, "solver"):
            found = {"solver": solver, **inner(self.spec, "solver_args_passed"), **found}
        return {key: _plain(value) for key, value in sorted(found.items()) if value is not None}

    @cached_property
    def style(self) -> dict[str, object]:
        """What was done with a sample: the steps of its plan, with their arguments."""
        found: dict[str, object] = {}
        for number, step in enumerate(_listed(inner(self.header, "plan").get("steps")), 1):
            if isinstance(step, dict):
                told = ", ".join(f"{key}={_plain(value)}" for key, value in sorted(inner(step, "params").items()))
                found[f"step {number}"] = f"{step.get('solver')}({told})"
        return found

    def samples(self, ledger: Ledger) -> Iterator[Sample]:
        """Its samples, in order."""
        if not self.file.last.endswith(".eval"):
            for number, content in enumerate(_listed(self.file.json().get("samples"))):
                place = f"{self.file.name} sample {number + 1}"
                if isinstance(content, dict):
                    yield Sample(content, _texts(content.get("attachments")), place)
                else:
                    ledger.fault("a sample is no JSON object", place)
            return
        with self.file.opened() as stream:
            archive = Archive(stream)
            for name in archive.names():
                if match := _SAMPLE.fullmatch(name):
                    place = f"{self.file.name}, {match[1]}"
                    try:
                        sample = _of_archive(archive, name, place)
                    except ValueError as error:
                        ledger.fault("a sample cannot be read", f"{place}: {error}")
                        continue
                    yield sample


def _of_archive(archive: Archive, name: str, place: str) -> Sample:
    """Raises ValueError: the sample cannot be read."""
    content = archive.json(name)
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    if not name.endswith("/sample.json"):
        return Sample(content, _texts(content.get("attachments")), place)
    prefix = f"{name.removesuffix('sample.json')}attachments/"
    wanted = set(_ATTACHED.findall(json.dumps([content.get("input"), content.get("choices"), content.get("output")])))
    found: dict[str, str] = {}
    for chunk in archive.names():
        if (
            wanted
            and chunk.startswith(prefix)
            and (start := chunk.removeprefix(prefix).removesuffix(".json")).isdigit()
        ):
            texts = _listed(archive.json(chunk))
            found |= {key: text for at, text in enumerate(texts) if (key := str(int(start) + at)) in wanted}
    return Sample(content, _texts(found), place)


def logs_of(files: Sequence[SourceFile], ledger: Ledger) -> list[Log]:
    """The logs among files, in order.

    Raises:
        ErpError: there is none, or one cannot be read.
    """
    logs = [Log(file, header) for file in files if (header := _header(file)) is not None]
    if not logs:
        raise ErpError(f"path = {files[0].path}: holds no log of Inspect; give its folder of .eval or .json logs")
    if others := len(files) - len(logs):
        ledger.leave_out("json files that are no logs", others)
    return logs


def _header(file: SourceFile) -> Record | None:
    """Of a log; None where a .json is none."""
    if not file.last.endswith(".eval"):
        content = file.json()
        if not isinstance(content, dict) or not isinstance(content.get("eval"), dict):
            return None
        return {key: value for key, value in content.items() if key not in ("samples", "reductions")}
    with file.opened() as stream:
        archive = Archive(stream)
        name = next((name for name in ("header.json", "_journal/start.json") if name in archive.names()), None)
        content = archive.json(name) if name else None
    if not isinstance(content, dict) or not isinstance(content.get("eval"), dict):
        raise ErpError(f"{file.named}: holds no header.json of a log; correct the file or take it away")
    return content


def finished(logs: Sequence[Log], members: Mapping[int, str], partial: bool, ledger: Ledger) -> list[int]:
    """Which logs are read: of every member and task the latest that was finished, or else the latest.

    Args:
        logs: all of them.
        members: number of a log -> its member.
        partial: whether logs that were not finished are read.
        ledger: is told of the others.

    Raises:
        ErpError: one that would be read was not finished.
    """
    found: dict[tuple[str, str], list[int]] = {}
    for number, log in enumerate(logs):
        found.setdefault((members[number], log.task), []).append(number)
    chosen = [
        max(numbers, key=lambda n: (logs[n].status == "success", logs[n].created, n)) for numbers in found.values()
    ]
    open_ones = [f"{logs[n].file.name} ({logs[n].status})" for n in sorted(chosen) if logs[n].status != "success"]
    if open_ones and not partial:
        raise ErpError(
            f"source.partial = false: {len(open_ones)} logs were not finished: {shorten(open_ones, 5)}; finish them "
            "with inspect eval-retry, take them away, or read what they hold with source.partial=true"
        )
    if open_ones:
        ledger.note(f"{len(open_ones)} logs were not finished and hold some of their samples: {shorten(open_ones, 5)}")
    for number in sorted(set(range(len(logs))) - set(chosen)):
        ledger.leave_out(EARLIER, sum(1 for _ in logs[number].samples(Ledger())))
        ledger.origin(logs[number].file, (), harness="inspect-ai", task=logs[number].task, date=logs[number].created)
    return sorted(chosen)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
