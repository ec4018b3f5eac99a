"""A unit's responses: those that are there, those that come, and the files in which they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from erp.collect.failures import read_failures, write_failures
from erp.collect.journal import Journal
from erp.collect.store import Store
from erp.collect.units import Report, Unit
from erp.engines.base import Failure, Response
from erp.files import whole_text
from erp.values import token_count

COLUMNS = [
    *("prompt_id", "model", "sample", "response"),
    *("prompt_tokens", "completion_tokens", "finish_reason", "seed"),
]
_NEVER = Failure("the engine gave no answer")
_STOPPED = Failure("not asked yet: the collection was stopped")


class SampledUnit:
    """One member's responses to a block of prompts, in the making.

    Files: ``samples/part-*`` (rows), ``failures/samples/*`` (which prompts failed, and why), ``log/samples/*``,
    ``journal/samples/*`` (responses, until the part is written).

    Args:
        store: of the collection.
        unit: which.
        seeds: prompt_id -> seed of its sample 0, of all prompts of the unit, in order.
        k: samples of a prompt.
        greedy: whether all samples of a prompt are the same response, which is asked for once.
        refused_too: whether prompts are asked again that would be refused again.

    Attributes:
        lacking: prompt_id -> samples that are to be asked for.
    """

    def __init__(
        self, store: Store, unit: Unit, seeds: Mapping[str, int], k: int, greedy: bool, refused_too: bool
    ) -> None:
        self._store, self._unit, self._seeds = store, unit, seeds
        self._journal = Journal(store, f"journal/samples/{unit.name}.jsonl")
        self._rows: dict[tuple[str, int], tuple[Any, ...]] = {}
        part = f"samples/{unit.part}"
        if store.exists(part):
            frame = store.read_frame(part, COLUMNS).astype(object)
            frame = frame.where(frame.notna(), None)
            self._rows = {(row[0], row[2]): row for row in frame.itertuples(index=False, name=None)}
        self._before = read_failures(store, self._failures) if store.exists(self._failures) else {}
        already = len(self._rows)
        for prompt_id, sample, *said in self._journal.read():
            self._add(prompt_id, sample, said)
        if greedy:  # however many there are, they are copies
            for (prompt_id, _), row in list(self._rows.items()):
                for j in range(k):
                    self._add(prompt_id, j, row[3:7])
        self._kept = len(self._rows) - already  # by a process that was ended: nobody knows how long they took
        self._done, self._tokens, self._counted = self._kept, 0, 0
        self._every = {p: tuple(j for j in range(k) if (p, j) not in self._rows) for p in seeds}
        refused = {p: why for p, why in self._before.items() if why.final and self._every[p]}
        self._failed: dict[str, Failure] = {} if refused_too else refused
        self._known = set(self._failed)
        self.lacking = {
            p: samples[:1] if greedy else samples
            for p, samples in self._every.items()
            if samples and p not in self._failed
        }
        self._greedy, self._k = greedy, k
        self._left = sum(map(len, self.lacking.values()))

    @property
    def _failures(self) -> str:
        return f"failures/samples/{self._unit.file}"

    @property
    def whole(self) -> bool:
        """Whether all that was asked for has come, or failed."""
        return not self._left

    def take(self, prompt_id: str, sample: int, answer: Response | Failure) -> int:
        """What came of a sample; returns how many responses that is."""
        self._left -= 1
        if isinstance(answer, Failure):
            before = self._failed.get(prompt_id)
            # one that may still come is tried again, whatever else was refused
            if before is None or before.final:
                self._failed[prompt_id] = Failure(whole_text(answer.error), answer.final)
            return 0
        tokens = token_count(answer.prompt_tokens, "a prompt"), token_count(answer.completion_tokens, answer.text)
        said = [whole_text(answer.text), *tokens, answer.finish_reason]
        samples = self._every[prompt_id] if self._greedy else (sample,)
        for j in samples:
            self._journal.add([prompt_id, j, *said])
            self._add(prompt_id, j, said)
        self._done += len(samples)
        self._tokens += (tokens[1] or 0) * len(samples)
        self._counted += (tokens[1] is not None) * len(samples)
        return len(samples)

    def _add(self, prompt_id: str, sample: int, said: Sequence[Any]) -> None:
        row = (prompt_id, self._unit.member, sample, *said, self._seeds[prompt_id] + sample)
        self._rows.setdefault((prompt_id, sample), row)

    def written(
        self, seconds: float, answered: Callable[[], bool] = lambda: True, otherwise: Failure = _NEVER
    ) -> Report:
        """Write it.

        Where the member never ``answered`` anything, what was refused may be so for what every call has in common (a
        field that the server does not know): it is asked again.

        Failures first, with those of before: a process killed in between leaves a unit that is done again, never one
        that only looks done. The log last: it says how many samples of a prompt are there.
        """
        for p, samples in self._every.items():
            if p not in self._failed and any((p, j) not in self._rows for j in samples):
                self._failed[p] = otherwise
        if self._failed and not self._rows and not answered():
            self._failed = {p: why if p in self._known else Failure(why.error) for p, why in self._failed.items()}
        store, log = self._store, f"log/samples/{self._unit.file}"
        if self._failed:
            write_failures(store, self._failures, self._before | self._failed)
        if self._rows:
            store.write_frame(f"samples/{self._unit.part}", self._frame())
        timed = self._done - self._kept
        said = {
            "done": self._done, "timed": timed, "tokens": self._tokens, "counted": self._counted, "seconds": seconds,
        }  # fmt: skip
        before = store.read_json(log) if store.exists(log) else {}
        before.setdefault("counted", before.get("done", 0) if before.get("tokens") else 0)  # an older erp's
        before.setdefault("timed", before.get("done", 0))
        store.write_json(log, {**{key: value + before.get(key, 0) for key, value in said.items()}, "k": self._k})
        if not self._failed:
            store.remove(self._failures)
        elif self._before.keys() - self._failed.keys():
            write_failures(store, self._failures, self._failed)
        self._journal.remove()
        return Report(self._unit, self._done, self._failed, self._tokens, seconds)

    def leave(self) -> None:
        """Keep what came, of a unit that is not whole: its journal does, and where there is none, a part."""
        if self._journal.kept:
            self._journal.close()
        elif self._done:
            self.written(0.0, otherwise=_STOPPED)

    def _frame(self) -> pd.DataFrame:
        order = {prompt_id: i for i, prompt_id in enumerate(self._seeds)}
        rows = sorted(self._rows.values(), key=lambda row: (order[row[0]], row[2]))
        whole = {"prompt_tokens": "Int64", "completion_tokens": "Int64", "sample": "int64", "seed": "int64"}
        text = dict.fromkeys(("prompt_id", "model", "response", "finish_reason"), "str")
        return pd.DataFrame(rows, columns=COLUMNS).astype(whole | text)
