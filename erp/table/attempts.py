"""What a member answered before anything was decided: its first samples, set apart from the table's rewards."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from erp.errors import ErpError, shorten
from erp.table.answers import Wanted, read_answers
from erp.table.folder import greedy_members
from erp.table.schema import RewardTable, with_missing_note
from erp.table.store import changed
from erp.values import estimated_tokens

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Attempt:
    """One answer: its text, and how many tokens it has; of a text that nobody counted, characters / 4."""

    text: str
    tokens: int


@dataclass(frozen=True, eq=False)
class Attempts:
    """The first answers of one member to every prompt of a table.

    Attributes:
        of: prompt's text -> its answers, in the order of their sample numbers; of prompts of one text, the first's.
        content: hash of all of it.
    """

    of: Mapping[str, tuple[Attempt, ...]]
    content: str


def set_apart(table: RewardTable, root: Path | None, member: str, count: int) -> tuple[RewardTable, Attempts]:
    """A table without the first samples of a member, and what it answered in them.

    Nothing that is made of the table knows their rewards: targets, noise, costs and what is tested are of the others.

    Args:
        table: any table.
        root: the folder that holds it, and the responses; None: there is none.
        member: whose.
        count: how many samples of every prompt; each prompt needs one more.

    Raises:
        ErpError: the member is not in the pool, or there are no responses, or too few to set some apart.
    """
    if member not in table.members:
        raise ErpError(
            f"backbone.member = {member}: not in the pool; its members are {shorten(table.members, 20)}; name one"
        )
    if root is None:
        raise ErpError(
            "backbone = attempt: this table is no folder that erp collect or erp import wrote, and only such a one "
            "holds responses; import it with them, or choose a backbone that reads the prompt (minilm)"
        )
    if member in greedy_members(root):
        raise ErpError(
            f"backbone.member = {member}: was sampled at temperature 0, so that all its answers are one, which cannot "
            "be read and be scored too; name another, or sample it at a temperature above 0"
        )
    ids = table.prompts["prompt_id"].tolist()
    said = read_answers(root, table.reward_model, Wanted(ids, [member])).responses.dropna(subset="response")
    said = said.sort_values(["prompt_id", "sample"], kind="stable")
    place = {prompt_id: row for row, prompt_id in enumerate(ids)}
    row = said["prompt_id"].map(place).to_numpy(dtype=np.int64)
    if (few := np.flatnonzero(np.bincount(row, minlength=len(ids)) <= count)).size:
        raise ErpError(
            f"backbone.samples = {count}: {few.size:,} of {len(ids):,} prompts ({ids[few[0]]}, ...) have no more than "
            f"that of {member}'s responses, and one that is read is not scored too; collect more (k=), lower it, or "
            "name another member"
        )
    first = (said.groupby("prompt_id").cumcount() < count).to_numpy()
    upto = np.zeros(len(ids), dtype=np.int64)
    upto[row[first]] = said["sample"].to_numpy(dtype=np.int64)[first]  # ascending: the last one stands
    at = table.members.index(member)

    def others(rows: pd.DataFrame) -> pd.DataFrame:
        apart = (rows["member"].to_numpy() == at) & (rows["sample"].to_numpy() <= upto[rows["prompt"].to_numpy()])
        left: pd.DataFrame = rows[~apart]
        return left

    note = f"backbone = attempt: {count} of {member}'s samples of each prompt are read before deciding, and not scored"
    rest = replace(table, samples=changed(table.samples, len(ids), others), notes=(*table.notes, note))
    return with_missing_note(rest), _attempts(said[first], row[first], table.prompts["prompt"].tolist())


def _attempts(said: pd.DataFrame, row: np.ndarray, prompts: list[str]) -> Attempts:
    texts: list[str] = said["response"].tolist()
    counted = said["completion_tokens"].tolist() if "completion_tokens" in said else [None] * len(texts)
    of: dict[int, list[Attempt]] = {}
    digest = hashlib.sha256()
    for at, text, tokens in zip(row.tolist(), texts, counted, strict=True):
        known = tokens is not None and tokens == tokens and tokens >= 0  # NaN is not itself
        of.setdefault(at, []).append(one := Attempt(text, int(tokens) if known else estimated_tokens(text)))
        digest.update(repr((prompts[at], one)).encode("utf-8", "surrogatepass"))
    found: dict[str, tuple[Attempt, ...]] = {}
    for at in sorted(of):
        found.setdefault(prompts[at], tuple(of[at]))
    return Attempts(found, digest.hexdigest())
