"""What a reward table is once it has been read: two frames of numbered rows, and a fingerprint of their content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from erp.table.asked import DEFAULT_RULE, PromptFrom

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    """

    prompts: pd.DataFrame
    samples: pd.DataFrame
    members: tuple[str, ...]
    reward_model: str
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)
    prompt_from: PromptFrom = DEFAULT_RULE

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
        order = np.argsort(ids.astype(str), kind="stable")
        for column in ("prompt_id", "prompt", "category", "group", "split"):
            _feed_texts(digest, self.prompts[column].to_numpy(dtype=object)[order])
        by_name = sorted(range(len(self.members)), key=self.members.__getitem__)
        _feed_texts(digest, [self.members[m] for m in by_name])
        _feed_texts(digest, [self.reward_model])
        if self.facts:
            told = {name: dict(sorted(self.facts[name].items())) for name in sorted(self.facts)}
            _feed_texts(digest, [json.dumps(told)])
        for values in _canonical_samples(self.samples, np.argsort(order), np.argsort(by_name)):
            digest.update(values.tobytes())
        return digest.hexdigest()


def _feed_texts(digest: hashlib._Hash, texts: Iterable[str | None]) -> None:
    """Hash texts with their lengths, so that no two lists of texts run together into the same bytes."""
    parts: list[bytes] = []
    for text in texts:
        raw = None if text is None else text.encode("utf-8", "surrogatepass")
        parts.append(b"-;" if raw is None else b"%d:%b" % (len(raw), raw))
    digest.update(b"%d texts" % len(parts) + b"".join(parts))


def _canonical_samples(
    samples: pd.DataFrame, prompt_rank: NDArray[np.int64], member_rank: NDArray[np.int64]
) -> list[NDArray[np.generic]]:
    """Columns of the samples as little-endian arrays in an order that depends on the content alone."""
    prompt = prompt_rank[samples["prompt"].to_numpy()].astype("<i8")
    member = member_rank[samples["member"].to_numpy()].astype("<i8")
    measures: list[NDArray[np.generic]] = [samples["n_samples"].to_numpy().astype("<i8")]
    for column in ("reward", *MEASURE_COLUMNS, *(["reward_var"] if "reward_var" in samples else [])):
        values = samples[column].to_numpy().astype("<f8") + 0.0  # + 0.0 turns -0.0 into 0.0
        measures.append(np.where(np.isnan(values), np.nan, values).astype("<f8"))  # one bit pattern for every NaN
    keys = [member, prompt]
    cell = prompt * (len(member_rank) or 1) + member
    if len(np.unique(cell)) < len(cell):
        keys = [*measures, *keys]  # several samples in a cell: order them by what they hold
    order = np.lexsort(keys)
    return [column[order] for column in (prompt, member, *measures)]


def assemble(
    rows: pd.DataFrame,
    reward_model: str,
    notes: tuple[str, ...],
    facts: Mapping[str, Mapping[str, float]] | None = None,
    suspects: Mapping[str, str] | None = None,
) -> RewardTable:
    """Build the table from valid rows in the long form.

    Args:
        rows: Every column of the long form under our names; text columns are str or null, numbers are float64 or int64.
            Texts, categories, groups and splits agree within a prompt_id.
        reward_model: Name of the reward model.
        notes: What was seen while reading.
        facts: What is said of the members.
        suspects: Members whose samples look like copies.
    """
    codes, ids = pd.factorize(rows["prompt_id"], sort=True)
    members_codes, members = pd.factorize(rows["model"], sort=True)
    first = np.full(len(ids), len(rows), dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(rows)))
    texts = {"prompt_id": np.array(ids, dtype=object)}
    for column in PROMPT_COLUMNS[1:]:
        texts[column] = np.array(rows[column].iloc[first], dtype=object)
        texts[column][pd.isna(texts[column])] = None
    prompts = pd.DataFrame(texts, dtype=object)
    samples = pd.DataFrame({"prompt": codes.astype(np.int64), "member": members_codes.astype(np.int64)})
    for column in (*SAMPLE_COLUMNS[2:], *(["reward_var"] if "reward_var" in rows else [])):
        samples[column] = rows[column].to_numpy()
    order = np.lexsort([samples["sample"], samples["member"], samples["prompt"]])
    samples = samples.iloc[order].reset_index(drop=True)
    table = RewardTable(
        prompts, samples, tuple(str(m) for m in members), reward_model, notes, facts or {}, suspects or {}
    )
    return with_missing_note(table)


def with_missing_note(table: RewardTable) -> RewardTable:
    """The table with a note that counts its missing cells, in place of an earlier count."""
    notes = tuple(note for note in table.notes if not note.endswith(_MISSING_NOTE))
    present = table.samples.loc[table.samples["reward"].notna(), ["prompt", "member"]]
    cells = len(table.prompts) * len(table.members)
    missing = cells - len(np.unique(present["prompt"].to_numpy() * len(table.members) + present["member"].to_numpy()))
    if missing:
        notes = (*notes, f"{missing:,} of {cells:,} {_MISSING_NOTE}")
    return replace(table, notes=notes)
