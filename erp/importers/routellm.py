"""RouteLLM: whether a strong and a weak model were right, a csv a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from erp.errors import shorten
from erp.importers.base import Row
from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import Misread, maybe_text, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records

_RESPONSE = "_response"
_LEFT_OUT = "contaminated_prompts.jsonl"


class RouteLLM(ByRecord):
    """``routellm/evals/mmlu/responses/mmlu_<subject>.csv`` and ``gsm8k/gsm8k_responses.csv`` of lm-sys/RouteLLM.

    Seen: these files themselves: ``prompt``, a column of True and False for each model, and in GSM8K
    ``<model>_response``; and ``contaminated_prompts.jsonl`` beside them, whose ``eval_prompt`` the publisher leaves out
    (``routellm/evals/benchmarks.py``), as is done here where that file is among those given. The judgements of MT bench
    and the data set ``routellm/gpt4_dataset`` are other layouts and not read.
    """

    patterns = ("*.csv", _LEFT_OUT)
    harness = "RouteLLM"
    reward = "correct"

    def __init__(self) -> None:
        self._contaminated: set[str | None] = set()

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """Rows of the csv files, without those whose prompt is named as contaminated."""
        lists = [file for file in files if file.last == _LEFT_OUT]
        self._contaminated = {maybe_text(found.values, "eval_prompt") for f in lists for found in records(f, ledger)}
        yield from super().rows([file for file in files if file not in lists], ledger)

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every column but the prompt's, those of responses and one without a name."""
        values, benchmark = found.values, _benchmark(found.file)
        beside = {"prompt", "", *(f"{name}{_RESPONSE}" for name in values)}
        models = [name for name in values if name not in beside]
        prompt = text(values, "prompt")
        if not models:
            raise Misread("no column of a model", f"there are {shorten(values)}")
        if prompt in self._contaminated:
            ledger.leave_out(f"their prompt stands in {_LEFT_OUT}", len(models))
            return
        shared = {"prompt_id": f"{benchmark}/{found.number - 1}", "prompt": prompt, "category": benchmark}
        for model in models:
            response = maybe_text(values, f"{model}{_RESPONSE}")
            yield {**shared, **scored(values[model]), "model": model, "response": response}

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Its benchmark."""
        return {"task": _benchmark(file)}


def _benchmark(file: SourceFile) -> str:
    """``mmlu/anatomy`` of ``mmlu_anatomy.csv``, ``gsm8k`` of ``gsm8k_responses.csv``."""
    name = file.last.rpartition(".")[0].removesuffix("_responses")
    return name.replace("mmlu_", "mmlu/", 1) if name.startswith("mmlu_") else name
