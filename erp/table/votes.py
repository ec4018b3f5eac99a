"""Votes: which of two members answered a prompt better, as somebody said who saw both answers."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from erp.errors import ErpError, shorten
from erp.table.asked import PromptFrom, nothing, prompt_of
from erp.table.columns import Faults, show
from erp.table.groups import group_prompts
from erp.table.readers.known import READERS
from erp.table.shards import shards
from erp.table.split import Split
from erp.table.splits import unit_interval

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = ("model_a", "model_b", "winner")
BOTH_BAD = (0, 0)
WINNERS = {
    "model_a": (1, 0), "model_b": (0, 1), "tie": (1, 1), "tie (bothbad)": BOTH_BAD, "both_bad": BOTH_BAD,
}  # fmt: skip
"""What stands in ``winner``, as Chatbot Arena writes it -> which of the two answers was good."""


@dataclass(frozen=True, eq=False)
class Votes:
    """Votes between members of one pool.

    Attributes:
        texts: the distinct prompts (P,).
        prompt: number of every vote's prompt (V,).
        members: places of its two members in the pool (V, 2).
        good: which of the two answers was good (V, 2): of a win the winner's, of a tie both, or neither.
        notes: what was left out and why, a plain sentence each.
    """

    texts: list[str]
    prompt: NDArray[np.int64]
    members: NDArray[np.int64]
    good: NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, kept: NDArray[np.bool_]) -> Votes:
        """Some of the votes, and their prompts."""
        used, prompt = np.unique(self.prompt[kept], return_inverse=True)
        return Votes([self.texts[i] for i in used], prompt, self.members[kept], self.good[kept], self.notes)


@dataclass(frozen=True, eq=False)
class LearntVotes:
    """Votes that a router learns from.

    Attributes:
        votes: on no prompt that is held out.
        groups: number of the group of every vote (V,): its prompt's, by equal or nearly equal text.
        validation: whether the vote is validation, and not train (V,).
    """

    votes: Votes
    groups: NDArray[np.int64]
    validation: NDArray[np.bool_]

    def content(self) -> str:
        """A hash of all that is learnt from."""
        found = hashlib.sha256("\n".join(map(repr, self.votes.texts)).encode())
        for part in (self.votes.prompt, self.votes.members, self.votes.good, self.validation):
            found.update(np.ascontiguousarray(part).tobytes())
        return found.hexdigest()


def read_votes(path: str, pool: Sequence[str], prompt_from: PromptFrom) -> Votes:
    """Read and check a file of votes: ``prompt, model_a, model_b, winner``.

    Args:
        path: as of a long reward table: .parquet, .jsonl, .json, .csv or .tsv files.
        pool: the members; a vote on any other is left out and counted.
        prompt_from: what is asked of a conversation.

    Raises:
        ErpError: the path, a column or a row, by its place; or no vote is between members of the pool.
    """
    named = f"votes.path = {path}"
    files = shards(named, path, [name for name, reader in READERS.items() if reader.holds_tables])
    faults, seats = Faults(named), {name: seat for seat, name in enumerate(pool)}
    texts: dict[str, int] = {}
    others: Counter[str] = Counter()
    kept: list[tuple[int, list[int], tuple[int, int]]] = []
    read = 0
    for place, row in files[0].reader.every_row(named, files):
        if read == 0:
            _require_columns(named, row)
        read += 1
        vote = _vote(place, row, prompt_from, faults)
        if vote is None:
            continue
        text, names, found = vote
        if away := [name for name in names if name not in seats]:
            others.update(away)
        else:
            kept.append((texts.setdefault(text, len(texts)), [seats[name] for name in names], found))
    faults.raise_if_any()
    if not kept:
        raise ErpError(
            f"{named}: none of {read:,} votes is between two members of the pool; they are between "
            f"{shorten(others) or 'nobody'}, the pool is {shorten(pool)}; name the members alike (pool.members)"
        )
    left = read - len(kept)
    notes = [f"votes: {left:,} of {read:,} name {shorten(others)}, who are not in the pool, and are left out"]
    prompt, members, good = (np.array(column) for column in zip(*kept, strict=True))
    return Votes(list(texts), prompt, members, good.astype(bool), tuple(notes if left else ()))


def _require_columns(named: str, row: Mapping[str, Any]) -> None:
    """Refuse a file without one of the columns, by its first row. Raises ErpError."""
    lacking = [name for name in COLUMNS if name not in row]
    if "prompt" not in row and "messages" not in row:
        lacking = ["prompt", *lacking]
    if lacking:
        raise ErpError(
            f"{named}: there is no column {shorten(lacking)}; its columns are {shorten(row)}; a file of votes has "
            f"prompt, {', '.join(COLUMNS)}; rename them"
        )


def _vote(
    place: str, row: Mapping[str, Any], prompt_from: PromptFrom, faults: Faults
) -> tuple[str, list[str], tuple[int, int]] | None:
    """Prompt, the two members and which of their answers was good; None where the row has a fault, which is kept."""
    wrong: dict[str, str] = {}
    text = None
    try:
        text = prompt_of(row, prompt_from)
    except ValueError as error:
        wrong["prompt"] = f"column prompt: {error}"
    if "prompt" not in wrong and (text is None or not text.strip()):
        wrong["prompt"] = "column prompt = null: missing; every vote needs one; fill it in or drop the row"
    names = [row.get("model_a"), row.get("model_b")]
    for column, name in zip(COLUMNS, names, strict=False):
        if not isinstance(name, str) or not name.strip():
            wrong[column] = f"column {column} = {show(name)}: no name of a member; write it, or drop the row"
    if not wrong and names[0] == names[1]:
        wrong["model_b"] = f"column model_b = {show(names[1])}: as model_a; a vote is between two; drop the row"
    winner = row.get("winner")
    good = WINNERS.get(winner) if isinstance(winner, str) else None
    if good is None:
        told = None if nothing(winner) else winner
        wrong["winner"] = f"column winner = {show(told)}: allowed are {', '.join(WINNERS)}; correct it or drop the row"
    for column, fault in wrong.items():
        faults.add(column, 1, [f"{place}, {fault}"])
    return None if wrong or text is None or good is None else (text, [str(name) for name in names], good)


def learnable(
    votes: Votes,
    prompts: pd.DataFrame,
    split: Split,
    *,
    seed: int,
    validation: float,
    near_duplicates: float | None,
    cache: Path | None = None,
) -> LearntVotes:
    """The votes that a router may learn from: none on a prompt that stands in, or beside one of, a held-out part.

    Votes and table are grouped together as a table is (`group_prompts`). A vote whose group holds a prompt of
    validation, calibration or test is left out and counted. Of the others a share is validation, by the hash of their
    group.

    Args:
        votes: as read.
        prompts: those of the table.
        split: of the table.
        seed: of the hash.
        validation: share of the groups.
        near_duplicates: similarity from which two prompts are near-duplicates; None: only equal texts are.
        cache: where near-duplicates are kept.

    Raises:
        ErpError: train or validation has no vote left.
    """
    asked = pd.DataFrame({"prompt": votes.texts, "group": None})
    together = pd.concat([prompts[["prompt", "group"]], asked], ignore_index=True)
    grouped = group_prompts(together, near_duplicates, cache=cache)
    held_out = np.concatenate([split.validation, split.calibration, split.test])
    groups = grouped.groups[len(prompts) :][votes.prompt]
    kept = ~np.isin(groups, grouped.groups[held_out])
    chosen = unit_interval(grouped.names[groups], seed) < validation
    for name, part in (("train", kept & ~chosen), ("validation", kept & chosen)):
        if not part.any():
            raise ErpError(
                f"votes.path: of {len(kept):,} votes between members of the pool {int(kept.sum()):,} are on other "
                f"prompts than the table's validation and test, and none of these is left for {name}; give more votes, "
                "or another split.seed or split.validation"
            )
    taken, out = votes.take(kept), int((~kept).sum())
    notes = [f"votes: {out:,} on prompts like those of validation or test are left out"] if out else []
    notes.append(
        f"the router learnt from {len(taken):,} votes on {len(taken.texts):,} prompts, {int(chosen[kept].sum()):,} of "
        "them validation"
    )
    return LearntVotes(replace(taken, notes=(*taken.notes, *notes)), groups[kept], chosen[kept])
