"""AlpacaEval: how probably a judge prefers a model's response to a reference's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from erp.errors import ErpError, shorten
from erp.importers.base import Row
from erp.importers.by_record import ByRecord, Values
from erp.importers.fields import Misread, held, label, maybe_text, number, shown, text
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found

_KEYS = {"annotator": "annotator", "reference": "generator_1"}


class AlpacaEval(ByRecord):
    """``results/<model>/<annotator>/annotations.json`` of tatsu-lab/alpaca_eval.

    Seen: these files themselves: ``instruction``, ``dataset``, ``generator_1`` (the reference), ``generator_2`` (the
    model) and their ``output_1`` and ``output_2``, ``annotator``, ``preference``: from 1, the reference is better, to
    2, the model is; 1.5 and, in older ones, 0 are a draw; null is an annotation that failed
    (``src/alpaca_eval/metrics/winrate.py``). The reward is the preference less 1. ``model_outputs.json`` and the
    leaderboards hold nothing more.

    Args:
        annotator: whose annotations are taken; None where the files have those of one.
        reference: against whose responses; likewise.
    """

    patterns = ("annotations.json", "*_annotations.json")
    harness = "AlpacaEval"
    reward = "preference"

    def __init__(self, annotator: str | None = None, reference: str | None = None) -> None:
        self._given = {"annotator": annotator, "reference": reference}
        self._seen: dict[str, list[str]] = {option: [] for option in _KEYS}

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """Rows of one annotator and reference. Raises ErpError: there are several, and none is chosen."""
        self._seen = {option: [] for option in _KEYS}
        yield from super().rows(files, ledger)
        for option, seen in self._seen.items():
            if seen and self._taken(option) not in seen:
                raise ErpError(
                    f"source.{option} = {self._taken(option)}: the files have {shorten(sorted(seen))}; choose one"
                )
        ledger.note(
            f"The reward is how probably {self._taken('annotator')} prefers the response to that of "
            f"{self._taken('reference')}; 0.5 is a draw."
        )

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The one row, if it is of the annotator and the reference that are taken."""
        values = found.values
        for option, key in _KEYS.items():
            if not self._takes(option, label(values, key), found.file):
                ledger.leave_out(f"of another {option}")
                return
        preference = number(held(values, "preference"), "preference")
        if preference is not None and preference != 0 and not 1 <= preference <= 2:
            raise Misread("preference is not from 1 to 2", f"preference = {shown(preference)}")
        yield {
            "reward": None if preference is None else 0.5 if preference == 0 else preference - 1,
            "unscored": "the annotation failed" if preference is None else None,
            "prompt": text(values, "instruction"),
            "model": label(values, "generator_2"),
            "category": maybe_text(values, "dataset"),
            "response": maybe_text(values, "output_2"),
        }

    def _takes(self, option: str, value: str, file: SourceFile) -> bool:
        seen = self._seen[option]
        if value not in seen:
            seen.append(value)
        if self._given[option] is None and len(seen) > 1:
            raise ErpError(
                f"source.{option} = null: the files have {shorten(sorted(seen))}, perhaps more ({file.name} is the "
                f"first with another); choose one, source.{option}={seen[0]}"
            )
        return self._given[option] in (None, value)

    def _taken(self, option: str) -> str | None:
        return self._given[option] or next(iter(self._seen[option]), None)

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Who annotated."""
        del file
        return {"metric": self._taken("annotator")}
