"""RouterDC: a question and each model's score, a JSON array a benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from erp.errors import ErpError, shorten
from erp.importers.base import Row
from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import Misread, mapping, number, shown, split_of, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found


class RouterDC(ByRecord):
    """``datasets/split2_model7/*.json`` of shuhao02/RouterDC; ``data/dcrouter_preprocessed`` of ulab-uiuc/LLMRouter.

    Seen: these files themselves: ``question``, ``scores`` (model -> number), in some ``cluster_id``, which is left
    alone. A score is the share of ten attempts that were right (GSM8K, MBPP, HumanEval and its JavaScript), or the
    probability that the model gave to the right choice, 0 where it chose another (the rest; ``evaluation_router.py``).
    The files say nothing of which it is, nor of the number of attempts.

    Args:
        n_samples: of how many attempts a score is the mean.
        sampled: benchmarks of which that is said, by their files' names; None: all.
        benchmarks: those that are read; None: all.
    """

    patterns = ("*.json",)
    harness = "RouterDC"
    reward = "score"

    def __init__(
        self, n_samples: int = 1, sampled: Sequence[str] | None = None, benchmarks: Sequence[str] | None = None
    ) -> None:
        if n_samples < 1:
            raise ErpError(f"source.n_samples = {n_samples}: allowed is 1 or more; give the number of attempts")
        self._n = n_samples
        self._chosen = {"benchmarks": benchmarks, "sampled": sampled}

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """Of the chosen benchmarks. Raises ErpError: a benchmark is named that no file is of."""
        there = sorted({split_of(file.last)[0] for file in files})
        for key, named in self._chosen.items():
            if unknown := [name for name in named or () if name not in there]:
                raise ErpError(
                    f"source.{key} = {shorten(unknown)}: no file is of it; allowed are {shorten(there, 30)}; "
                    "correct the name"
                )
        yield from super().rows([file for file in files if self._is_of("benchmarks", split_of(file.last)[0])], ledger)

    def _is_of(self, key: str, benchmark: str) -> bool:
        named = self._chosen[key]
        return named is None or benchmark in named

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """A row for every score; the question is known by its place in the benchmark's file."""
        del ledger
        category, split = split_of(found.file.last)
        n = self._n if self._is_of("sampled", category) else 1
        shared = {
            "prompt_id": f"{found.file.last.rpartition('.')[0]}/{found.number - 1}",
            "prompt": text(found.values, "question"),
            "category": category or None,
            "split": split,
            "n_samples": n,
        }
        for model, score in mapping(found.values, "scores").items():
            share = (number(score, "score") or 0.0) * n
            if n > 1 and abs(share - round(share)) > 1e-6:
                raise Misread(f"a score that is no share of {n} attempts", f"{model}: {shown(score)}")
            yield {**shared, **scored(score), "model": model}

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Its benchmark."""
        return {"task": split_of(file.last)[0] or None}
