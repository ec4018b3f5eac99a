"""A unit's scores: those that are there, those that come, and the files in which they end."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from erp.collect.failures import Refused, read_failures, read_refused, write_failures
from erp.collect.journal import Journal
from erp.collect.store import Store
from erp.collect.units import Report, Unit
from erp.engines.base import Failure
from erp.files import whole_text
from erp.table.belonging import RESPONSE_HASH

KEYS = ["prompt_id", "model", "sample"]
_STOPPED = Failure("not scored yet: the collection was stopped")


class ScoredUnit:
    """A reward model's scores of a block of prompts, in the making: of its distinct (prompt, response) pairs.

    Files: ``<folder>/part-*`` (rows), ``failures/<folder>/*`` (which prompts failed, and why), ``log/<folder>/*``,
    ``journal/<folder>/*`` (what the log said before, and scores, until the part is written).

    Args:
        store: of the collection.
        folder: of the reward model.
        unit: which.
        rows: its responses that have no score: KEYS and ``response``.
        refused_too: whether responses are scored again that would be refused again.

    Attributes:
        lacking: (prompt_id, response) of the pairs that are to be scored, those of a prompt beside each other.
    """

    def __init__(self, store: Store, folder: str, unit: Unit, rows: pd.DataFrame, refused_too: bool) -> None:
        self._store, self._folder, self._unit, self._rows = store, folder, unit, rows
        self._journal = Journal(store, f"journal/{folder}/{unit.name}.jsonl")
        self._had: dict[tuple[str, str], float | None] = {}
        self._failed: dict[str, Failure] = {}
        self._counts: Counter[str] = Counter()
        lines = self._journal.read()
        begun = [line for line in lines if isinstance(line, dict)]
        # what the log said before: a process that was killed may have written it already, with this journal's counts
        self._before, self._begun = begun[0] if begun else self._logged(), bool(begun)
        for prompt_id, digest, score, counts in (line for line in lines if not isinstance(line, dict)):
            self._had[prompt_id, digest] = score
            self._counts.update(counts)
        self._pairs = rows[["prompt_id", "response"]].drop_duplicates().sort_values("prompt_id", kind="stable")
        pairs = [pair for pair in _texts(self._pairs) if _key(*pair) not in self._had]
        self._refused = {} if refused_too else _refused_among(store, self._failures, pairs)
        self._known = dict(self._refused)
        for (prompt_id, _), error in self._refused.items():
            self._failed[prompt_id] = Failure(error, final=True)
        self.lacking = [pair for pair in pairs if _hashed(*pair) not in self._refused]

    def _logged(self) -> dict[str, Any]:
        log = f"log/{self._folder}/{self._unit.file}"
        return self._store.read_json(log) if self._store.exists(log) else {"seconds": 0.0, "counts": {}, "scored": 0}

    @property
    def _failures(self) -> str:
        return f"failures/{self._folder}/{self._unit.file}"

    @property
    def usable(self) -> bool:
        """Whether some score is there, from before a kill."""
        return any(score is not None for score in self._had.values())

    def take(self, prompt_id: str, response: str, score: float | Failure | None, counts: Counter[str]) -> None:
        """What came of a pair, and what was counted meanwhile."""
        self._counts.update(counts)
        if isinstance(score, Failure):
            why = Failure(whole_text(score.error), score.final)
            if why.final:
                self._refused[_hashed(prompt_id, response)] = why.error
            before = self._failed.get(prompt_id)
            # one that may still come is tried again, whatever else was refused
            if before is None or before.final:
                self._failed[prompt_id] = why
            return
        if not self._begun:
            self._journal.add(self._before)
            self._begun = True
        key = _key(prompt_id, response)
        self._had[key] = score
        self._journal.add([*key, score, dict(counts)])

    def written(self, seconds: float, answered: bool = True, device: str | None = None) -> Report:
        """Write it, failures first, as in sampling.

        Where the reward model never ``answered`` anything, a refusal may be for what every call has in common: what was
        refused is asked again. ``device`` is where they were computed, a worker's maybe.
        """
        if not answered and not self._had:
            known = {prompt_id for prompt_id, _ in self._known}
            self._failed = {p: why if p in known else Failure(why.error) for p, why in self._failed.items()}
            self._refused = self._known
        done = self._done()
        report = Report(self._unit, len(done), self._failed, 0, seconds)
        store, log = self._store, f"log/{self._folder}/{self._unit.file}"
        if self._failed:
            write_failures(store, self._failures, self._failed, self._refused)
        counted, scored = Counter(self._before["counts"]) + self._counts, self._before.get("scored")
        scored = None if scored is None else scored + len(self._had)  # an older erp's log does not say
        seconds += self._logged()["seconds"]
        devices = sorted({*self._before.get("devices", []), *([device] if device else [])})
        store.write_json(log, {"seconds": seconds, "counts": counted, "scored": scored, "devices": devices})
        part = f"{self._folder}/{self._unit.part}"
        rows = pd.concat([without(store.read_frame(part), self._rows), done]) if store.exists(part) else done
        if len(rows):
            rows = rows.sort_values(KEYS).astype({"prompt_id": "str", "model": "str", "sample": "int64"})
            store.write_frame(part, rows)
        if not self._failed:
            store.remove(self._failures)
        self._journal.remove()
        return report

    def _done(self) -> pd.DataFrame:
        """The rows that have a score now."""
        keys = [_key(*pair) for pair in _texts(self._pairs)]
        found = self._pairs[np.array([key in self._had for key in keys], bool)]
        had = [key for key in keys if key in self._had]
        rewards, hashes = np.array([self._had[key] for key in had], np.float64), [key[1][:16] for key in had]
        found = found.assign(reward=rewards, **{RESPONSE_HASH: pd.array(hashes, "str")})
        done = self._rows.merge(found, on=["prompt_id", "response"], how="inner", validate="many_to_one")
        return done[[*KEYS, "reward", RESPONSE_HASH]]

    def leave(self, seconds: float) -> None:
        """Keep what came, of a unit that is not whole: its journal does, and where there is none, a part."""
        if not self._journal.kept and self._had:
            left = set(self._pairs["prompt_id"]) - set(self._failed)
            self._failed.update(dict.fromkeys(left, _STOPPED))
            self.written(seconds)

    def close(self) -> None:
        """Write no more to the journal, for now or for ever."""
        self._journal.close()


def to_score(store: Store, failures: str, rows: pd.DataFrame) -> int | None:
    """How many of a unit's responses without a score are to be scored, where some failed before.

    None where all that failed would be refused again, and the file of failures says just that.
    """
    refused, said = _refused_among(store, failures, _texts(rows)), read_failures(store, failures)
    left = sum(_hashed(*texts) not in refused for texts in _texts(rows))
    current = all(why.final for why in said.values()) and said.keys() == {prompt_id for prompt_id, _ in refused}
    return None if current and not left else left


def without(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Rows whose keys are not among those of the others."""
    if others.empty:
        return rows
    merged = rows.merge(others[KEYS], on=KEYS, how="left", indicator=True)
    return merged[merged["_merge"] == "left_only"].drop(columns="_merge").reset_index(drop=True)


def _refused_among(store: Store, failures: str, pairs: list[tuple[str, str]]) -> Refused:
    """Which of the pairs would be refused again, and why."""
    refused = read_refused(store, failures) if store.exists(failures) else {}
    hashed = [_hashed(*texts) for texts in pairs] if refused else []
    return {pair: refused[pair] for pair in hashed if pair in refused}


def _texts(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["prompt_id"].tolist(), rows["response"].tolist(), strict=True))


def _key(prompt_id: str, response: str) -> tuple[str, str]:
    """Of a pair: a response may be long."""
    return prompt_id, hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()


def _hashed(prompt_id: str, response: str) -> tuple[str, str]:
    """Of a pair, as its hash stands beside a score."""
    return prompt_id, _key(prompt_id, response)[1][:16]
