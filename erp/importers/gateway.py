"""The decision log of a gateway: what members answered that it chose, and what clients said that was worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from erp.errors import ErpError
from erp.formats.decision_log import DECISION_LOG
from erp.importers.base import Row
from erp.importers.by_record import ByRecord, Values, scored
from erp.importers.fields import Misread, Record, label, maybe_text, number
from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger
from erp.importers.records import Found, records
from erp.table.texts import text_hash

_OK = range(200, 300)


class Gateway(ByRecord):
    """``*.ndjson`` of ``gateway.log.folder``, as `erp serve` writes them with ``gateway.log.prompts=true``.

    A row is an answer; its reward is the last feedback on it. Requests that repeat a prompt are samples of it, in the
    order of the log. Propensities stay in the log: a table has no place for them.
    """

    patterns = ("*.ndjson",)
    harness = "erp serve"
    observational = True
    reward = "feedback"

    def __init__(self) -> None:
        self._feedback: dict[str, tuple[float, object]] = {}
        self._seen: set[str] = set()
        self._samples: Counter[tuple[str, str]] = Counter()
        self._category: dict[str, str | None] = {}

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """A row for each answer; feedback is read first, for it may stand in a later part."""
        self._feedback, self._seen, self._samples, self._category = {}, set(), Counter(), {}
        heard = Ledger()  # of what is misread, the second reading tells
        for file in files:
            for found in records(file, heard):
                self._hear(found.values)
        yield from super().rows(files, ledger)
        if unknown := len(self._feedback.keys() - self._seen):
            ledger.leave_out("feedback on a request that is not in the log, or has no answer", unknown)

    def of_record(self, found: Found, ledger: Ledger) -> Iterator[Values]:
        """The row of a decision; none of feedback."""
        values = DECISION_LOG.read(found.values, found.place)
        kind = values.get("kind")
        if kind == "feedback":
            _said(values)
            return
        if kind != "decision":
            raise Misread("neither a decision nor feedback", f"kind = {str(kind)[:60]}")
        row = self._answer(values, found, ledger)
        if row is not None:
            yield row

    def _answer(self, values: Record, found: Found, ledger: Ledger) -> Values | None:
        if "prompt" not in values and "prompt_sha256" in values:
            raise ErpError(
                f"{found.file.named}: keeps no prompts, their hashes alone, and a table needs the texts; serve with "
                "gateway.log.prompts=true"
            )
        id_, prompt, member = label(values, "id"), values.get("prompt"), values.get("answered")
        if id_ in self._seen:
            ledger.leave_out("requests that stand there twice")
        elif member is None or values.get("status") not in _OK:
            ledger.leave_out("requests that no member answered")
        elif prompt is None:
            ledger.leave_out("requests without a text")
        else:
            self._seen.add(id_)
            _, reward = self._feedback.get(id_, (0.0, None))
            cell = (text_hash(str(prompt)), str(member))
            given = maybe_text(values, "category")
            category = self._category.setdefault(cell[0], given)
            if category != given:
                ledger.note("Some prompts stand under several categories, or under one and none; the first counts.")
            self._samples[cell] += 1
            tokens = {key: _count(values.get(key)) for key in ("prompt_tokens", "completion_tokens", "cost_usd")}
            return {
                "prompt": prompt,
                "model": member,
                "category": category,
                "sample": self._samples[cell] - 1,
                **scored(reward, "no feedback"),
                **tokens,
            }
        return None

    def _hear(self, values: Record) -> None:
        if values.get("kind") != "feedback":
            return
        try:
            id_, time, reward = _said(values)
        except Misread:
            return
        if time >= self._feedback.get(id_, (time, None))[0]:
            self._feedback[id_] = time, reward


def _said(values: Record) -> tuple[str, float, float | None]:
    """Id, time and reward of feedback. Raises Misread."""
    return label(values, "id"), number(values.get("time"), "time") or 0.0, number(values.get("reward"), "reward")


def _count(value: object) -> float | None:
    """A count that a member's server reported, which may be anything."""
    try:
        found = number(value, "a count")
    except Misread:
        return None
    return found if found is not None and found >= 0 else None
