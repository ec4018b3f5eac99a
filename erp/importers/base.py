"""What a source of scores is: files that somebody has already, of which rows are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar, Required, TypedDict

import pandas as pd

from erp.importers.files import SourceFile
from erp.importers.ledger import Ledger

_ROWS = 1 << 12  # of a batch: texts may be long


class Row(TypedDict, total=False):
    """One response of one member to one prompt, and its score. What is not known is left out, or None.

    Attributes:
        prompt_id: what tells prompts apart; without it, prompts are told apart by their text.
        prompt: the text that was asked.
        model: the member's name.
        reward: its score, higher is better; None where there is none, and ``error`` or ``unscored`` then says why.
        error: what went wrong: a failed call, a grader's error. Such a row is missing, never 0.
        unscored: why nobody scored it: a refusal of the grader, a metric that does not apply.
        sample: number of the response among those of this member to this prompt; without it, a second row of the cell
            is a repeat.
        n_samples: how many responses the reward is a mean of.
        category: of the prompt, as are ``group``, ``split`` and ``reference``.
        response: its text; ``prompt_tokens``, ``completion_tokens``, ``cost_usd`` and ``finish_reason`` likewise.
    """

    prompt_id: str | None
    prompt: Required[str]
    model: Required[str]
    reward: float | None
    error: str | None
    unscored: str | None
    sample: int | None
    n_samples: int | None
    category: str | None
    group: str | None
    split: str | None
    reference: str | None
    response: str | None
    prompt_tokens: float | None
    completion_tokens: float | None
    cost_usd: float | None
    finish_reason: str | None


class Importer:
    """Base of all sources. A subclass defines ``rows``; one of many plain columns may define ``batches`` instead.

    Attributes:
        patterns: names of the files that it reads of a folder or an archive, as `fnmatch` takes them, without folders.
        observational: whether each prompt was answered by whom a router or a user chose, not by every member.
        reward: what the score is called where the source's options do not say.
    """

    patterns: ClassVar[tuple[str, ...]]
    observational: ClassVar[bool] = False
    reward: ClassVar[str] = "reward"

    def rows(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[Row]:
        """The rows, always the same ones in the same order for the same files.

        Args:
            files: those that the path means, sorted by name.
            ledger: takes what was left out and why, what cannot be understood, and where scores come from.

        Raises:
            ErpError: the files as a whole are not what they should be, or an option has to be chosen.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no rows")

    def batches(self, files: Sequence[SourceFile], ledger: Ledger) -> Iterator[pd.DataFrame]:
        """The rows as frames of raw values, whose columns are keys of `Row`."""
        rows: Iterator[Any] = iter(self.rows(files, ledger))
        while some := list(islice(rows, _ROWS)):
            yield pd.DataFrame(some, dtype=object)

    def reward_name(self) -> str:
        """What the reward model of the table is called."""
        return self.reward
