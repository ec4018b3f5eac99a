"""Sources whose files are records of one prompt each, which tell of one member or of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

from erp.importers.base import Importer, Row
from erp.importers.fields import Misread, is_missing
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records

Values = dict[str, Any]  # keys of `Row`, and what stands there; the import reads it as what it should be


class ByRecord(Importer):
    """Base of such sources; a subclass defines `of_record`.

    Attributes:
        harness: who made the files, for the account of where scores come from.
    """

    harness: ClassVar[str]

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The rows that a record makes, values as they stand there. Raises Misread: it cannot be understood."""
        raise NotImplementedError(f"{type(self).__name__} defines no of_record")

    def facts(self, file: SourceFile) -> dict[str, str | None]:
        """Where a file's scores come from, beside the harness: metric, date, task."""
        del file
        return {}

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """Rows by file and record; all of a record, or none."""
        for file in files:
            names: set[str] = set()
            for found in records(file, ledger):
                try:
                    rows = list(self.of_record(found, ledger))
                except Misread as wrong:
                    ledger.fault(wrong.reason, f"{found.place}: {wrong.detail}")
                    continue
                names.update(row["model"] for row in rows if isinstance(row["model"], str))
                yield from cast(list[Row], rows)
            if names:
                ledger.origin(file, names, harness=self.harness, **self.facts(file))


def scored(value: object, unscored: str = "no score") -> Values:
    """A score as it stands there; or where nothing does, why."""
    return {"reward": None, "unscored": unscored} if is_missing(value) else {"reward": value}
