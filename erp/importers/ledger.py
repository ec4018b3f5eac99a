"""The account of an import: what was read from where, what was left out, and what nobody understands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from erp.importers.files import SourceFile

_TOLD = 3  # places of each reason


@dataclass
class Ledger:
    """What is counted while a source is read.

    Attributes:
        faults: reason -> rows that cannot be understood. With ``strict=true`` they stop the import.
        places: reason -> the first few places where that was.
        left_out: reason -> rows that are left out by rule: other filters, perturbed copies, earlier runs.
        notes: what a reader of the table must know, a plain sentence each.
        origins: where scores come from: file, members, and harness, version, metric, filter, date as far as known.
        files: those of the origins.
    """

    faults: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    origins: list[dict[str, Any]] = field(default_factory=list)
    files: list[SourceFile] = field(default_factory=list)

    def fault(self, reason: str, place: str, count: int = 1) -> None:
        """A row that cannot be understood, and is not taken.

        Args:
            reason: the same words for all rows of its kind: ``score is no number``.
            place: the file, and the line or row in it, with what stands there: ``a.jsonl line 3: score = 'abc'``.
            count: how many rows.
        """
        self.faults[reason] += count
        told = self.places.setdefault(reason, [])
        if len(told) < _TOLD:
            told.append(place)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """A row that is left out by rule."""
        self.left_out[reason] += count

    def note(self, text: str) -> None:
        """What `erp describe` and every report say of the table; the same sentence once."""
        if text not in self.notes:
            self.notes.append(text)

    def origin(self, file: SourceFile, members: Iterable[object], **facts: str | None) -> None:
        """Where members' scores come from.

        Args:
            file: the file that holds them.
            members: whose; what is no text is no name.
            facts: ``harness``, ``version``, ``metric``, ``filter``, ``date``, ``task``: as far as the source says.
        """
        self.files.append(file)
        self.origins.append({"file": file.name, "members": sorted({m for m in members if isinstance(m, str)}), **facts})
