"""What a reward table is once it has been read: two frames of numbered rows, and a fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.table.asked import DEFAULT_RULE, PromptFrom
from erp.table.fingerprint import PROMPTS, feed_labels, feed_samples, feed_texts
from erp.table.store import MAPPED_ROWS, blocks, of_prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PROMPT_COLUMNS = ("prompt_id", "prompt", "category", "group", "split", "reference")
MEASURE_COLUMNS = ("prompt_tokens", "completion_tokens", "cost_usd")
SAMPLE_COLUMNS = ("prompt", "member", "sample", "reward", "n_samples", *MEASURE_COLUMNS)
REQUIRED_COLUMNS = ("prompt", "model", "reward")
OPTIONAL_COLUMNS = (
    *("prompt_id", "sample", "category", "split", "group", "reference"),
    *(*MEASURE_COLUMNS, "n_samples", "reward_sd", "reward_var", "response", "reward_model"),
)
DEFAULT_REWARD_MODEL = "reward"  # what the reward model of a file that does not name one is called

_MISSING_NOTE = "cells are missing"


@dataclass(frozen=True, eq=False)
class RewardTable:
    """Rewards of sampled responses, by prompt and pool member.

    Prompts are sorted by id and members by name when a table is read, so that everything computed from it is a function
    of its content and not of the order of a file's rows.

    Attributes:
        prompts: One row per prompt, index 0..N-1: prompt_id (unique), prompt, and category, group, split and reference,
            which are str or None.
        samples: One row per sampled response, sorted by prompt, member, sample: prompt (row of `prompts`), member
            (position in `members`), sample, reward (NaN = missing), n_samples (how many responses the reward is a mean
            of), prompt_tokens, completion_tokens, cost_usd (of one response; NaN = unknown); where the file has it
            reward_var, the unbiased variance of the reward between these n_samples responses (NaN = unknown).
        members: Names of the pool's members (M,).
        reward_model: Name of the reward model that gave the rewards.
        notes: What was odd in the input and how it was handled, a plain sentence each.
        facts: Member's name -> what the table's maker says of it: prices (USD per million tokens), parameters.
        suspects: Member's name -> why its samples look like copies of each other.
        prompt_from: What was asked of conversations.
        observational: Whether each prompt was answered by whom somebody chose for it, not by every member.
    """

    prompts: pd.DataFrame
    samples: pd.DataFrame
    members: tuple[str, ...]
    reward_model: str
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)
    prompt_from: PromptFrom = DEFAULT_RULE
    observational: bool = False

    @property
    def has_categories(self) -> bool:
        """Whether at least one prompt has a category."""
        return bool(self.prompts["category"].notna().any())

    def fingerprint(self) -> str:
        """Hash of the content, as 64 hexadecimal digits.

        Equal for equal content whatever the order of rows or members and whichever form it was read from. The numbers
        of the samples of one cell do not enter: they are exchangeable, and a file without a `sample` column numbers
        them by row order.
        """
        digest = hashlib.sha256()
        ids = self.prompts["prompt_id"].to_numpy(dtype=object)
        order = _by_text(ids)
        feed_texts(digest, ids[order])
        feed_texts(digest, self.prompts["prompt"].to_numpy(dtype=object)[order])
        for column in ("category", "group", "split"):
            feed_labels(digest, self.prompts[column].to_numpy(dtype=object)[order])
        by_name = sorted(range(len(self.members)), key=self.members.__getitem__)
        feed_texts(digest, [self.members[m] for m in by_name])
        feed_texts(digest, [self.reward_model])
        if self.facts:
            told = {name: dict(sorted(self.facts[name].items())) for name in sorted(self.facts)}
            feed_texts(digest, [json.dumps(told)])
        ranks = np.argsort(order), np.argsort(by_name)
        measures = ["reward", *MEASURE_COLUMNS, *(["reward_var"] if "reward_var" in self.samples else [])]
        if len(self.samples) <= MAPPED_ROWS:
            feed_samples(digest, self.samples, measures, *ranks)
        else:
            for start in range(0, len(order), PROMPTS):
                some = np.sort(order[start : start + PROMPTS])
                feed_samples(digest, of_prompts(self.samples, some), measures, *ranks)
        return digest.hexdigest()


def with_missing_note(table: RewardTable) -> RewardTable:
    """The table with a note that counts its missing cells, in place of an earlier count."""
    notes = tuple(note for note in table.notes if not note.endswith(_MISSING_NOTE))
    cells = len(table.prompts) * len(table.members)
    missing = cells - sum(_rewarded(rows, len(table.members)) for _, rows in blocks(table.samples, len(table.prompts)))
    if missing:
        notes = (*notes, f"{missing:,} of {cells:,} {_MISSING_NOTE}")
    return replace(table, notes=notes)


def _rewarded(rows: pd.DataFrame, members: int) -> int:
    """How many cells have a reward, of samples sorted by cell."""
    seen = rows["reward"].notna().to_numpy()
    cell = rows["prompt"].to_numpy()[seen] * members + rows["member"].to_numpy()[seen]
    return int(np.count_nonzero(np.diff(cell, prepend=-1)))


def _by_text(texts: NDArray[np.object_]) -> NDArray[np.int64]:
    """The order of distinct texts."""
    if (texts[1:] > texts[:-1]).all():
        return np.arange(len(texts))
    return np.array(sorted(range(len(texts)), key=texts.__getitem__), dtype=np.int64)
