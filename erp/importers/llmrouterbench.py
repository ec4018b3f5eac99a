"""LLMRouterBench: a JSON file for every run of a model on a data set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal, cast

from erp.errors import ErpError
from erp.importers.base import Importer, Row
from erp.importers.by_record import scored
from erp.importers.fields import Misread, Record, known_cost, label, maybe_text, number, objects, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger

_TIME = re.compile(r"(\d{8}_\d{6})\.json$")
_FAILED = ("Processing failed:", "Unexpected error:")


class LLMRouterBench(Importer):
    """``results/bench/<dataset>/<split>/<model>/<dataset>-<split>-<model>-<time>.json`` of ynulihao/LLMRouterBench.

    Seen: the code that writes and reads them (``data_collector/storage.py`` and ``runner.py``,
    ``baselines/data_loader.py``): ``dataset_name``, ``split``, ``model_name``, ``demo`` and ``records``, each with
    ``index``, ``origin_query``, ``prompt``, ``score`` (perhaps null), ``prompt_tokens``, ``completion_tokens``,
    ``cost`` (USD), ``raw_output``. As there, the latest run of a model on a data set that is no demonstration is taken;
    unlike there, a score of null is missing and not 0. Not seen: the published ``bench-release.tar.gz``; unpack it and
    give the folder. A file is one JSON document and is read whole.

    Args:
        text: what the prompt is: ``prompt``, what the model was asked, or ``origin_query``, the question in it.
    """

    patterns = ("*.json",)
    reward = "score"

    def __init__(self, text: Literal["prompt", "origin_query"] = "prompt") -> None:
        self._text = text

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """Rows by run, the latest runs first."""
        taken: set[tuple[str, ...]] = set()
        for file in sorted(files, key=lambda file: _time(file) or "", reverse=True):
            try:
                about, records = _run(file)
                run = tuple(label(about, key) for key in ("dataset_name", "split", "model_name"))
            except Misread as wrong:
                ledger.fault(wrong.reason, f"{file.name}: {wrong.detail}")
                continue
            if about.get("demo"):
                ledger.leave_out("of a demonstration", len(records))
            elif run in taken:
                ledger.leave_out("of an earlier run of the same model on the same data set", len(records))
            else:
                taken.add(run)
                yield from self._rows(run, records, file, ledger)
                ledger.origin(file, [run[2]], harness="LLMRouterBench", task=run[0], date=_time(file))

    def _rows(self, run: tuple[str, ...], records: Sequence[Record], file: SourceFile, ledger: Ledger) -> Iterator[Row]:
        for at, record in enumerate(records, 1):
            output = maybe_text(record, "raw_output")
            failed = record.get("score") is None and output is not None and output.startswith(_FAILED)
            if failed and maybe_text(record, self._text) is None:
                ledger.leave_out("failed without a prompt")
                continue
            try:
                tokens = number(record.get("completion_tokens"), "completion_tokens")
                row = {
                    **scored(record.get("score")),
                    "error": "processing failed" if failed else None,
                    "prompt_id": f"{run[0]}/{run[1]}/{label(record, 'index')}",
                    "prompt": text(record, self._text),
                    "model": run[2],
                    "category": run[0],
                    "response": None if failed else output,
                    "prompt_tokens": record.get("prompt_tokens"),
                    "completion_tokens": tokens,
                    "cost_usd": known_cost(record.get("cost"), (tokens or 0) > 0, ledger),
                }
            except Misread as wrong:
                ledger.fault(wrong.reason, f"{file.name} record {at}: {wrong.detail}")
            else:
                yield cast(Row, row)


def _time(file: SourceFile) -> str | None:
    found = _TIME.search(file.last)
    return found.group(1) if found else None


def _run(file: SourceFile) -> tuple[Record, list[Record]]:
    """What a file says of its run, and the records. Raises Misread, ErpError."""
    if file.last.endswith(".tar"):
        raise ErpError(f"{file.named}: is an archive of tar; unpack it (tar xf) and give the folder")
    about: Any = file.json()
    if not isinstance(about, dict):
        raise Misread("no object with records", f"a {type(about).__name__}")
    return about, objects(about, "records")
