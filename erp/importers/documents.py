"""The prompts of a source, each once: by id, with the text that was asked, and members that were asked another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from erp.config.typed import argument
from erp.errors import ErpError, one_line, shorten
from erp.files import whole_text
from erp.table.columns import distinct, show_apart
from erp.table.lexicon import Known, Lexicon
from erp.table.schema import PROMPT_COLUMNS
from erp.table.texts import exact, text_hash, text_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from erp.importers.ledger import Ledger

SHOWN = 3  # documents whose texts are shown
_LABELS = ("category", "group", "split", "reference")
_BATCH = 1 << 13  # texts may be long


@dataclass(frozen=True)
class _Differs:
    """A document that two members were asked differently: its number, both members, and the second's text."""

    document: int
    members: tuple[int, int]
    text: str


class Documents:
    """Prompts as they come.

    Args:
        file: where their texts are put, one after the other.
        ledger: is told of ids that stand for two prompts.
        members: names by number.
        asker: the member whose texts are taken; None takes the text that comes first, and members must agree.
    """

    def __init__(self, file: Path, ledger: Ledger, members: Lexicon, asker: str | None) -> None:
        self._file, self._ledger, self._members, self._asker = file, ledger, members, asker
        self._ids, self._categories = Lexicon(), Lexicon()
        self._seen: dict[str, Known] = {name: Known() for name in ("prompt", *_LABELS)}
        self._later: dict[str, dict[int, str]] = {name: {} for name in _LABELS}
        self._category, self._first = Known(), Known()
        self._differing: dict[int, int] = {}
        self._examples: list[_Differs] = []
        self._writer: pyarrow.parquet.ParquetWriter | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def numbers(self, rows: pd.DataFrame, member: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The number of every row's prompt (n,), and which rows contradict what is known of it.

        Args:
            rows: columns of `erp.importers.base.Row` that speak of prompts; every one has a text.
            member: (n,) number of each row's member.
        """
        texts = distinct(rows["prompt"])
        prompt = np.array([whole_text(str(text)) for text in texts.values] or [""], dtype=object)
        said = {"prompt": np.array([_number(exact(text)) for text in prompt], dtype=np.int64)[texts.codes]}
        labels = {name: distinct(rows[name]) for name in _LABELS if name in rows}
        for name, found in labels.items():
            of_value = [_number(whole_text(str(value))) for value in found.values]
            said[name] = np.array([*of_value, -1], dtype=np.int64)[found.codes]  # nothing contradicts nothing
        document = self._documents(rows, texts.codes, prompt)
        fresh = self._fresh(document, member)
        for name, hashes in said.items():
            self._seen[name].upto(len(self))[document[fresh]] = hashes[fresh]
        self._first.upto(len(self))[document[fresh]] = member[fresh]
        self._keep(document[fresh], prompt[texts.codes[fresh]], {name: rows[name].iloc[fresh] for name in labels})
        for name in labels:
            self._fill(name, document, said[name], rows[name])
        return document, self._contradicts(document, member, said, prompt[texts.codes], rows)

    def _documents(
        self, rows: pd.DataFrame, codes: NDArray[np.int64], prompt: NDArray[np.object_]
    ) -> NDArray[np.int64]:
        if "prompt_id" in rows:
            ids = distinct(rows["prompt_id"])
            of_id = [self._ids.number(whole_text(str(value))) if str(value).strip() else -1 for value in ids.values]
            document = np.array([*of_id, -1], dtype=np.int64)[ids.codes]
        else:
            document = np.full(len(rows), -1, dtype=np.int64)
        nameless = document < 0
        if nameless.any():
            of_text = {int(code): self._ids.number(f"p-{text_id(prompt[code])}") for code in np.unique(codes[nameless])}
            document[nameless] = [of_text[code] for code in codes[nameless].tolist()]
        return document

    def _fresh(self, document: NDArray[np.int64], member: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first row of every prompt that is not known yet, in order."""
        new = self._first.upto(len(self))[document] < 0
        if self._asker is not None:
            names = self._members.texts
            new = new & np.array([name == self._asker for name in names])[member]
        at = np.flatnonzero(new)
        return at[~pd.Series(document[at]).duplicated().to_numpy()]

    def _keep(self, document: NDArray[np.int64], prompt: NDArray[np.object_], labels: dict[str, pd.Series]) -> None:
        if not len(document):
            return
        columns = {"number": pyarrow.array(document), "prompt": pyarrow.array(prompt, pyarrow.large_string())}
        for name in _LABELS:
            texts = _texts(labels[name]) if name in labels else [None] * len(document)
            columns[name] = pyarrow.array(texts, pyarrow.large_string())
            if name == "category":
                numbers = [-1 if text is None else self._categories.number(text) for text in texts]
                self._category.upto(len(self))[document] = numbers
        table = pyarrow.table(columns)
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._file, table.schema)
        self._writer.write_table(table)

    def _fill(self, name: str, document: NDArray[np.int64], said: NDArray[np.int64], values: pd.Series) -> None:
        """Labels of prompts that are known already, and of which nothing said this one before."""
        seen = self._seen[name].upto(len(self))
        at = np.flatnonzero((said >= 0) & (seen[document] < 0) & self.has_text[document])
        at = at[~pd.Series(document[at]).duplicated().to_numpy()]
        seen[document[at]] = said[at]
        for number, text in zip(document[at].tolist(), map(str, _texts(values.iloc[at])), strict=True):
            self._later[name][number] = text
            if name == "category":
                self._category.upto(len(self))[number] = self._categories.number(text)

    def _contradicts(
        self, document: NDArray[np.int64], member: NDArray[np.int64], said: dict[str, NDArray[np.int64]],
        prompt: NDArray[np.object_], rows: pd.DataFrame,
    ) -> NDArray[np.bool_]:  # fmt: skip
        known = self._first.upto(len(self))[document] >= 0
        bad = np.zeros(len(document), dtype=bool)
        for name in _LABELS:
            if name in said:
                differs = known & (said[name] >= 0) & (self._seen[name].upto(len(self))[document] != said[name])
                self._blame(f"one prompt_id has two values of {name}", differs, document, member, rows[name])
                bad |= differs
        if self._asker is not None:
            return bad
        differs = known & (self._seen["prompt"].upto(len(self))[document] != said["prompt"])
        first = self._first.upto(len(self))[document]
        own = np.asarray(differs & (first == member))
        self._blame("one prompt_id stands for two texts", own, document, member, pd.Series(prompt, name="prompt"))
        for at in np.flatnonzero(differs & ~own).tolist():
            self._differing[int(member[at])] = self._differing.get(int(member[at]), 0) + 1
            if len(self._examples) < SHOWN and int(document[at]) not in {e.document for e in self._examples}:
                self._examples.append(_Differs(int(document[at]), (int(first[at]), int(member[at])), str(prompt[at])))
        return np.asarray(bad | own)

    def _blame(
        self, reason: str, bad: NDArray[np.bool_], document: NDArray[np.int64], member: NDArray[np.int64],
        values: pd.Series,
    ) -> None:  # fmt: skip
        ids, names = self._ids.texts if bad.any() else [], self._members.texts
        for at in np.flatnonzero(bad).tolist():
            value = one_line(str(values.iloc[at]))[:60]
            self._ledger.fault(reason, f"prompt_id {ids[document[at]]}, member {names[member[at]]}: {value!r}")

    def require_one_text(self) -> None:
        """Refuse members that were asked differently. Raises ErpError, which shows some of the documents."""
        self._done()
        if not self._differing:
            return
        names, ids = self._members.texts, self._ids.texts
        wanted = {example.document for example in self._examples}
        texts = {n: text for numbers, frame in self._kept() for n, text in zip(numbers, frame["prompt"], strict=True)
                 if n in wanted}  # fmt: skip
        lines = [
            f"prompt_id {ids[e.document]}: {names[e.members[0]]} and {names[e.members[1]]} were asked "
            f"{show_apart(texts[e.document], e.text)}"
            for e in self._examples
        ]
        asked = shorten([f"{names[m]} ({n:,})" for m, n in sorted(self._differing.items())], 5)
        first = names[self._examples[0].members[0]]
        raise ErpError(
            f"prompts: members were asked different texts of {sum(self._differing.values()):,} documents: {asked}; "
            "another template or few-shot makes another task; drop those members' files, or give prompts=from:<member> "
            f"to take one member's text for all, for example {argument('prompts', f'from:{first}')}",
            *lines,
        )

    def repeated(self) -> str | None:
        """A sentence on texts that stand under several ids; None where there is none."""
        seen = self._seen["prompt"].upto(len(self))
        _, at, count = np.unique(seen[self.has_text], return_index=True, return_counts=True)
        if not (count > 1).any():
            return None
        number = np.flatnonzero(self.has_text)
        first = seen[number[at[count.argmax()]]]
        ids = self._ids.texts
        some = shorten([ids[n] for n in np.flatnonzero(seen == first).tolist()], 3)
        return f"{int(count[count > 1].sum()):,} prompts share their text with one of another id, for example {some}"

    @property
    def has_text(self) -> NDArray[np.bool_]:
        """Whether the text of each prompt (N,) is known: it is not, where the member asked for its texts lacks it."""
        return np.asarray(self._first.upto(len(self)) >= 0)

    @property
    def categories(self) -> tuple[NDArray[np.int64], list[str]]:
        """The number of every prompt's category (N,), -1 for none, and their names."""
        return self._category.upto(len(self)), self._categories.texts

    def ids(self) -> NDArray[np.object_]:
        """The id of every prompt (N,)."""
        return np.array(self._ids.texts, dtype=object)

    def frames(self, used: NDArray[np.bool_]) -> Iterator[pd.DataFrame]:
        """The prompts that are used (N,), some at a time, in the columns of a table's prompts."""
        self._done()
        ids = self.ids()
        for numbers, frame in self._kept():
            chosen = used[numbers]
            named = frame[chosen].assign(prompt_id=ids[numbers[chosen]])
            for name, later in self._later.items():
                if later:
                    named[name] = [later.get(n, text) for n, text in zip(numbers[chosen], named[name], strict=True)]
            if len(named):
                yield named[list(PROMPT_COLUMNS)]

    def _done(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _kept(self) -> Iterator[tuple[NDArray[Any], pd.DataFrame]]:
        if not self._file.exists():
            return
        for batch in pyarrow.parquet.ParquetFile(self._file, pre_buffer=False).iter_batches(_BATCH):
            frame = batch.to_pandas()
            yield frame.pop("number").to_numpy(), frame


def _texts(column: pd.Series) -> list[str | None]:
    there = column.notna()
    return [whole_text(str(value)) if known else None for value, known in zip(column, there, strict=True)]


def _number(text: str) -> int:
    """A text's hash as a number of 63 bits."""
    return int(text_hash(text)[:16], 16) >> 1
