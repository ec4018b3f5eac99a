"""Which run every file of samples is of, and what its results say of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from erp.errors import ErpError, shorten
from erp.importers.choice import EARLIER
from erp.importers.fields import inner, maybe_text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger

_DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
_SAMPLES = re.compile(rf"samples_(.+?)(?:_({_DATE}))?\.jsonl")
_RESULTS = re.compile(rf".+_({_DATE})\.json")


@dataclass(frozen=True)
class Run:
    """A task of one call of the harness.

    Attributes:
        file: its samples.
        task: its name.
        date: when, as the file's name says.
        results: what ``results_<date>.json`` holds; empty without it.
        member: the model's name.
    """

    file: SourceFile
    task: str
    date: str
    results: Mapping[str, Any]
    member: str

    @property
    def config(self) -> Mapping[str, Any]:
        """Of the task."""
        return inner(inner(self.results, "configs"), self.task)

    @property
    def shots(self) -> int | None:
        """How many examples stand before a question; None where nobody says."""
        said = inner(self.results, "n-shot").get(self.task, self.config.get("num_fewshot"))
        return said if isinstance(said, int) and said >= 0 else None

    @property
    def style(self) -> dict[str, object]:
        """What stood around a question, but for the chat template; empty where nobody says."""
        if not self.results:
            return {}
        description, system = maybe_text(self.config, "description"), maybe_text(self.results, "system_instruction")
        return {"examples": self.shots, "description": description, "system prompt": system}

    @property
    def template(self) -> str | None:
        """The chat template that was used."""
        return maybe_text(self.results, "chat_template")

    @property
    def tokens(self) -> dict[str, str]:
        """What a chat template may call."""
        pairs = {name: self.results.get(f"tokenizer_{name}") for name in ("bos_token", "eos_token")}
        return {name: str(pair[0]) if isinstance(pair, list) and pair else "" for name, pair in pairs.items()}

    def higher_is_better(self, metric: str) -> bool | None:
        """Which way a metric points; None where nobody says."""
        said = inner(inner(self.results, "higher_is_better"), self.task).get(metric)
        return said if isinstance(said, bool) else None


def runs_of(files: Sequence[SourceFile], by_folder: bool, ledger: Ledger) -> list[Run]:
    """The latest run of every member and task, in the order of their files.

    Raises:
        ErpError: there is no file of samples, or one member's runs of a task lie in several folders.
    """
    results: dict[tuple[str, str], Mapping[str, Any]] = {}
    for file in files:
        if match := _RESULTS.fullmatch(file.last):
            results[file.folder, match[1]] = _results(file)
    found: dict[tuple[str, str], list[Run]] = {}
    for file in files:
        if (match := _SAMPLES.fullmatch(file.last)) is None:
            continue
        task, date = match[1], match[2] or ""
        of_run = results.get((file.folder, date), {})
        run = Run(file, task, date, of_run, _member(file, of_run, by_folder))
        found.setdefault((run.member, run.task), []).append(run)
    if not found:
        raise ErpError(
            f"path = {files[0].path}: holds no samples_<task>_<date>.jsonl; run lm-eval with --log_samples "
            "--output_path <folder>, and give that folder"
        )
    return sorted((_latest(runs, ledger) for runs in found.values()), key=lambda run: run.file.name)


def _results(file: SourceFile) -> Mapping[str, Any]:
    content = file.json()
    if not isinstance(content, dict) or not isinstance(content.get("results"), dict):
        raise ErpError(f"{file.named}: holds no results of lm-eval; correct the file or take it away")
    return content


def _latest(runs: list[Run], ledger: Ledger) -> Run:
    if len(folders := sorted({run.file.folder or "." for run in runs})) > 1:
        raise ErpError(
            f"source.member = model: {runs[0].member} ran {runs[0].task} in {len(folders)} folders, "
            f"{shorten(folders, 3)}; a later run in the same folder takes an earlier one's place, others are other "
            "members: give source.member=folder, or a path that has one of them"
        )
    *earlier, latest = sorted(runs, key=lambda run: run.date)
    for run in earlier:
        ledger.leave_out(EARLIER, sum(1 for _ in run.file.lines()))
        ledger.origin(run.file, (), harness="lm-eval", task=run.task, date=run.date)
    return latest


def _member(file: SourceFile, results: Mapping[str, Any], by_folder: bool) -> str:
    folder = file.folder or (file.address.rpartition("/")[0].rpartition("/")[2])
    if by_folder:
        return folder
    return maybe_text(results, "model_name") or folder.rpartition("/")[2] or "model"
